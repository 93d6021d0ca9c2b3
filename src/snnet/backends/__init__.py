"""Backends: drivers that carry links, addresses, routes and neighbours.

One package each; no driver imports another.  ``tables`` is what the backends of a real
kernel have in common.  ``iproute2`` is no driver but the language of ``ip``, which the
engine prints and ``iproute_shell`` runs.
"""
