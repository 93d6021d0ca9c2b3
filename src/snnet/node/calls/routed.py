"""ROUTED mode: no bridge and no tunnel, a route for each guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snnet.config import VnicConfig
from snnet.contract import Conflict, IPAddress, Key, Noun, Route, keyed
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.compute_records import ComputeRecords
from snnet.core.events import TunnelEvent
from snnet.core.forwarding import versions_of
from snnet.core.requests import GuestRequest, SubnetId, routed_request
from snnet.core.routed import build_routed_subnet, check_disjoint, sysctls, zone
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView
from .layout import Layout, Part, with_uid

NETWORKS: Thing = ("networks",)
"""The networks of all tenants: they must not overlap, so new ones come one at a time."""


class RoutedLayout(Layout[GuestRequest]):
    """A subnet is a network of the tenant's zone and, where needed, a route."""

    def request(self, cfg: VnicConfig) -> GuestRequest:
        return routed_request(with_uid(cfg), mtu_limit=self.site.mtu)

    def address(self, request: GuestRequest, ip: IPAddress) -> Thing:
        return ("ip", ip)

    def shares(self, records: ComputeRecords, request: GuestRequest) -> bool:
        known = records.subnets.get(request.id[:2])
        return known is not None and versions_of(known.networks) <= records.forwarding

    def opening(self, request: GuestRequest) -> set[Thing]:
        return {NETWORKS, ("subnet", *request.id[:2])}

    def closing(self, subnet: SubnetId) -> set[Thing]:
        return {NETWORKS, ("subnet", *subnet)}

    def subnets(
        self, records: ComputeRecords, wanted: Iterable[SubnetId]
    ) -> dict[SubnetId, TenantSubnet]:
        return dict(records.subnets)

    def open(
        self,
        request: GuestRequest,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
        strays: Mapping[tuple[str, ...], str],
        *,
        look: bool,
        trusted: bool,
    ) -> Part:
        identity = request.id[:2]
        known = subnets.get(identity)
        if known is not None and not look and trusted:
            return Part(known)
        subnet = known or build_routed_subnet(self.site, *identity, request.subnets)
        check_disjoint(subnets.values(), subnet)
        if known is None:
            self._check(subnet, host)
        versions = versions_of(subnet.networks)
        wanted = keyed(
            (*sysctls(self.site, versions), *_nouns(subnet, {**subnets, identity: subnet}))
        )
        found = host.find(wanted.values())
        foreign = {key for key, noun in found.items() if _is_foreign(noun)}
        return Part(subnet, _without(wanted, foreign), _without(found, foreign))

    def _check(self, subnet: TenantSubnet, host: HostView) -> None:
        """Conflict where routes to the subnet would take traffic from the host.

        A subnet may be a part of the uplink's own network: then each address is checked.
        """
        uplink = self.site.uplink.link_name
        around = host.surroundings() if subnet.routes else None
        for route in subnet.routes:
            assert around is not None
            what = f"subnet {route.destination}"
            around.check_network(route.destination, what, beside=uplink)

    def check_guest(self, request: GuestRequest, host: HostView) -> None:
        """Conflict where the address is the host's own, a gateway's or another owner's guest's."""
        for ip in request.ips:
            self._check_guest(ip, host)

    def _check_guest(self, ip: IPAddress, host: HostView) -> None:
        owner = self.site.owner
        path = host.path(ip)
        if path is None:
            return
        link = host.link(path.link) if path.link != self.site.uplink.link_name else None
        # The source of the way to a secondary address is the primary one.
        if path.source == ip or (link is not None and link.kind == "loopback"):
            raise Conflict(f"ip {ip} is an address of this host")
        if link is not None and ids.grouped(link) and not ids.is_ours(link, owner):
            raise Conflict(f"ip {ip} is reached by link {link.name} already, of another node")
        if ip in self.site.uplink.address.network:  # where gateways are
            for route in host.snapshot({Route}).values():
                if isinstance(route, Route) and route.gateway == ip:
                    raise Conflict(f"ip {ip} is a gateway of this host ({route})")

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
