"""ROUTED mode: no bridge and no tunnel, a route for each guest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from snnet.config import VnicConfig
from snnet.contract import Key, Noun, Route, keyed
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import check_same_subnet
from snnet.core.events import TunnelEvent
from snnet.core.requests import GuestRequest, SubnetId, VnicId, routed_request
from snnet.core.routed import build_routed_subnet, check_disjoint, sysctls, zone
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView
from .layout import Layout, Part

NETWORKS: Thing = ("networks",)
"""The networks of all tenants: they must not overlap, so new ones come one at a time."""


class RoutedLayout(Layout[GuestRequest]):
    """A subnet is a network of the tenant's zone and, where needed, a route."""

    def request(self, cfg: VnicConfig) -> GuestRequest:
        return routed_request(cfg, mtu_limit=self.site.mtu)

    def address(self, request: GuestRequest) -> Thing:
        return ("ip", request.ip)

    def shares(self, records: ComputeRecords, request: GuestRequest) -> bool:
        return records.forwarding and request.id[:2] in records.subnets

    def opening(self, request: GuestRequest) -> set[Thing]:
        return {NETWORKS, ("subnet", *request.id[:2])}

    def closing(self, subnet: SubnetId) -> set[Thing]:
        return {NETWORKS, ("subnet", *subnet)}

    def check(
        self, records: ComputeRecords, request: GuestRequest, gone: Collection[VnicId]
    ) -> None:
        known = records.subnets.get(request.id[:2])
        if known is not None:
            check_same_subnet(known, request)
        records.check_address(request.id, request.ip, gone)

    def subnets(
        self, records: ComputeRecords, wanted: Iterable[SubnetId]
    ) -> dict[SubnetId, TenantSubnet]:
        return dict(records.subnets)

    def open(
        self,
        request: GuestRequest,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
        look: bool,
    ) -> Part:
        identity = request.id[:2]
        known = subnets.get(identity)
        if known is not None and not look:
            return Part(known)
        subnet = known or build_routed_subnet(self.site, *identity, request.subnet)
        check_disjoint(subnets.values(), subnet)
        wanted = keyed((*sysctls(self.site), *_nouns(subnet, {**subnets, identity: subnet})))
        found = host.find(wanted.values())
        foreign = {key for key, noun in found.items() if _is_foreign(noun)}
        return Part(subnet, _without(wanted, foreign), _without(found, foreign))

    def close(
        self,
        subnet: TenantSubnet,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
    ) -> Part:
        found = host.find(_nouns(subnet, {**subnets, subnet.id: subnet}))
        found = {key: noun for key, noun in found.items() if not _is_foreign(noun)}
        smaller = zone(subnet.owner, subnet.tenant_id, subnets.values())
        return Part(subnet, keyed([smaller]) if smaller.networks else {}, found)

    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        return None


def _nouns(subnet: TenantSubnet, subnets: Mapping[SubnetId, TenantSubnet]) -> Iterator[Noun]:
    """What a subnet and its tenant need whatever VNICs there are."""
    yield zone(subnet.owner, subnet.tenant_id, subnets.values())
    yield from subnet.nouns()


def _without(nouns: Mapping[Key, Noun], keys: set[Key]) -> dict[Key, Noun]:
    return {key: noun for key, noun in nouns.items() if key not in keys}


def _is_foreign(noun: Noun) -> bool:
    """Whether a route to the subnet is somebody else's; it serves as well."""
    return isinstance(noun, Route) and noun.protocol != SNNET_PROTOCOL
