"""Backends: drivers that carry links, addresses, routes and neighbours.

One package each; no driver imports another.  ``tables.py`` is the skeleton of the
drivers of a real kernel, ``linux.py`` what else they have in common, and ``kinds.py``
how all backends find their kinds of link.  ``iproute2`` is no driver but the language
of ``ip``, which the engine prints and ``iproute_shell`` runs.
"""
