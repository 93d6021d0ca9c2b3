"""The fabric translates: port forwards, public addresses, masquerade, hairpin."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from snnet.backends.fake.fabric.frames import Arp, Echo, Frame, Icmp6, Packet, Segment
from snnet.backends.fake.fabric.walk import Step
from snnet.conformance.endpoints import A1, OUT
from snnet.conformance.firewall.base import PUBLIC6, exit_by, publish, zone
from snnet.conformance.firewall.base import add as add_rules
from snnet.contract import (
    Change,
    HostIsolation,
    IPAddress,
    Masquerade,
    Noun,
    Sysctl,
    TranslatedSource,
    Zone,
)
from tests.conformance.fake_rig import FakeRig

from .gateway import OUTSIDE, Gateway, external, forward, gateway, public
from .steps import add, address, do, link, neighbour, route


@pytest.fixture
def at() -> Gateway:
    """The guests of br7 and br8 are one zone."""
    at = gateway()
    at.zone("br7", "br8")
    return at


# -- port forwards ---------------------------------------------------------------------


def test_a_port_forward_leads_to_its_target(at: Gateway) -> None:
    at.rules(forward())
    fabric = at.center.fabric
    at.center.fabric.listen(at.a, "tcp", 22)
    found = fabric.connected(at.world, OUTSIDE, "tcp", 33265)
    assert found is not None
    assert found.station == "guest 10.1.0.9"
    assert str(found.source) == "203.0.113.99"
    explanation = fabric.explain(at.world, OUTSIDE, protocol="tcp", port=33265).splitlines()
    assert (
        "eth1 on cnci: DNAT to 10.1.0.9:22 by port tcp/33265 on eth1 to 10.1.0.9:22" in explanation
    )
    assert f"br7 on cnci: answer: source restored to {OUTSIDE}:33265" in explanation
    assert explanation[-1] == "answered"


def test_only_its_protocol_and_its_port(at: Gateway) -> None:
    at.rules(forward())
    connect = at.center.fabric.connect
    assert connect(at.world, OUTSIDE, "tcp", 33265)
    assert not connect(at.world, OUTSIDE, "udp", 33265)
    assert not connect(at.world, OUTSIDE, "tcp", 33266)
    assert at.center.fabric.ping(at.world, OUTSIDE)
    assert not connect(at.world, "10.1.0.9", "tcp", 22)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_each_protocol_to_each_subnet(at: Gateway, protocol: str) -> None:
    at.rules(forward(protocol=protocol, target="10.2.0.9"))
    found = at.center.fabric.connected(at.world, OUTSIDE, protocol, 33265)
    assert found is not None
    assert found.station == "guest 10.2.0.9"


def test_only_by_its_device_but_for_any_address_of_the_host(at: Gateway) -> None:
    at.rules(forward(device="eth0", addresses=()))
    connect, world = at.center.fabric.connect, at.world
    assert not connect(world, OUTSIDE, "tcp", 33265)
    inside = at.center.fabric.add_host("cn", "192.0.2.11/24")
    add(inside, route("203.0.113.0/24", "eth0", "192.0.2.10"))
    assert connect(inside, "192.0.2.10", "tcp", 33265)
    assert connect(inside, OUTSIDE, "tcp", 33265)
    assert not connect(inside, world, "tcp", 33265)  # not for the host: no forward either
    assert not connect(at.host, OUTSIDE, "tcp", 33265)  # its own packets arrive by no link


def test_the_target_need_not_be_isolated_from(at: Gateway) -> None:
    """What goes to a guest instead is no input of the host."""
    at.rules(HostIsolation(link="eth1", arp=False))
    assert not at.center.fabric.ping(at.world, OUTSIDE)
    at.rules(forward())
    assert at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)


def test_nobody_listens_at_the_target(at: Gateway) -> None:
    at.rules(forward())
    at.center.fabric.listen(at.a, "tcp", 80)
    assert not at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)
    assert "eth0 on guest 10.1.0.9: refused: nothing listens on tcp/22" in (
        at.center.fabric.explain(at.world, OUTSIDE, protocol="tcp", port=33265)
    )


def test_once_it_is_gone_nothing_leads_there(at: Gateway) -> None:
    at.rules(forward())
    assert at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)
    at.lift(forward())
    assert not at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)


# -- hairpin ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_guests_reach_a_forward_by_the_address_outside(at: Gateway, name: str) -> None:
    """From its own bridge, from another, and the target itself; all as the host."""
    at.rules(forward())
    guest = {"a": at.a, "b": at.b, "c": at.c}[name]
    found = at.center.fabric.connected(guest, OUTSIDE, "tcp", 33265)
    assert found is not None
    assert found == ("guest 10.1.0.9", IPv4Address("10.1.0.1"))
    explanation = at.center.fabric.explain(guest, OUTSIDE, protocol="tcp", port=33265)
    assert "SNAT to 10.1.0.1:49153 by zone z link br7" in explanation


def test_only_by_the_addresses_of_the_forward_and_only_from_a_zone(at: Gateway) -> None:
    at.rules(forward())
    assert not at.center.fabric.connect(at.b, "192.0.2.10", "tcp", 33265)
    inside = at.center.fabric.add_host("cn", "192.0.2.11/24")
    add(inside, route("203.0.113.0/24", "eth0", "192.0.2.10"))
    assert not at.center.fabric.connect(inside, OUTSIDE, "tcp", 33265)


def test_a_forward_of_another_owner_has_no_hairpin_here(at: Gateway) -> None:
    at.rules(forward(owner="cnci:x"))
    assert at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)
    assert not at.center.fabric.connect(at.b, OUTSIDE, "tcp", 33265)


def test_what_was_not_redirected_keeps_its_source_within_the_zone(at: Gateway) -> None:
    found = at.center.fabric.connected(at.c, at.a, "tcp", 22)
    assert found is not None
    assert str(found.source) == "10.2.0.9"


# -- public addresses -------------------------------------------------------------------------


def test_a_public_address_is_its_guest_both_ways(at: Gateway) -> None:
    at.rules(public())
    add(at.host, address("203.0.113.5/32", "eth1"))
    fabric = at.center.fabric
    assert fabric.ping(at.world, "203.0.113.5")
    assert fabric.connected(at.world, "203.0.113.5", "tcp", 80) == (
        "guest 10.1.0.9",
        IPv4Address("203.0.113.99"),
    )
    assert fabric.connected(at.a, at.world, "tcp", 80) == ("world", IPv4Address("203.0.113.5"))
    rule = "by public address 203.0.113.5 on eth1 for 10.1.0.9"
    assert f"eth1 on cnci: DNAT to 10.1.0.9 {rule}" in fabric.explain(at.world, "203.0.113.5")
    assert f"br7 on cnci: SNAT to 203.0.113.5 {rule}" in fabric.explain(at.a, at.world)
    assert "answer: target restored to 10.1.0.9" in fabric.explain(at.a, at.world)


def test_a_public_address_reaches_its_guest_from_anywhere(at: Gateway) -> None:
    at.rules(public())
    add(at.host, address("203.0.113.5/32", "eth1"))
    for source, seen in ((at.c, "10.1.0.1"), (at.b, "10.1.0.1"), (at.a, "10.1.0.1")):
        assert at.center.fabric.connected(source, "203.0.113.5", "udp", 53) == (
            "guest 10.1.0.9",
            IPv4Address(seen),
        )
    found = at.center.fabric.connected(at.host, "203.0.113.5", "udp", 53)
    assert found is not None
    assert found.station == "guest 10.1.0.9"


def test_a_public_address_comes_before_port_forwards_and_masquerade(at: Gateway) -> None:
    at.rules(public(), *external("br7"), forward(target="10.2.0.9"))
    add(at.host, address("203.0.113.5/32", "eth1"))
    connected = at.center.fabric.connected
    found = connected(at.world, "203.0.113.5", "tcp", 33265)
    assert found is not None
    assert found.station == "guest 10.1.0.9"
    for guest, seen in ((at.a, "203.0.113.5"), (at.b, OUTSIDE)):
        assert connected(guest, at.world, "tcp", 80) == ("world", IPv4Address(seen))


# -- masquerade ------------------------------------------------------------------------------


def test_masquerade_takes_the_address_of_the_device(at: Gateway) -> None:
    at.rules(*external("br7"))
    fabric = at.center.fabric
    assert fabric.connected(at.a, at.world, "tcp", 80) == ("world", IPv4Address(OUTSIDE))
    assert "br7 on cnci: SNAT to 203.0.113.1 by masquerade on eth1" in (
        fabric.explain(at.a, at.world)
    )


def test_masquerade_elsewhere_or_of_answers_changes_nothing(at: Gateway) -> None:
    at.rules(Masquerade(device="eth1"))
    found = at.center.fabric.connected(at.c, at.a, "tcp", 80)
    assert found is not None
    assert str(found.source) == "10.2.0.9"
    at.rules(forward())
    assert at.center.fabric.connect(at.world, OUTSIDE, "tcp", 33265)


def test_masquerade_on_a_device_without_an_address_of_its_kind(at: Gateway) -> None:
    """Nobody answers to what has no source (nf_nat_masquerade_ipv6)."""
    name = "net.ipv6.conf.all.forwarding"
    do(at.host, Change(Sysctl(name=name, value="1"), Sysctl(name=name, value="0")))
    add(at.host, route("2001:db8:9::/64", "eth1"))
    add(
        at.a.kernel,
        address("2001:db8:1::9/64", "eth0"),
        neighbour("2001:db8:1::1", link(at.host, "br7").mac or "", "eth0"),
        route("2001:db8:9::/64", "eth0", "2001:db8:1::1"),
    )
    at.rules(*external("br7", nat66=True))
    assert "br7 on cnci: dropped by: masquerade of IPv6 too on eth1: no address on eth1" in (
        at.center.fabric.explain(at.a, "2001:db8:9::9")
    )


# -- nothing leaves untranslated: the kernel's side is tests/firewall/test_untranslated.py ------


UNEXPECTED = [
    Arp(True, A1.ip6, A1.mac, OUT.ip6),
    Arp(False, A1.ip6, A1.mac, OUT.ip6),
    Icmp6("MLD report"),
    Icmp6("destination unreachable", about=Packet(OUT.ip6, A1.ip6, Segment("udp", 1, 2))),
    Echo(False, 1, 8),
    Segment("tcp", 1, 2, request=False),
]
"""What opens no connection; the kernel does not track messages about neighbours at all."""


@pytest.mark.parametrize("way", ["masquerade", "public address", "translated source"])
def test_what_belongs_to_no_connection_stays_inside(way: str) -> None:
    with FakeRig() as rig:
        for payload in UNEXPECTED:  # they do leave a host without rules
            assert _sources(rig, payload) == {A1.ip6}, payload
        ways: dict[str, list[Noun]] = {
            "masquerade": exit_by(rig, nat66=True),
            "public address": [publish(rig, address=PUBLIC6)],
            "translated source": [TranslatedSource(owner=rig.owner, source=A1.ip6)],
        }
        outbound = way == "translated source"
        tenant = zone(rig, "ta", "in-a")
        add_rules(
            rig,
            *(replace(one, outbound=outbound) if isinstance(one, Zone) else one for one in tenant),
            *ways[way],
        )
        for payload in UNEXPECTED:
            assert _sources(rig, payload) == set(), payload


def _sources(rig: FakeRig, payload: Any) -> set[IPAddress]:
    """Whom packets are from that arrive outside when the guest sends this."""
    wire = rig._links(OUT)
    heard: set[IPAddress] = set()
    take_in = wire.receive

    def receive(name: str, frame: Frame, step: Step) -> None:
        if isinstance(frame.payload, Packet) and frame.payload.target == OUT.ip6:
            heard.add(frame.payload.source)
        take_in(name, frame, step)

    wire.receive = receive  # type: ignore[method-assign]
    rig._send(A1, Frame(A1.mac, A1.gateway_mac, Packet(A1.ip6, OUT.ip6, payload)))
    del wire.receive
    return heard
