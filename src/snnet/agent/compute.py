"""The compute role: the VNICs of a host, and the host's side of its concentrators."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace

from snnet.cluster import keys
from snnet.cluster.claims import Id, id_of
from snnet.contract import Conflict, Document, SnnetError
from snnet.core.addressing import check_subnets
from snnet.core.groups import group_thing
from snnet.core.local_requests import ConcentratorConfig
from snnet.core.meshing import NO_PEERS, SubnetPeers
from snnet.core.requests import SubnetId, lowest_mtu, why_not_mtu
from snnet.core.surroundings import check_place
from snnet.core.tunnels import event_port
from snnet.core.vnics import Vnic
from snnet.node import ComputeNode
from snnet.node.listing import Listing
from snnet.node.results import ReconciledItem

from .mesh import Gateways, Parts, announced
from .requests import concentrator_config
from .statuses import Said
from .wanted import HostWanted, TenantWanted

PATIENCE = 600.0
"""Seconds for one reconcile.  Each of its calls is whole, so an end in between harms nothing."""


class ComputeRole:
    """Drives a compute node to what is wanted."""

    def __init__(self, node: ComputeNode) -> None:
        self.node = node
        self.errors: dict[str, SnnetError] = {}
        """Why the host's side of a tenant's concentrator is not there."""
        self.changed: set[str] = set()
        """The tenants whose concentrator's host side was not kept as it was."""
        self._met: dict[SubnetId, tuple[object, SubnetPeers]] = {}
        """What the peers of each subnet followed from, and what they were made."""

    def carry_out(
        self, wanted: HostWanted, parts: Parts, stuck: Mapping[str, SnnetError]
    ) -> list[Said]:
        """Have exactly these VNICs, groups and concentrators; return what to say about them.

        The concentrators of the tenants ``stuck`` stay, since what is in them still runs.
        In topology "mesh" ``parts`` say where the other guests are.

        Of concentrators the network role speaks.  A VNIC that waits for something else stays
        as it is, if it is there.
        """
        kept = {(vnic.tenant, vnic.network, vnic.name) for vnic, _ in wanted.waiting.values()}
        damaged = {id[1:] for id in wanted.damaged if id[0] == "vnic"}
        self.node.reserve(
            lambda key: key in kept or (key[0], key[2]) in damaged,
            concentrators=lambda key: key[0] in wanted.held or key[0] in stuck,
            groups=wanted.holds_group,
        )
        refuse_networks(wanted, self.node)
        lower = fit_mtus(wanted, self.node.site.mtu)
        done = self.node.reconcile(
            vnics=[config for _, config in wanted.vnics.values()],
            concentrators=self._concentrators(wanted, stuck),
            groups=[group for _, group in wanted.groups],
            timeout=PATIENCE,
        )
        self.changed = {
            item.key[1]
            for item in done.items
            if item.key[0] == "concentrator" and item.action != "kept"
        }
        self.errors = {
            item.key[1]: item.error
            for item in done.failed
            if item.error is not None and item.key[0] == "concentrator"
        }
        _refuse(wanted, done.failed)
        self.errors |= stuck
        self.errors |= {
            tenant.tenant: Conflict("concentrator_pool has no free address: enlarge it")
            for tenant in wanted.tenants.values()
            if not self._can_be(tenant)
        }
        lost = self._meet(parts) if self.node.site.mesh else {}
        return list(self._said(wanted, done.items, lost, lower))

    def _meet(self, parts: Parts) -> dict[SubnetId, SnnetError]:
        """Have the host know where the other guests of its subnets are; return what fails."""
        lost: dict[SubnetId, SnnetError] = {}
        topology = self.node.topology()
        own: dict[SubnetId, list[Vnic]] = {}
        for vnic in topology.vnics:
            own.setdefault(vnic.id[:2], []).append(vnic)
        for subnet in topology.subnets:
            mine = own.get(subnet.id, [])
            mark = parts.mark(subnet.id, mine)
            if self._met.get(subnet.id, (None, NO_PEERS)) == (mark, subnet.peers):
                continue
            try:
                peers = parts.peers(self.node.site, subnet, mine)
                self.node.set_peers(*subnet.id, peers, timeout=PATIENCE)
            except SnnetError as error:
                lost[subnet.id] = error
                if not mine:
                    self.errors.setdefault(subnet.tenant_id, error)
        self._met = {
            subnet.id: (parts.mark(subnet.id, own.get(subnet.id, [])), subnet.peers)
            for subnet in self.node.topology().subnets
            if subnet.id not in lost
        }
        return lost

    def _concentrators(
        self, wanted: HostWanted, stuck: Container[str]
    ) -> list[ConcentratorConfig] | None:
        if not self.node.site.hosting:
            return None
        return [
            concentrator_config(tenant)
            for tenant in wanted.tenants.values()
            if self._can_be(tenant) and tenant.tenant not in stuck
        ]

    def _can_be(self, tenant: TenantWanted) -> bool:
        return self.node.site.translates or tenant.address is not None

    def tunnels(self, gateways: Gateways) -> dict[str, Document]:
        """What the far ends of this node's tunnels must know, by key of the registry."""
        address = str(self.node.compute_ip)
        found: dict[str, Document] = {}
        topology = self.node.topology()
        for subnet in topology.subnets:
            if subnet.tunnel is not None:
                key = keys.tunnel(self.node.id, subnet.tenant_id, subnet.subnet_id)
                port = event_port(subnet.tunnel)
                base = {"address": address} | ({"port": port} if port else {})
                mesh = self.node.site.mesh
                found[key] = announced(topology, subnet.id, gateways, base) if mesh else base
        return found

    def _said(
        self,
        wanted: HostWanted,
        items: Iterable[ReconciledItem],
        lost: Mapping[SubnetId, SnnetError],
        lower: Mapping[Id, str],
    ) -> Iterator[Said]:
        failed = {item.key: item.error for item in items if item.error is not None}
        links = {vnic.id: vnic for vnic in self.node.topology().vnics}
        for id, (vnic, _) in wanted.vnics.items():
            key = (vnic.tenant, vnic.network, vnic.name)
            link = links.get(key)
            details: dict[str, object] = {}
            if link is not None:
                details = {"link_name": link.link_name, "mtu": link.mtu}
                if link.peer_name:
                    details["peer_name"] = link.peer_name
            failure = failed.get(key) or failed.get(("vnic", *key)) or lost.get(key[:2])
            error = str(failure) if failure else lower.get(id)
            yield Said(id, vnic.revision, error=error, details=details)
        for document, group in wanted.groups:
            failure = failed.get(group_thing(group.id))
            error = str(failure) if failure else None
            yield Said(id_of(document), document.revision, error=error)


