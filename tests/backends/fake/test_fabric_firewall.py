"""The fabric obeys the filter: zones, bridges that only pass through, isolated hosts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from snnet.backends.fake import FakeFirewall
from snnet.backends.fake.rulebook import Rulebook
from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    Change,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PublicIp,
    Sysctl,
    Zone,
    ZoneLink,
)

from .gateway import Gateway, external, gateway, public
from .steps import add, address, do, link, neighbour, route
from .topology import mac_of, two_nodes


@pytest.fixture
def at() -> Gateway:
    return gateway()


def test_without_rules_everything_is_routed(at: Gateway) -> None:
    for source, target in ((at.a, at.c), (at.a, at.world), (at.world, at.a)):
        assert at.center.fabric.ping(source, target)
        assert at.center.fabric.connect(source, target, "tcp", 80)


def test_rules_about_others_change_nothing(at: Gateway) -> None:
    at.rules(Zone(zone="z"), ZoneLink(link="br99", zone="z"), BridgeAccept(bridge="br98"))
    at.rules(HostIsolation(link="br97"))
    for source, target in ((at.a, at.c), (at.world, at.a), (at.a, "10.1.0.1")):
        assert at.center.fabric.ping(source, target)


# -- zones ---------------------------------------------------------------------------


def test_links_of_one_zone_reach_each_other(at: Gateway) -> None:
    at.zone("br7", "br8")
    assert at.center.fabric.ping(at.a, at.c)
    assert at.center.fabric.ping(at.c, at.a)
    assert at.center.fabric.ping(at.a, at.b)


def test_another_link_is_out_of_reach_from_a_zone(at: Gateway) -> None:
    at.zone("br7")
    for target in (at.c, at.world):
        assert not at.center.fabric.ping(at.a, target)
    explanation = at.center.fabric.explain(at.a, at.world)
    assert (
        "br7 on cnci: dropped by: zone z link br7: "
        "echo request, 10.1.0.9 to 203.0.113.99 leaves by eth1 and is not an answer"
    ) in explanation


def test_nobody_else_opens_connections_into_a_zone(at: Gateway) -> None:
    at.zone("br7")
    for source in (at.c, at.world):
        assert not at.center.fabric.ping(source, at.a)
    assert (
        "eth1 on cnci: dropped by: zone z link br7: "
        "echo request, 203.0.113.99 to 10.1.0.9 arrived on eth1 and is not an answer"
    ) in at.center.fabric.explain(at.world, at.a)


def test_two_zones_do_not_meet(at: Gateway) -> None:
    at.zone("br7", name="y", networks="10.2.0.0/24")
    at.zone("br8", name="z", networks="10.1.0.0/24")
    assert not at.center.fabric.ping(at.a, at.c)  # that of the sender decides
    assert not at.center.fabric.ping(at.c, at.a)


def test_zones_of_two_owners_are_two(at: Gateway) -> None:
    at.zone("br7", owner="x")
    at.zone("br8", owner="y")
    assert not at.center.fabric.ping(at.a, at.c)


def test_another_owners_rules_open_no_zone(at: Gateway) -> None:
    at.zone("br7", owner="x")
    at.rules(*(replace(rule, owner="y") for rule in external("br7")))  # type: ignore[call-arg]
    at.rules(replace(public(), owner="y"))
    at.zone("br9", owner="y", networks="203.0.113.0/24")
    for guest in (at.a, at.b):
        assert not at.center.fabric.ping(guest, at.world)
        assert not at.center.fabric.ping(at.world, guest)
    at.rules(*(replace(rule, owner="x") for rule in external("br7")))  # type: ignore[call-arg]
    assert at.center.fabric.ping(at.b, at.world)


def test_the_host_itself_is_in_no_zone(at: Gateway) -> None:
    at.zone("br7")
    assert at.center.fabric.ping(at.host, at.a)
    assert at.center.fabric.ping(at.a, "10.1.0.1")


def test_networks_of_a_zone_may_come_from_any_link(at: Gateway) -> None:
    at.zone("br7", networks="192.0.2.0/24 203.0.113.99/32")
    assert at.center.fabric.ping(at.world, at.a)
    assert not at.center.fabric.ping(at.c, at.a)
    assert not at.center.fabric.ping(at.a, at.world)
    found = Zone(zone="z", networks=(IPv4Network("192.0.2.0/24"), IPv4Network("203.0.113.99/32")))
    do(FakeFirewall(at.host), Change(replace(found, networks=(IPv4Network("10.2.0.0/24"),)), found))
    assert not at.center.fabric.ping(at.world, at.a)
    assert at.center.fabric.ping(at.c, at.a)


def test_out_of_a_zone_by_an_external_forward_and_back_only_answers(at: Gateway) -> None:
    at.zone("br7", "br8")
    at.rules(*external("br7"))
    assert at.center.fabric.ping(at.a, at.world)
    assert at.center.fabric.connect(at.a, at.world, "tcp", 80)
    assert not at.center.fabric.ping(at.c, at.world)
    assert not at.center.fabric.ping(at.world, at.a)


def test_an_external_forward_without_masquerade_has_no_effect(at: Gateway) -> None:
    at.zone("br7")
    at.rules(ExternalForward(device="eth1", bridge="br7"))
    assert not at.center.fabric.ping(at.a, at.world)
    at.rules(Masquerade(device="eth0"))
    assert not at.center.fabric.ping(at.a, at.world)
    at.rules(Masquerade(device="eth1"))
    assert at.center.fabric.ping(at.a, at.world)


def test_masquerade_alone_lets_nothing_out_of_a_zone(at: Gateway) -> None:
    at.zone("br7")
    at.rules(Masquerade(device="eth1"))
    assert not at.center.fabric.ping(at.a, at.world)


def test_a_public_address_is_a_way_out_for_its_guest_by_its_device(at: Gateway) -> None:
    at.zone("br7")
    values = {"public": IPv4Address("203.0.113.5"), "internal": IPv4Address("10.1.0.9")}
    at.rules(PublicIp(device="eth0", **values))  # type: ignore[arg-type]
    assert not at.center.fabric.connect(at.a, at.world, "tcp", 80)
    at.lift(PublicIp(device="eth0", **values))  # type: ignore[arg-type]
    at.rules(PublicIp(device="eth1", **values))  # type: ignore[arg-type]
    add(at.host, address("203.0.113.5/32", "eth1"))
    assert at.center.fabric.connect(at.a, at.world, "tcp", 80)
    assert not at.center.fabric.connect(at.b, at.world, "tcp", 80)


# -- bridges that only pass through -------------------------------------------------------


@pytest.mark.parametrize("shown", ["1", "0"])
def test_ports_of_a_bridge_reach_each_other(at: Gateway, shown: str) -> None:
    name = "net.bridge.bridge-nf-call-iptables"
    do(at.host, Change(Sysctl(name=name, value=shown), Sysctl(name=name, value="1")))
    at.rules(BridgeAccept(bridge="br7"))
    at.zone("br8")
    assert at.center.fabric.ping(at.a, at.b)


@pytest.mark.parametrize("shown", ["1", "0"])
def test_connections_of_bridged_frames_are_known_where_ip_sees_them(
    at: Gateway, shown: str
) -> None:
    """Asked through the bridge's ports, answered through the host."""
    name = "net.bridge.bridge-nf-call-iptables"
    do(at.host, Change(Sysctl(name=name, value=shown), Sysctl(name=name, value="1")))
    nic = link(at.host, "eth0")
    do(at.host, Change(replace(nic, master="br7"), nic))
    add(at.world, address("10.1.0.99/24", "eth0"))
    assert at.center.fabric.ping(at.a, "10.1.0.99")
    add(at.world, route("10.1.0.9/32", "eth0", "203.0.113.1"))
    assert at.center.fabric.ping(at.a, "10.1.0.99")
    at.zone("br7")
    assert at.center.fabric.ping(at.a, "10.1.0.99") is (shown == "1")


