"""Guests speak as themselves, at bridge ports and on routed links."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from snnet.backends.fake import FakeFirewall
from snnet.backends.fake.fabric.filter import frame_refused, routed_refused
from snnet.backends.fake.fabric.frames import (
    BROADCAST,
    Arp,
    Dhcp,
    Echo,
    Frame,
    Packet,
    Segment,
    Udp,
)
from snnet.backends.fake.rulebook import Rulebook
from snnet.contract import AntiSpoof, Tap

from .gateway import gateway
from .steps import add, address, remove, route
from .topology import mac_of, two_nodes

MAC, OTHER_MAC = "02:00:0a:01:00:09", "02:00:0a:01:00:0a"
OWN, OTHER, NOBODY, GATEWAY = (
    IPv4Address(text) for text in ("10.1.0.9", "10.1.0.10", "0.0.0.0", "10.1.0.1")
)
OWN6 = ip_address("2001:db8::9")


def rule(**values: object) -> AntiSpoof:
    given = {"link": "t7x9", "mac": MAC, "addresses": (OWN, OWN6), **values}
    return AntiSpoof(**given)  # type: ignore[arg-type]


def echo(source: object = OWN, target: object = GATEWAY) -> Packet:
    return Packet(source, target, Echo(True, 1, 56))  # type: ignore[arg-type]


def dhcp(source: IPv4Address, ports: tuple[int, int]) -> Packet:
    return Packet(source, IPv4Address("255.255.255.255"), Udp(*ports, Dhcp("DISCOVER", MAC)))


PASSING: list[Arp | Packet] = [
    echo(),
    echo(OWN6, ip_address("2001:db8::1")),
    Arp(True, OWN, MAC, GATEWAY),
    Arp(False, OWN, MAC, GATEWAY),
    Arp(True, NOBODY, MAC, OWN),
    dhcp(NOBODY, (68, 67)),
    dhcp(OWN, (68, 67)),
]
REFUSED = [
    (echo(OTHER), "10.1.0.10 to 10.1.0.1 has a foreign source"),
    (echo(ip_address("2001:db8::a"), OWN6), "has a foreign source"),
    (echo(NOBODY), "has a foreign source"),
    (dhcp(NOBODY, (68, 69)), "has a foreign source"),
    (dhcp(NOBODY, (1068, 67)), "has a foreign source"),
    (dhcp(OWN, (67, 68)), "is an answer of a DHCP server"),
    (dhcp(OWN, (1067, 68)), "is an answer of a DHCP server"),
    (Packet(OWN, GATEWAY, Segment("udp", 67, 9)), "is an answer of a DHCP server"),
    (Arp(True, OTHER, MAC, GATEWAY), "is from 10.1.0.10"),
    (Arp(False, GATEWAY, MAC, OTHER), "is from 10.1.0.1"),
    (Arp(False, NOBODY, MAC, OTHER), "is from 0.0.0.0"),
    (Arp(True, OWN, OTHER_MAC, GATEWAY), "says 10.1.0.9 is at 02:00:0a:01:00:0a"),
]


def book(*rules: AntiSpoof) -> Rulebook:
    made = Rulebook()
    for noun in rules:
        made.replace(None, noun)
    return made


@pytest.mark.parametrize("payload", PASSING, ids=str)
def test_what_a_guest_may_say(payload: Arp | Packet) -> None:
    assert frame_refused(book(rule()), "t7x9", Frame(MAC, BROADCAST, payload)) is None


@pytest.mark.parametrize(("payload", "why"), REFUSED, ids=str)
def test_what_it_may_not(payload: Arp | Packet, why: str) -> None:
    frame = Frame(MAC, BROADCAST, payload)
    refused = frame_refused(book(rule()), "t7x9", frame)
    assert refused is not None
    assert refused[0] == rule()
    assert why in refused[1]
    assert frame_refused(book(rule()), "t7x10", frame) is None
    assert frame_refused(book(rule(bridged=False)), "t7x9", frame) is None


def test_every_frame_has_the_guests_mac() -> None:
    for payload in PASSING:
        refused = frame_refused(book(rule()), "t7x9", Frame(OTHER_MAC, BROADCAST, payload))
        assert refused is not None
        assert refused[1] == "the frame is from 02:00:0a:01:00:0a"


def test_the_rules_of_all_owners_hold() -> None:
    both = book(rule(owner="x", addresses=(OWN, OTHER)), rule(owner="y"))
    assert frame_refused(both, "t7x9", Frame(MAC, BROADCAST, echo(OTHER))) is not None
    assert frame_refused(both, "t7x9", Frame(MAC, BROADCAST, echo())) is None


def test_on_a_routed_link_only_packets_are_looked_at() -> None:
    rules = book(rule(bridged=False))

    def refused(link: str, frame: Frame, rules: Rulebook = rules) -> bool:
        return routed_refused(rules, link, frame) is not None

    assert not refused("t7x9", Frame(MAC, BROADCAST, echo()))
    assert refused("t7x9", Frame(MAC, BROADCAST, echo(OTHER)))
    assert refused("t7x9", Frame(OTHER_MAC, BROADCAST, echo()))
    assert not refused("t7x10", Frame(MAC, BROADCAST, echo(OTHER)))
    assert not refused("t7x9", Frame(MAC, BROADCAST, echo(OTHER)), book(rule()))
    assert not refused("t7x9", Frame(OTHER_MAC, BROADCAST, Arp(True, OTHER, OTHER_MAC, OWN)))


# -- in the fabric ------------------------------------------------------------------------


def test_a_guest_at_a_bridge_port() -> None:
    center, one, two = two_nodes()
    center.serve()
    add(FakeFirewall(one), rule())
    guest = center.guest(one, "10.1.0.9", dhcp=True)
    other = center.guest(two, "10.1.0.10")
    assert guest.lease is not None
    assert center.fabric.ping(guest, other)
    assert center.fabric.ping(other, guest)
    assert center.fabric.connect(other, guest, "tcp", 22)


def test_a_guest_that_takes_the_address_of_another() -> None:
    center, one, two = two_nodes()
    add(FakeFirewall(one), rule())
    vnic = center.vm(one, "10.1.0.9")
    liar = center.fabric.attach(one, vnic, address="10.1.0.77/24")
    assert not center.fabric.ping(liar, "10.1.0.1")
    assert (
        "t7x9 on cn-1: dropped by: only 02:00:0a:01:00:09 10.1.0.9 2001:db8::9 from port t7x9: "
        "ARP who-has 10.1.0.1 is from 10.1.0.77"
    ) in center.fabric.explain(liar, "10.1.0.1")
    add(liar.kernel, address("10.1.0.1/32", "eth0"))
    other = center.guest(two, "10.1.0.10")
    assert center.fabric.ping(other, "10.1.0.1")
    assert not center.fabric.ping(other, liar)


def test_a_lie_is_not_learned() -> None:
    """The hook is before the bridge's table: nobody's frames are drawn to the liar."""
    center, one, _ = two_nodes()
    add(FakeFirewall(one), rule(mac="02:00:00:00:00:99"))
    liar, other = center.guest(one, "10.1.0.9"), center.guest(one, "10.1.0.10")
    assert not center.fabric.ping(liar, other)
    learned = center.fabric._network.learned.ports
    assert not [mac for _, _, mac in learned if mac == MAC]


def test_a_guest_on_a_routed_link() -> None:
    at = gateway()
    add(at.host, Tap(name="r0", proxy_arp=True), route("10.9.0.9/32", "r0"))
    add(at.host, route("0.0.0.0/0", "eth1", "203.0.113.99"))
    guest = at.center.fabric.attach(at.host, Routed())
    add(guest.kernel, address("10.9.0.10/32", "eth0"))
    at.rules(AntiSpoof(
        link="r0", mac=Routed.mac, addresses=(Routed.ip,), bridged=False,
    ))  # fmt: skip
    assert at.center.fabric.ping(guest, at.world)
    remove(guest.kernel, address("10.9.0.9/32", "eth0"))
    assert not at.center.fabric.ping(guest, at.world)
    assert "10.9.0.10 to 203.0.113.99 has a foreign source" in (
        at.center.fabric.explain(guest, at.world)
    )


class Routed:
    """A VNIC on a link of its own: the host answers ARP for all."""

    link_name = "r0"
    ip = IPv4Address("10.9.0.9")
    gateway = IPv4Address("169.254.0.1")
    mac = mac_of(IPv4Address("10.9.0.9"))
