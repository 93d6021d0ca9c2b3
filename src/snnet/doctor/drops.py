"""Whose packets the rules of a host's nodes have dropped, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snnet.contract import Dropped, Link, SnnetError
from snnet.node import Cnci, ComputeNode

from .survey import FoundNode, opened


@dataclass(frozen=True, slots=True)
class GuestDrops:
    """Packets of one guest, or of one network, that one kind of rule has dropped."""

    node: str
    guest: str
    """Tenant, network and VNIC or concentrator, or as much of it as the link tells.

    Empty for links that are nobody's, such as the uplink.
    """
    dropped: Dropped

    @property
    def since(self) -> str:
        """When the first was dropped, by the local clock; empty if that is not known."""
        if self.dropped.since is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.dropped.since))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = self.dropped
        return {
            "node": self.node,
            "guest": self.guest,
            "link": found.link,
            "rule": found.why,
            "packets": found.packets,
            "since": found.since,
        }


def drops(nodes: Sequence[FoundNode]) -> Iterator[GuestDrops]:
    """Yield what each node's rules have dropped; a node that cannot be read raises its error."""
    dropped: list[tuple[FoundNode, Sequence[Dropped]]] = []
    names = Names()
    for node in nodes:
        with opened(node, read_only=True) as it:
            try:
                dropped.append((node, merged(it.drivers.firewall.dropped())))
            except SnnetError as error:
                raise type(error)(f"{node.title}: {error}") from error
            names.learn(node, it)
    for node, found in dropped:
        for one in found:
            yield GuestDrops(node.title, names.of(node.netns, one.link), one)


def merged(found: Iterable[Dropped]) -> list[Dropped]:
    """Add up what several tables dropped of one link for the same reason."""
    sums: dict[tuple[str, str], Dropped] = {}
    for one in found:
        before = sums.get((one.link, one.why))
        if before is not None:
            known = before.since is not None and one.since is not None
            since = min(before.since or 0, one.since or 0) if known else None
            one = replace(before, packets=before.packets + one.packets, since=since)
        sums[one.link, one.why] = one
    return list(sums.values())


class Names:
    """Who is at each link of each network namespace.

    Nodes of one namespace share it: the rules of one drop packets of another's links as well.
    """

    def __init__(self) -> None:
        self._at: dict[tuple[str | None, str], str] = {}

    def of(self, netns: str | None, link: str) -> str:
        return self._at.get((netns, link), "")

    def learn(self, node: FoundNode, it: ComputeNode | Cnci) -> None:
        """Add the links of a node, which comes after the host of its namespace."""
        if isinstance(it, Cnci):
            inside = it.topology()
            if inside.mesh:
                self._put(node.netns, it.tenant_id, inside.mesh.link)
            for net in inside.subnets:
                network = self.of(node.netns, net.link or "") or f"{it.tenant_id}/{net.network}"
                self._put(node.netns, network, net.bridge, *net.tunnels.values())
            return
        known = it.topology()
        for subnet in known.subnets:
            self._put(node.netns, "/".join(subnet.id), subnet.bridge, subnet.tunnel)
        for vnic in known.vnics:
            self._put(node.netns, "/".join(vnic.id), vnic.link)
        for cnci_vnic in known.cnci_vnics:
            self._put(node.netns, "/".join(cnci_vnic.id), cnci_vnic.link)
        for one in known.concentrators:
            self._put(node.netns, "/".join(one.id), one.link)
            self._at[one.netns, one.uplink] = "/".join(one.id)
            for subnet_id, plug in one.plugs.items():
                network = f"{one.tenant_id}/{subnet_id}"
                self._put(node.netns, f"{network}/{one.concentrator_id}", plug)
                self._at[one.netns, plug.peer or ""] = network

    def _put(self, netns: str | None, who: str, *links: Link | None) -> None:
        self._at |= {(netns, link.name): who for link in links if link is not None}
