"""From found to wanted: the right operations, in an order that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnet
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Key,
    Link,
    Neighbour,
    Noun,
    Operation,
    PortForward,
    Remove,
    Route,
    Tap,
    Vxlan,
    keyed,
    link_key,
)
from snnet.core.planner import plan

BRIDGE = Bridge(name="br", mac="06:00:00:00:00:01", mtu=1400)
TAP = Tap(name="tap", mac="fe:00:00:00:00:01", mtu=1400, master="br")
MESH = Vxlan(
    name="mesh",
    mac="06:00:00:00:00:02",
    vni=1,
    local=IPv4Address("192.0.2.1"),
    remote=None,
    port=4789,
)
ON_MESH: list[Noun] = [
    Address(link="mesh", address=IPv4Interface("10.9.0.1/32")),
    Neighbour(link="mesh", address=IPv4Address("10.9.0.2"), lladdr="06:00:00:00:00:03"),
    Route(destination=IPv4Network("10.9.0.2/32"), link="mesh"),
    Route(
        destination=IPv4Network("10.2.0.0/24"),
        link="mesh",
        gateway=IPv4Address("10.9.0.2"),
        onlink=True,
    ),
]
FORWARD = PortForward(
    owner="cnci:x",
    protocol="tcp",
    device="eth0",
    port=22,
    target=IPv4Address("10.1.0.9"),
    target_port=22,
)


def steps(found: list[Noun], wanted: list[Noun]) -> list[Operation]:
    return list(plan(keyed(found), keyed(wanted)))


def test_nothing_to_do_is_an_empty_plan() -> None:
    nouns = [BRIDGE, TAP, MESH, *ON_MESH, FORWARD]
    assert not plan(keyed(nouns), keyed(nouns))
    assert not plan({}, {})


def test_of_two_removals_one_may_take_the_other_along() -> None:
    """Be it one thing that hangs on the link or several."""
    address = Address(link="br", address=IPv4Interface("10.1.0.1/24"))
    route = Route(destination=IPv4Network("10.2.0.0/24"), link="br")
    assert steps([BRIDGE, address], []) == [Remove(BRIDGE)]
    assert steps([BRIDGE, address, route], []) == [Remove(BRIDGE)]
    assert steps([BRIDGE, address], [BRIDGE]) == [Remove(address)]


def test_a_bridge_comes_before_its_ports_and_a_link_before_what_hangs_on_it() -> None:
    wanted = [FORWARD, *reversed(ON_MESH), TAP, MESH, BRIDGE]
    order = [op.noun for op in steps([], wanted)]
    assert order.index(BRIDGE) < order.index(TAP)
    address, neighbour, host_route, subnet_route = map(order.index, ON_MESH)
    assert order.index(MESH) < address < neighbour < host_route
    assert neighbour < subnet_route < order.index(FORWARD)


def test_removal_goes_the_other_way_round() -> None:
    order = [op.noun for op in steps([BRIDGE, TAP, *ON_MESH, FORWARD], [])]
    assert order[0] == FORWARD
    assert order.index(TAP) < order.index(BRIDGE)
    address, neighbour, host_route, subnet_route = map(order.index, ON_MESH)
    assert max(host_route, subnet_route) < neighbour < address


def test_removals_come_before_changes_and_additions() -> None:
    # A link that goes may hold the key, name or address that another one needs.
    old = replace(MESH, name="old")
    operations = steps([old, BRIDGE], [MESH, replace(BRIDGE, mtu=1300)])
    assert operations[0] == Remove(old)


def test_what_dies_with_its_link_is_not_removed_by_itself() -> None:
    assert steps([MESH, *ON_MESH], []) == [Remove(MESH)]


def test_what_hangs_on_a_link_that_stays_is_removed_by_itself() -> None:
    assert {op.noun.key for op in steps([MESH, *ON_MESH], [MESH])} == {n.key for n in ON_MESH}


def test_a_changeable_field_is_changed_in_place() -> None:
    new = replace(TAP, mtu=1300, alias="x", master=None, up=True)
    assert steps([TAP], [new]) == [Change(new, TAP)]


def test_any_other_field_takes_a_new_object() -> None:
    new = replace(MESH, vni=2)
    assert steps([MESH], [new]) == [Remove(MESH), Add(new)]


def test_an_object_of_another_kind_takes_a_new_object() -> None:
    new = Tap(name="br")
    assert steps([BRIDGE], [new]) == [Remove(BRIDGE), Add(new)]


def test_a_rule_that_leads_elsewhere_is_a_new_rule() -> None:
    new = replace(FORWARD, target_port=23)
    assert steps([FORWARD], [new]) == [Remove(FORWARD), Add(new)]


def test_a_wish_of_none_is_whatever_the_kernel_gave() -> None:
    assert steps([TAP], [replace(TAP, mac=None, mtu=None)]) == []


def test_no_master_is_a_wish_of_its_own() -> None:
    free = replace(TAP, master=None)
    assert steps([TAP], [free]) == [Change(free, TAP)]


def test_a_lost_gateway_is_noticed() -> None:
    with_gateway = ON_MESH[3]
    assert isinstance(with_gateway, Route)
    assert steps([with_gateway], [replace(with_gateway, gateway=None, onlink=False)]) != []


def test_the_ifindex_makes_no_difference() -> None:
    assert steps([replace(TAP, index=77)], [TAP]) == []


def test_dependents_of_a_recreated_link_are_recreated() -> None:
    new = replace(MESH, vni=2)
    operations = steps([MESH, *ON_MESH], [new, *ON_MESH])
    position = operations.index(Add(new))
    for noun in ON_MESH:
        assert operations.index(Remove(noun)) < operations.index(Remove(MESH))
        assert operations.index(Add(noun)) > position


def test_neighbours_come_back_after_a_link_changed_its_mac() -> None:
    # neigh_changeaddr (net/core/neighbour.c) drops them, permanent ones too.
    new = replace(MESH, mac="06:00:00:00:00:09")
    neighbour = ON_MESH[1]
    assert steps([MESH, *ON_MESH], [new, *ON_MESH]) == [
        Remove(neighbour),
        Change(new, MESH),
        Add(neighbour),
    ]


def test_routes_and_neighbours_come_back_after_a_link_was_without_an_address() -> None:
    # fib_disable_ip (net/ipv4/fib_frontend.c) drops them with the last IPv4 address.
    address, *rest = ON_MESH
    new = Address(link="mesh", address=IPv4Interface("10.9.0.7/32"))
    operations = steps([MESH, *ON_MESH], [MESH, new, *rest])
    assert operations[3:5] == [Remove(address), Add(new)]
    for noun in rest:
        assert operations.index(Remove(noun)) < 3
        assert operations.index(Add(noun)) > 4


# -- any found, any wanted ---------------------------------------------------------------


class Host:
    """What plans run on: strict, and what hangs on a link dies with it."""

    def __init__(self, nouns: dict[Key, Noun]) -> None:
        self.nouns = dict(nouns)

    def apply(self, operation: Operation) -> None:
        noun = operation.noun
        if isinstance(operation, Add):
            assert noun.key not in self.nouns, f"{operation}: is there"
            assert noun.within is None or noun.within in self.nouns, f"{operation}: on nothing"
            self.nouns[noun.key] = noun
            return
        assert noun.key in self.nouns, f"{operation}: is not there"
        if isinstance(operation, Remove):
            del self.nouns[noun.key]
            self._drop(lambda other: other.within == noun.key)
            if isinstance(noun, Address) and not self._has_address(noun.link):
                self._drop(
                    lambda other: (
                        isinstance(other, (Neighbour, Route)) and other.within == noun.within
                    )
                )
            return
        assert self.nouns[noun.key] == operation.old
        assert noun.differences(operation.old) <= noun.changeable
        self.nouns[noun.key] = noun
        if (
            isinstance(noun, Link)
            and isinstance(operation.old, Link)
            and noun.mac != operation.old.mac
        ):
            self._drop(lambda other: isinstance(other, Neighbour) and other.within == noun.key)

    def _has_address(self, link: str) -> bool:
        return any(isinstance(noun, Address) and noun.link == link for noun in self.nouns.values())

    def _drop(self, dies: Callable[[Noun], bool]) -> None:
        self.nouns = {key: noun for key, noun in self.nouns.items() if not dies(noun)}


MACS = ("06:00:00:00:00:01", "06:00:00:00:00:02")
IPS = (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))


def _universe() -> Iterator[Noun]:
    """Nouns of which many are the same object in another state, or hang on another."""
    local, network = IPv4Address("192.0.2.1"), IPv4Network("10.2.0.0/24")
    for name in ("a", "b"):
        for mac in MACS:
            yield Tap(name=name, mac=mac)
            yield Bridge(name=name, mac=mac, mtu=1400)
            for vni in (1, 2):
                yield Vxlan(name=name, mac=mac, vni=vni, local=local, remote=None, port=4789)
        for ip in IPS:
            yield Address(link=name, address=IPv4Interface((ip, 32)))
            yield Route(destination=network, link=name, gateway=ip)
            for mac in MACS:
                yield Neighbour(link=name, address=ip, lladdr=mac)
    for port, target_port in ((1, 1), (1, 2), (2, 1)):
        yield replace(FORWARD, port=port, target_port=target_port)


def _possible(nouns: list[Noun]) -> dict[Key, Noun]:
    """What can be on a host: nothing hangs on a link that is not there."""
    found = keyed(nouns)
    return {key: noun for key, noun in found.items() if noun.within is None or noun.within in found}


hosts = st.lists(st.sampled_from(list(_universe())), max_size=12).map(_possible)


@settings(max_examples=60)
@given(found=hosts, wanted=hosts)
def test_a_plan_leads_from_any_found_to_any_wanted(
    found: dict[Key, Noun], wanted: dict[Key, Noun]
) -> None:
    host = Host(found)
    for operation in plan(found, wanted):
        host.apply(operation)
    assert host.nouns == wanted


@settings(max_examples=60)
@given(found=hosts, wanted=hosts)
def test_a_plan_undone_in_reverse_leads_back(
    found: dict[Key, Noun], wanted: dict[Key, Noun]
) -> None:
    # What dies with a link that goes for good is not brought back: that is a tear-down.
    # Nor are routes and neighbours of a link that had no address and loses its last one;
    # such there are in routed mode only, whose links never get any.
    addressed = {noun.within for noun in found.values() if isinstance(noun, Address)}
    found = {
        key: noun
        for key, noun in found.items()
        if noun.within is None
        or (
            noun.within in wanted
            and (noun.within in addressed or not isinstance(noun, Neighbour | Route))
        )
    }
    host = Host(found)
    operations = list(plan(found, wanted))
    for operation in operations:
        host.apply(operation)
    for operation in reversed(operations):
        host.apply(operation.inverse())
    assert host.nouns == found


@settings(max_examples=20)
@given(hosts)
def test_there_is_nothing_to_do_where_all_is_as_wanted(nouns: dict[Key, Noun]) -> None:
    assert not plan(nouns, nouns)


ANEW: dict[str, list[Noun]] = {
    "mac": [replace(MESH, mac="06:00:00:00:00:09"), *ON_MESH],
    "vni": [replace(MESH, vni=2), *ON_MESH],
    "address": [
        MESH,
        Address(link="mesh", address=IPv4Interface("10.9.0.7/32")),
        *ON_MESH[1:],
    ],
}


@pytest.mark.parametrize("wanted", ANEW.values(), ids=ANEW)
def test_the_kernel_agrees(wanted: list[Noun]) -> None:
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.1/24")
    old = keyed([MESH, *ON_MESH])
    assert kernel.apply(plan({}, old).operations).error is None
    before = kernel.to_text()
    operations = plan(old, keyed(wanted)).operations
    assert kernel.apply(operations).error is None
    assert not plan(_found(kernel, "mesh"), keyed(wanted))
    undo = [operation.inverse() for operation in reversed(operations)]
    assert kernel.apply(undo).error is None
    assert kernel.to_text() == before


def _found(kernel: snnet.FakeKernel, link: str) -> dict[Key, Noun]:
    return {
        key: noun for key, noun in kernel.snapshot().items() if link_key(link) in (key, noun.within)
    }
