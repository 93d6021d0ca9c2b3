"""The nouns of the backend that a compute node looks for on its host."""

from __future__ import annotations

from snnet.contract import (
    Address,
    BridgeFdb,
    Fdb,
    Link,
    Namespace,
    Neighbour,
    Noun,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
)

from .site import Site

# A node may have had another mode, topology or pool before: it looks for what it left then, too.
_ALL: frozenset[type[Noun]] = frozenset(
    {Link, Address, Shaper, Redirect, Namespace, ProxyNeighbour}
)
_ROUTING = _ALL | {Route}
_MESH = _ROUTING | {Fdb, BridgeFdb, Neighbour}


def kinds_of(site: Site) -> frozenset[type[Noun]]:
    """Return what a compute node of this site lists.

    Of routes, which may be many, a node that routes nothing lists those with snnet's mark alone.
    """
    if site.mesh:
        return _MESH
    return _ROUTING if site.hosting or site.routed else _ALL