def test_nothing_is_routed_from_such_a_bridge_or_to_it(at: Gateway) -> None:
    at.rules(BridgeAccept(bridge="br7"))
    assert not at.center.fabric.ping(at.a, at.c)
    assert not at.center.fabric.ping(at.c, at.a)
    why = "on cnci: dropped by: accept through bridge br7: nothing is routed"
    assert f"br7 {why} from it" in at.center.fabric.explain(at.a, at.c)
    assert f"br8 {why} to it" in at.center.fabric.explain(at.c, at.a)


def test_that_comes_before_zones_and_before_answers(at: Gateway) -> None:
    at.rules(BridgeAccept(bridge="br7"), *external("br7"))
    at.zone("br7", "br8")
    assert not at.center.fabric.ping(at.a, at.c)
    assert not at.center.fabric.ping(at.a, at.world)


def test_a_tenant_through_accepting_bridges() -> None:
    center, one, two = two_nodes()
    for node in (one, two):
        add(FakeFirewall(node), BridgeAccept(bridge="br7"), HostIsolation(link="br7"))
    a, b = center.guest(one, "10.1.0.9"), center.guest(two, "10.1.0.10")
    assert center.fabric.ping(a, b)
    assert center.fabric.ping(a, "10.1.0.1")


# -- isolated hosts ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["10.1.0.1", "10.2.0.1", "192.0.2.10"])
def test_guests_do_not_reach_an_isolated_host(at: Gateway, target: str) -> None:
    at.center.fabric.listen(at.host, "tcp", 22)
    assert at.center.fabric.connect(at.a, target, "tcp", 22)
    at.rules(HostIsolation(link="br7", arp=False))
    assert not at.center.fabric.ping(at.a, target)
    assert not at.center.fabric.connect(at.a, target, "tcp", 22)
    assert at.center.fabric.connect(at.c, target, "tcp", 22)
    assert (
        f"br7 on cnci: dropped by: host out of reach by IP from br7: "
        f"tcp/22, 10.1.0.9 to {target} is not an answer"
    ) in at.center.fabric.explain(at.a, target, protocol="tcp", port=22)


