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

    def __init__(self, roles: Collection[str]) -> None:
        self._places = "network" in roles
        self._served: Collection[str] = ()
        self._having: Collection[str] = ()
        self._grouped: Collection[str] = ()

    def learn(self, wanted: HostWanted) -> None:
        """Take in whose concentrators the host runs, and whose VNICs and groups it has."""
        self._served = set(wanted.tenants)
        self._having = {vnic.tenant for vnic, _ in wanted.vnics.values()}
        self._grouped = {group.tenant for group, _ in wanted.groups}
        self._having |= {vnic.tenant for vnic, _ in wanted.waiting.values()}

    def concerns(self, key: str, *, gone: bool) -> bool:
        """Whether a document that was written, or is ``gone``, is work for this host."""
        if key.startswith(keys.STATUS):
            return False
        if key.startswith(keys.ALIVE):
            # That an agent is gone is news: its concentrators may have to move.
            return gone
        if key.startswith(_OF_CONCENTRATORS):
            return key.split("/")[2] in self._served
        if key.startswith(keys.TUNNELS):
            return key.split("/")[3] in self._served
        if key.startswith((keys.GROUPS, keys.MEMBERS)):
            return key.split("/")[2] in self._grouped
        if not self._places and key.startswith((keys.NETWORKS, keys.CONCENTRATORS)):
            return key.split("/")[2] in self._having
        return True
