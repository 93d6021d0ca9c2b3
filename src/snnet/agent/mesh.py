"""Topology "mesh": what a host announces of its subnets, and what it follows of others'.

The document of a host's part of a subnet is a tunnel's (``snnet.cluster.keys.tunnel``), with the
guests that are there.  Pure: nothing here touches a host or a registry.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from snnet.cluster import keys
from snnet.cluster.problems import DAMAGED
from snnet.cluster.views import read_placements
from snnet.config import NetworkConfig
from snnet.contract import Document, Entry, IPAddress, Reading
from snnet.core.meshing import Peer, check_inside, check_peers
from snnet.core.requests import SubnetId
from snnet.core.site import Site
from snnet.core.subnets import ROUTER, CnciSubnet
from snnet.core.topology import Topology
from snnet.core.vnics import TenantSubnet, Vnic

_log = logging.getLogger("snnet.agent")

Gateways = Mapping[SubnetId, CnciSubnet]
"""The concentrator's side of each subnet whose concentrator runs on the host."""


@dataclass(frozen=True, slots=True)
class Part:
    """A node's part of a subnet, as it announced it."""

    node: str
    entry: Entry


@dataclass(slots=True)
class Parts:
    """The parts that other nodes have of the subnets, and where concentrators are placed."""

    by_subnet: dict[SubnetId, list[Part]] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, reading: Reading, me: str, config: NetworkConfig) -> Parts:
        """Read what other nodes announced; nothing where the topology is another."""
        found = cls()
        if config.topology != "mesh":
            return found
        for tenant, entry in read_placements(reading).items():
            found.placed[tenant] = str(entry.document.get("node"))
        for key, entry in reading.entries.items():
            names = keys.tunnel_names(key)
            if names is not None and names[0] != me:
                found.by_subnet.setdefault(names[1:], []).append(Part(names[0], entry))
        return found

    def mark(self, subnet: SubnetId, own: Iterable[Vnic]) -> object:
        """What the peers of a subnet depend on: two equal marks mean equal peers."""
        parts = self.by_subnet.get(subnet, ())
        revisions = frozenset((part.node, part.entry.revision) for part in parts)
        return revisions, self.placed.get(subnet[0]), frozenset((one.mac, one.ips) for one in own)

    def peers(self, site: Site, subnet: TenantSubnet, own: Iterable[Vnic]) -> list[Peer]:
        """The peers of a subnet, for ``set_peers`` on a node with this site.

        A guest that two nodes announce is where the later document says.  The gateway is
        where the concentrator is placed.  What is on this host is nowhere else.  A part with
        anything that cannot be carried out is left out as a whole, so that one host does not
        cut off the others.
        """
        own = list(own)
        macs = {vnic.mac for vnic in own}
        taken = {ip for vnic in own for ip in vnic.ips}
        peers: list[Peer] = []
        parts = self.by_subnet.get(subnet.id, ())
        for part in sorted(parts, key=lambda part: part.entry.revision, reverse=True):
            try:
                found = list(self._announced(part, subnet.tenant_id, macs, taken))
                check_inside(check_peers(site, *subnet.id, found), subnet.networks)
            except DAMAGED as error:
                _log.warning("what %s says of %s is left out: %r", part.node, subnet.id, error)
                continue
            peers += found
            for mac, ips in (guest for peer in found for guest in peer.guests()):
                macs.add(mac)
                taken.update(ips)
        return peers

    def _announced(
        self, part: Part, tenant: str, macs: Container[str], taken: Container[IPAddress]
    ) -> Iterator[Peer]:
        """Yield the peers of one node, without MACs and addresses that are elsewhere."""
        document = part.entry.document
        where = Peer(document["address"], document.get("port"))
        guests = dict(document.get("guests", {}))
        if self.placed.get(tenant) == part.node:
            guests = {**document.get("gateway", {}), **guests}
        yield where
        seen: set[str | IPAddress] = set()
        for given in guests.items():
            ((mac, ips),) = replace(where, macs=given[:1], ips=given[1]).guests()
            free = [ip for ip in dict.fromkeys(ips) if ip not in taken and ip not in seen]
            if mac not in macs and mac not in seen:
                yield replace(where, macs=[mac], ips=free)
                seen.update([mac, *free])


def announced(
    topology: Topology, subnet: SubnetId, gateways: Gateways, base: Document
) -> dict[str, Any]:
    """The document of this host's part of a subnet: ``base`` with its guests and its gateway."""
    guests = {
        vnic.mac: list(map(str, vnic.ips)) for vnic in topology.vnics if vnic.id[:2] == subnet
    }
    document: dict[str, Any] = {**base, "guests": guests}
    side = gateways.get(subnet)
    if side is not None and side.bridge.mac is not None:
        ips = list(map(str, side.scope.gateways))
        if any(network.version == ROUTER.version for network in side.networks):
            ips.append(str(ROUTER.ip))
        document["gateway"] = {side.bridge.mac: ips}
    return document
