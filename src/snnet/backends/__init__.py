"""Backends: drivers that carry links, addresses, routes and neighbours.

Each is a package, and no driver imports another.  ``tables.py`` is the base class of the
drivers for a real kernel; ``linux.py``, ``namespaces.py`` and ``settings.py`` have what else
they share, and ``kinds.py`` finds the kinds of link of each backend.  ``iproute2`` is not a
driver: it writes operations as commands of ``ip``, which the engine prints and
``iproute_shell`` runs.
"""
