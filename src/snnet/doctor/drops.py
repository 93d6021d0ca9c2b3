"""Whose packets the rules of a host's nodes have dropped, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from snnet.contract import Dropped, SnnetError
from snnet.core.topology import CnciTopology, Topology

from .survey import FoundNode, opened


@dataclass(frozen=True, slots=True)
class GuestDrops:
    """Packets of one guest, or of one network, that one kind of rule has dropped."""

    node: str
    guest: str
    """Tenant, network and VNIC, or as much of it as the link tells; empty if it is unknown."""
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
    for node in nodes:
        with opened(node, read_only=True) as it:
            try:
                found = it.drivers.firewall.dropped()
            except SnnetError as error:
                raise type(error)(f"{node.title}: {error}") from error
            names = _names(it.topology())
        for one in found:
            yield GuestDrops(node.title, names.get(one.link, ""), one)


def _names(topology: Topology | CnciTopology) -> dict[str, str]:
    """Who is at each link."""
    if isinstance(topology, CnciTopology):
        return {subnet.bridge.name: str(subnet.network) for subnet in topology.subnets}
    found = {
        subnet.bridge.name: f"{subnet.tenant_id}/{subnet.subnet_id}"
        for subnet in topology.subnets
        if subnet.bridge
    }
    found |= {vnic.link_name: "/".join(vnic.id) for vnic in topology.vnics}
    return found