def test_answers_reach_an_isolated_host_and_others_are_routed(at: Gateway) -> None:
    at.rules(HostIsolation(link="br7", arp=False))
    assert at.center.fabric.ping(at.host, at.a)
    assert at.center.fabric.connect(at.host, at.a, "udp", 53)
    assert at.center.fabric.ping(at.a, at.c)


def test_an_isolated_host_does_not_answer_arp(at: Gateway) -> None:
    at.rules(HostIsolation(link="br7"))
    assert (
        "br7 on cnci: dropped by: host out of reach from br7: ARP who-has 10.1.0.1"
    ) in at.center.fabric.explain(at.a, "10.1.0.1")
    assert not at.center.fabric.ping(at.host, at.a)  # nor does it hear answers
    assert at.center.fabric.ping(at.a, at.b)


def test_who_knows_the_macs_is_kept_out_by_ip(at: Gateway) -> None:
    at.rules(HostIsolation(link="br7"))
    gateway_mac = link(at.host, "br7").mac or ""
    add(at.a.kernel, neighbour("10.1.0.1", gateway_mac, "eth0"))
    assert not at.center.fabric.ping(at.a, "10.1.0.1")
    add(at.host, neighbour("10.1.0.9", mac_of(IPv4Address("10.1.0.9")), "br7"))
    assert at.center.fabric.ping(at.host, at.a)


def test_a_guest_that_gives_itself_an_address_of_the_host_network() -> None:
    """``weak host``: a node answers for its underlay address on the guests' bridge too."""
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9")
    add(guest.kernel, route("192.0.2.11/32", "eth0"))
    add(one, route("10.1.0.0/24", "br7"))
    assert center.fabric.ping(guest, "192.0.2.11")
    add(FakeFirewall(one), HostIsolation(link="br7"))
    assert not center.fabric.ping(guest, "192.0.2.11")


# -- cost -------------------------------------------------------------------------------------


def test_a_thousand_rules_cost_a_packet_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rules are looked at with a thousand ports as with one, and none without."""
    center, one, _ = two_nodes()
    a, b = center.guest(one, "10.1.0.9"), center.guest(one, "10.1.0.10")
    looked_at: list[tuple[object, ...]] = []
    look_up = Rulebook.all

    def count(book: Rulebook, kind: type[Noun], *known_by: object) -> tuple[Noun, ...]:
        found = look_up(book, kind, *known_by)
        looked_at.append((kind, *known_by, len(found)))
        return found

    def first(book: Rulebook, kind: type[Noun], *known_by: object) -> Noun | None:
        return next(iter(count(book, kind, *known_by)), None)

    monkeypatch.setattr(Rulebook, "all", count)
    monkeypatch.setattr(Rulebook, "first", first)
    assert center.fabric.ping(a, b)
    assert not looked_at
    firewall, costs = FakeFirewall(one), []
    for ports in ([9, 10], range(11, 1000)):
        for port in ports:
            mac = mac_of(IPv4Address("10.1.0.0") + port)
            addresses = (IPv4Address("10.1.0.0") + port,)
            add(firewall, AntiSpoof(link=f"t7x{port}", mac=mac, addresses=addresses))
        assert center.fabric.ping(a, b)
        looked_at.clear()
        assert center.fabric.ping(a, b)
        costs.append(list(looked_at))
    assert costs[0] == costs[1]
    assert (AntiSpoof, "t7x9", True, 1) in costs[0]
