"""The judge: the same on the fake and on the real kernel ends the same way.

``operations.py`` draws random operations, some of them nonsense, and ``judge.py``
runs them on several drivers at once, comparing the class of the error and the whole
state after each.  ``networks.py`` draws small networks, and ``traffic.py`` compares
who reaches whom.  What differs and may is told by ``FakeKernel``.

``python -m tests.differential`` runs many steps in several processes.
"""
