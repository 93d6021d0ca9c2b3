"""ROUTED mode: no bridge and no tunnel, a route for each guest."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from snnet.config import VnicConfig
from snnet.contract import Conflict, IPAddress, IPNetwork, Key, Noun, Path, Route, keyed
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.addressing import check_end
from snnet.core.compute_records import ComputeRecords
from snnet.core.events import TunnelEvent
from snnet.core.forwarding import versions_of
from snnet.core.requests import GuestRequest, SubnetId, routed_request
from snnet.core.routed import build_routed_subnet, check_disjoint, sample, sysctls, zone
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView
from .layout import Layout, Part, with_uid

_log = logging.getLogger("snnet.node")

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
        """Raise Conflict where routes to the subnet would take traffic from the host.

        A subnet may be a part of a network of the uplink: then each guest's address is checked
        against the host's own and its gateways.
        """
        uplink = self.site.uplink.link_name
        for network in (route.destination for route in subnet.routes):
            around = host.listing.surroundings
            outside = around.network_around(network, uplink) is None
            around.check_network(network, f"subnet {network}", beside=uplink, single=outside)

    def check_guests(self, requests: Sequence[GuestRequest], host: HostView) -> None:
        """Raise Conflict where an address belongs to the host, a gateway or another owner's guest.

        In a network of the uplink, no other host may have it either, unless one of them answers
        for every address (proxy ARP): then nothing tells who has it.
        """
        asked: dict[tuple[IPAddress, IPNetwork], list[IPAddress]] = {}
        for ip in (ip for request in requests for ip in request.ips):
            if around := self._check_guest(ip, host):
                asked.setdefault(around, []).append(ip)
        for (source, network), addresses in asked.items():
            taken, uplink = host.answering(addresses, source), self.site.uplink.link_name
            if not taken:
                continue
            if not self._is_proxied(network, {*addresses, source}, source, host):
                raise Conflict(
                    f"ip {min(taken)} is that of another host, which answers for it on {uplink}: "
                    "choose another address"
                )
            _log.warning(
                "a host on %s answers for every address of %s: nothing tells whether %s is in use",
                *(uplink, network, ", ".join(map(str, sorted(taken)))),
            )

    def _is_proxied(
        self, network: IPNetwork, known: set[IPAddress], source: IPAddress, host: HostView
    ) -> bool:
        """Whether other hosts answer for addresses all over the network, too."""
        uplink = self.site.uplink.link_name
        others = [
            ip for ip in sample(network, known) if (path := host.path(ip)) and path.link == uplink
        ]
        return bool(others) and host.answering(others, source) == {*others}

    def _check_guest(self, ip: IPAddress, host: HostView) -> tuple[IPAddress, IPNetwork] | None:
        """Return the host's address beside the guest's, and the network, if they are in one."""
        path, uplink = host.path(ip), self.site.uplink.link_name
        if path is None or path.source is None:
            return None
        link = host.link(path.link) if path.link != uplink else None
        # Linux routes a new IPv6 address to lo a moment later (addrconf_dad_work).
        if path.source == ip or (link is not None and link.kind == "loopback"):
            raise Conflict(f"ip {ip} is an address of this host")
        network = self._beside(ip, path, host)
        if network is None:
            return None
        check_end(ip, network, "ip")
        around = host.listing.surroundings
        if link is not None and not ids.is_ours(link, self.site.owner):
            named = around.named(link.name)
            raise Conflict(f"ip {ip} is reached by {named} already: choose another")
        around.check_gateway(ip, f"ip {ip}")
        return (path.source, network) if link is None else None

    def _beside(self, ip: IPAddress, path: Path, host: HostView) -> IPNetwork | None:
        """Return the network of the uplink, where gateways are, that an address is in."""
        uplink = self.site.uplink
        if ip in uplink.address.network:
            return uplink.address.network
        # Packets to another IPv4 network of the uplink come from another address than its first.
        if path.source == uplink.ip:
            return None
        return host.listing.surroundings.network_around(ip_network(ip), uplink.link_name)

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
    """Yield what a subnet and its tenant need, whatever VNICs there are."""
    yield zone(subnet.owner, subnet.tenant_id, subnets.values())
    yield from subnet.nouns()


def _without(nouns: Mapping[Key, Noun], keys: set[Key]) -> dict[Key, Noun]:
    return {key: noun for key, noun in nouns.items() if key not in keys}


def _is_foreign(noun: Noun) -> bool:
    """Whether another program has set this route to the subnet, which is as good as ours."""
    return isinstance(noun, Route) and noun.protocol != SNNET_PROTOCOL
