"""Routed mode in the pure core: zones and routes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from snnet.contract import Route, Zone
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core.identity import Owner
from snnet.core.routed import build_routed_subnet, zone, zones
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
