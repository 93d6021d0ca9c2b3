"""Routed mode in the pure core: zones, routes, and whose entries on the uplink are."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from snnet.contract import LINK_GROUP, Noun, ProxyNeighbour, Route, Tap, Zone
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.identity import Owner
from snnet.core.routed import build_routed_subnet, on_uplink, zone, zones
from tests.core.builders import CN, make_site

SITE = replace(make_site(), routed=True)
OTHER = Owner("cn", "cn-2")


@pytest.mark.parametrize(
    ("network", "route"),
    [("10.1.0.0/24", True), ("192.0.2.64/26", False), ("192.0.2.0/24", False)],
)
def test_a_subnet_of_the_uplinks_own_network_needs_no_route(network: str, route: bool) -> None:
    """Its guests on other nodes answer ARP on the wire."""
    wanted = Route(destination=IPv4Network(network), link="eth0", protocol=SNNET_PROTOCOL)
    subnet = build_routed_subnet(SITE, "t1", "s1", (IPv4Network(network),))
    assert subnet.routes == ((wanted,) if route else ())


def test_a_zone_is_a_tenants_subnets_and_lets_out() -> None:
    one, two, three = (
        build_routed_subnet(SITE, tenant, subnet, (IPv4Network(f"10.{number}.0.0/24"),))
        for number, (tenant, subnet) in enumerate([("t1", "a"), ("t2", "b"), ("t1", "c")])
    )
    wanted = [
        Zone(owner=str(CN), zone="t1", outbound=True, networks=(one.network, three.network)),
        Zone(owner=str(CN), zone="t2", outbound=True, networks=(two.network,)),
    ]
    assert list(zones([one, two, three])) == wanted
    assert zone(str(CN), "t2", [one, two, three]) == wanted[1]
    assert list(zones([])) == []


def vnic(owner: Owner, ip: str) -> Tap:
    alias = ids.encode(owner, ids.VM, {ids.NETWORK: "10.1.0.0/24", ids.ADDRESS: ip})
    return Tap(name=f"tap-{ip.rpartition('.')[2]}", alias=alias, group=LINK_GROUP)


def proxy(ip: str, link: str = "eth0", protocol: int = SNNET_PROTOCOL) -> ProxyNeighbour:
    return ProxyNeighbour(link=link, address=IPv4Address(ip), protocol=protocol)


def test_on_the_uplink_what_a_vnic_of_another_node_uses_is_not_ours() -> None:
    route = Route(destination=IPv4Network("10.1.0.0/24"), link="eth0", protocol=SNNET_PROTOCOL)
    mine, others, nobodys = proxy("10.1.0.9"), proxy("10.1.0.8"), proxy("10.1.0.7")
    found: list[Noun] = [vnic(CN, "10.1.0.9"), vnic(OTHER, "10.1.0.8"), mine, others, nobodys]
    assert list(on_uplink(SITE, found)) == [mine, nobodys]
    # Both nodes have guests of the subnet, so that its route is ours as well.
    assert list(on_uplink(SITE, [*found, route])) == [mine, nobodys, route]
    assert list(on_uplink(SITE, [vnic(OTHER, "10.1.0.8"), route])) == []


def test_what_does_not_bear_the_mark_or_is_elsewhere_is_left_alone() -> None:
    found: list[Noun] = [
        proxy("10.1.0.9", link="eth1"),
        proxy("10.1.0.9", protocol=0),
        Route(destination=IPv4Network("10.1.0.0/24"), link="eth0", protocol=4),
        vnic(CN, "10.1.0.9"),
    ]
    assert list(on_uplink(SITE, found)) == []
