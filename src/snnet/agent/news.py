"""Which changes of the registry are work for the agent of a host."""

from __future__ import annotations

from collections.abc import Collection

from snnet.cluster import keys

from .wanted import HostWanted

_OF_CONCENTRATORS = (keys.ADDRESSES, keys.FORWARDS, keys.PUBLIC_IPS)


class News:
    """Tells changes that concern a host from those of other tenants, and of other hosts.

    A host that hears of each change anywhere would have work that grows with the cluster.
    """

    def __init__(self, node: str, roles: Collection[str], topology: str = "hub") -> None:
        self._node = node
        self._own = keys.node(node), keys.alive(node)
        """The node's own registration, which others should not change."""
        self._places = "network" in roles
        self._meshed = topology == "mesh"
        self._served: Collection[str] = ()
        self._having: Collection[str] = ()
        self._grouped: Collection[str] = ()

    def prefixes(self) -> tuple[str, ...]:
        """What of the registry the host has to watch."""
        found = [
            f"{keys.VNICS}{self._node}/",
            keys.NETWORKS,
            keys.CONCENTRATORS,
            keys.GROUPS,
            keys.MEMBERS,
            keys.QUESTIONS,
            keys.REGISTRY,
        ]
        if self._places:
            found += [keys.FORWARDS, keys.PUBLIC_IPS, keys.ADDRESSES, keys.NODES, keys.ALIVE]
            found.append(keys.CONCENTRATOR_ADDRESSES)
        else:
            found += self._own
        return tuple(found)

    def apart(self) -> tuple[str, ...]:
        """What it has to watch besides, and what nothing of the rest has to agree with.

        In a mesh these are the most documents.  With etcd, each change of one of several prefixes
        that are watched together costs a walk through all that is under them.
        """
        return (keys.TUNNELS,) if self._places or self._meshed else ()

    def learn(self, wanted: HostWanted) -> None:
        """Take in whose concentrators the host runs, and whose VNICs and groups it has."""
        self._served = wanted.served
        self._having = {vnic.tenant for vnic, _ in wanted.vnics.values()}
        self._grouped = {group.tenant for group, _ in wanted.groups}
        self._grouped |= {tenant for kind, tenant, _ in wanted.damaged if kind == "group"}
        self._having |= {vnic.tenant for vnic, _ in wanted.waiting.values()}
        self._having |= {tenant for _, tenant, _ in wanted.damaged}

    def concerns(self, key: str, *, gone: bool) -> bool:
        """Whether a document that was written, or is ``gone``, is work for this host."""
        if key.startswith(keys.QUESTIONS) or (key in self._own and not self._places):
            return False
        if key.startswith(keys.ALIVE):
            # That an agent is gone is news: its concentrators may have to move.
            return gone
        if key.startswith(_OF_CONCENTRATORS):
            return key.split("/")[2] in self._served
        if key.startswith(keys.TUNNELS):
            names = keys.tunnel_names(key)
            if names is None or (self._meshed and names[0] == self._node):
                return False
            return names[1] in self._served or (self._meshed and names[1] in self._having)
        if key.startswith((keys.GROUPS, keys.MEMBERS)):
            return key.split("/")[2] in self._grouped
        if not self._places and key.startswith((keys.NETWORKS, keys.CONCENTRATORS)):
            return key.split("/")[2] in self._having
        return True