def refuse_networks(wanted: HostWanted, node: ComputeNode) -> None:
    """Refuse networks that overlap the host's own, unless the host serves them already.

    One by one, since a concentrator of this host is set with all its networks, or not at all.
    """
    if not node.site.translates:
        return
    topology = node.topology()
    plugged = {(one.tenant_id, name) for one in topology.concentrators for name in one.links}
    served = {one.id: one.networks for one in topology.subnets if one.id in plugged}
    around = Listing(node.backend, node.owner).surroundings
    for tenant in wanted.tenants.values():
        for network in tenant.networks:
            if served.get((tenant.tenant, network.name)) != network.subnet:
                try:
                    check_place(network.subnet, around)
                except Conflict as error:
                    tenant.refused[id_of(network)] = f"{error}: choose another subnet"


def fit_mtus(wanted: HostWanted, limit: int) -> dict[Id, str]:
    """Give VNICs what the path carries (``limit``, bytes) if their network's MTU does not fit it.

    So the guests of a network whose MTU was mistyped go on.  A network says that itself if its
    concentrator is on this host; return what its VNICs say otherwise, since their guests may learn
    another MTU there.
    """
    said: dict[Id, str] = {}
    for id, (vnic, config) in wanted.vnics.items():
        if config.mtu == vnic.mtu or config.mtu is None:  # its own is its own fault
            continue
        networks = check_subnets(config.subnet)
        if reason := why_not_mtu(networks, config.mtu, limit):
            lowest = lowest_mtu(networks)
            mtu = lowest if config.mtu < lowest <= limit else None
            wanted.vnics[id] = (vnic, replace(config, mtu=mtu))
            if vnic.tenant not in wanted.served:
                said[id] = f"{reason}; that is the MTU of network {vnic.network!r}: change it there"
    return said


def _refuse(wanted: HostWanted, failed: Iterable[ReconciledItem]) -> None:
    """Refuse the forwards whose ports of the host could not be had: nothing leads to them."""
    reasons = {item.key: str(item.error) for item in failed if item.key[0] == "host_forward"}
    for tenant in wanted.tenants.values():
        for forward in tenant.forwards:
            first = str(forward.port[0])
            key = ("host_forward", tenant.tenant, tenant.tenant, forward.protocol, first)
            if key in reasons:
                tenant.refused[id_of(forward)] = reasons[key]


def waiting(wanted: HostWanted) -> Iterator[Said]:
    """What to say about objects that cannot be tried yet."""
    for id, (item, reason) in wanted.waiting.items():
        yield Said(id, item.revision, waits_for=reason)
    for tenant in wanted.held.values():
        for thing in (*tenant.networks, *tenant.forwards, *tenant.public_ips):
            yield Said(id_of(thing), thing.revision, waits_for=tenant.waits_for)
    for id, (revision, error) in wanted.damaged.items():
        yield Said(id, revision, error=f"its document cannot be read: {error}")
