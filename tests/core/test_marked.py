"""Whose the entries with snnet's mark are: only what something of a node explains is the node's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest

from snnet.contract import (
    LINK_GROUP,
    AntiSpoof,
    Namespace,
    Noun,
    OpenAddress,
    ProxyNeighbour,
    Route,
    Tap,
    Veth,
    Zone,
    keyed,
)
from snnet.contract.network import OWN_TABLES, SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.compute_records import ComputeRecords
from snnet.core.identity import Owner
from snnet.core.marked import marked_of
from tests.core.builders import CN, make_site

OTHER = Owner("cn", "cn-2")
ROUTE = Route(destination=IPv4Network("10.1.0.0/24"), link="eth0", protocol=SNNET_PROTOCOL)


def vnic(owner: Owner, ip: str, network: str | None = "10.1.0.0/24") -> Tap:
    fields = {ids.ADDRESS: ip} | ({ids.NETWORK: network} if network else {})
    alias = ids.encode(owner, ids.VM, fields)
    return Tap(name=f"tap-{ip.rpartition('.')[2]}", alias=alias, group=LINK_GROUP)


def way(owner: Owner, ip: str) -> Veth:
    fields = {ids.TENANT: "t", ids.CONCENTRATOR: "c", ids.ADDRESS: ip}
    return Veth(name=f"way-{owner.id}", alias=ids.encode(owner, ids.WAY, fields), peer="eth0")


def proxy(ip: str, link: str = "eth0", protocol: int = SNNET_PROTOCOL) -> ProxyNeighbour:
    return ProxyNeighbour(link=link, address=IPv4Address(ip), protocol=protocol)


def host_route(ip: str, link: str) -> Route:
    return Route(destination=ip_network(ip), link=link)


def of(owner: Owner, *found: Noun) -> list[Noun]:
    return list(marked_of(owner.name, found))


def test_what_a_routed_vnic_explains() -> None:
    mine, others, nobodys = proxy("10.1.0.9"), proxy("10.1.0.8"), proxy("10.1.0.7")
    found = [vnic(CN, "10.1.0.9"), vnic(OTHER, "10.1.0.8"), mine, others, nobodys]
    assert of(CN, *found) == [mine]
    assert of(OTHER, *found) == [others]
    # Both nodes have guests of the subnet, so that its route is that of both.
    assert of(CN, *found, ROUTE) == [mine, ROUTE]
    assert of(CN, vnic(OTHER, "10.1.0.8"), ROUTE) == []


def test_what_a_concentrator_explains() -> None:
    own, public, others, nobodys = map(
        proxy, ("192.0.2.200", "192.0.2.50", "192.0.2.51", "192.0.2.52")
    )
    found: list[Noun] = [
        *(way(CN, "192.0.2.200"), host_route("192.0.2.50", "way-cn-1")),
        *(way(OTHER, "192.0.2.201"), host_route("192.0.2.51", "way-cn-2")),
        host_route("192.0.2.52", "docker0"),
        *(own, public, others, nobodys),
    ]
    assert CN.id == "cn-1"
    assert of(CN, *found) == [own, public]
    assert of(OTHER, *found) == [others]


def test_a_namespace_without_its_veth_explains_its_own_address() -> None:
    alias = ids.encode(CN, ids.SPACE, {ids.ADDRESS: "192.0.2.200"})
    entry = proxy("192.0.2.200")
    assert of(CN, Namespace(name="snn-x", alias=alias), entry) == [entry]
    assert of(OTHER, Namespace(name="snn-x", alias=alias), entry) == []


@pytest.mark.parametrize(
    "rule",
    [
        AntiSpoof(
            owner=CN.name, link="gone", mac="", addresses=(IPv4Address("10.1.0.9"),), bridged=False
        ),
        OpenAddress(owner=CN.name, address=IPv4Address("10.1.0.9")),
    ],
)
def test_a_rule_explains_what_a_deleted_link_has_left(rule: Noun) -> None:
    entry = proxy("10.1.0.9")
    assert of(CN, rule, entry, ROUTE) == [entry]
    assert of(OTHER, rule, entry, ROUTE) == []


def test_a_zone_explains_the_routes_of_its_subnets() -> None:
    zone = Zone(owner=CN.name, zone="t1", networks=(ROUTE.destination,))
    assert of(CN, zone, ROUTE, proxy("10.1.0.9")) == [ROUTE]
    assert of(OTHER, zone, ROUTE) == []


def test_addresses_of_tenants_on_bridges_explain_nothing() -> None:
    """Another tenant's guest may have the same address, in routed mode on another node."""
    rule = AntiSpoof(owner=CN.name, link="tap-9", mac="", addresses=(IPv4Address("10.1.0.9"),))
    assert of(CN, vnic(CN, "10.1.0.9", None), rule, proxy("10.1.0.9")) == []


def test_what_does_not_bear_the_mark_is_left_alone() -> None:
    found = (
        *(proxy("10.1.0.9", protocol=0), replace(ROUTE, protocol=4)),
        *(replace(ROUTE, table=OWN_TABLES[0]), vnic(CN, "10.1.0.9")),
    )
    assert of(CN, *found) == []


def test_a_link_of_others_with_a_copied_alias_explains_nothing() -> None:
    assert of(CN, replace(vnic(CN, "10.1.0.9"), group=0), proxy("10.1.0.9")) == []


@pytest.mark.parametrize("routed", [False, True])
def test_entries_for_an_orphan_stay_as_long_as_it(routed: bool) -> None:
    """A node that is told by mistake that it has another topology cuts nobody off."""
    site, one = replace(make_site(), routed=routed), way(CN, "192.0.2.200")
    space = Namespace(name="snn-x", alias=one.alias.replace("k=way", "k=space"))
    entries = [proxy("192.0.2.200"), proxy("192.0.2.50")]
    records, useless = ComputeRecords(site).read(keyed([one, space, *entries]))
    assert useless == set()
    assert [line.partition(": ")[0] for line in records.orphans] == [str(one), str(space)]
    assert all("repair() removes it" in line for line in records.orphans)


def test_entries_for_a_routed_vnic_stay_as_long_as_it_is_an_orphan() -> None:
    tap, mine, gone = vnic(CN, "10.1.0.9"), proxy("10.1.0.9"), proxy("10.1.0.8")
    _, useless = ComputeRecords(make_site()).read(keyed([tap, ROUTE, mine, gone]))
    assert useless == {gone.key}
