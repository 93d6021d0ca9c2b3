"""The compute role: the VNICs of a host, and the host's side of its concentrators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snnet.cluster import keys
from snnet.contract import Conflict, Document, SnnetError
from snnet.core.groups import group_thing
from snnet.core.local_requests import ConcentratorConfig
from snnet.core.tunnels import event_port
from snnet.node import ComputeNode
from snnet.node.results import ReconciledItem

from .statuses import Said
from .wanted import HostWanted, TenantWanted, concentrator_config, id_of

PATIENCE = 600.0
"""Seconds for one reconcile.  Each of its calls is whole, so an end in between harms nothing."""


class ComputeRole:
    """Drives a compute node to what is wanted."""

    def __init__(self, node: ComputeNode) -> None:
        self.node = node
        self.errors: dict[str, SnnetError] = {}
        """Why the host's side of a tenant's concentrator is not there."""

    def carry_out(self, wanted: HostWanted) -> list[Said]:
        """Have exactly these VNICs, groups and concentrators; return what to say about them.

        Of concentrators the network role speaks.  A VNIC that waits for something else stays
        as it is, if it is there.
        """
        kept = {(vnic.tenant, vnic.network, vnic.name) for vnic, _ in wanted.waiting.values()}
        self.node.reserve(kept.__contains__)
        done = self.node.reconcile(
            vnics=[config for _, config in wanted.vnics.values()],
            concentrators=self._concentrators(wanted),
            groups=[group for _, group in wanted.groups],
            timeout=PATIENCE,
        )
        self.errors = {
            item.key[1]: item.error
            for item in done.failed
            if item.error is not None and item.key[0] == "concentrator"
        }
        _refuse(wanted, done.failed)
        self.errors |= {
            tenant.tenant: Conflict("concentrator_pool has no free address: enlarge it")
            for tenant in wanted.tenants.values()
            if not self._can_be(tenant)
        }
        return list(self._said(wanted, done.items))

    def _concentrators(self, wanted: HostWanted) -> list[ConcentratorConfig] | None:
        if not self.node.site.hosting:
            return None
        tenants = wanted.tenants.values()
        return [concentrator_config(tenant) for tenant in tenants if self._can_be(tenant)]

    def _can_be(self, tenant: TenantWanted) -> bool:
        return self.node.site.local or tenant.address is not None

    def tunnels(self) -> dict[str, Document]:
        """What the far ends of this node's tunnels must know, by key of the registry."""
        address = str(self.node.compute_ip)
        found: dict[str, Document] = {}
        for subnet in self.node.topology().subnets:
            if subnet.tunnel is not None:
                key = keys.tunnel(self.node.id, subnet.tenant_id, subnet.subnet_id)
                port = event_port(subnet.tunnel)
                found[key] = {"address": address} | ({"port": port} if port else {})
        return found

    def _said(self, wanted: HostWanted, items: Iterable[ReconciledItem]) -> Iterator[Said]:
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
            error = failed.get(key) or failed.get(("vnic", *key))
            yield Said(id, vnic.revision, error=str(error) if error else None, details=details)
        for document, group in wanted.groups:
            error = failed.get(group_thing(group.id))
            yield Said(id_of(document), document.revision, error=str(error) if error else None)


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
