"""Rules by what packets are looked up by."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from snnet.backends.fake.rulebook import Rulebook
from snnet.contract import BridgeAccept, PortForward, PublicIp, Zone, ZoneLink

LINK = ZoneLink(zone="z", link="b0")


def book(*networks: str) -> Rulebook:
    rules = Rulebook()
    rules.replace(None, Zone(zone="z", networks=tuple(map(ip_network, networks))))
    return rules


def test_rules_of_several_owners_stand_side_by_side() -> None:
    rules = Rulebook()
    assert not rules
    ours, theirs = BridgeAccept(bridge="b0"), BridgeAccept(owner="x", bridge="b0")
    for rule in (ours, theirs):
        rules.replace(None, rule)
    assert rules.all(BridgeAccept, "b0") == (ours, theirs)
    assert rules.first(BridgeAccept, "b0") is ours
    assert rules.all(BridgeAccept, "b1") == ()
    rules.replace(ours, None)
    assert rules.first(BridgeAccept, "b0") is theirs
    rules.replace(theirs, None)
    assert rules.first(BridgeAccept, "b0") is None
    assert not rules


def test_a_rule_is_found_by_all_it_is_known_by() -> None:
    rules, outside = Rulebook(), IPv4Address("203.0.113.1")
    forward = PortForward(
        protocol="tcp", device="e0", port=33265, target=IPv4Address("10.1.0.9"), target_port=22,
        addresses=(outside, outside),
    )  # fmt: skip
    public = PublicIp(public=outside, internal=IPv4Address("10.1.0.9"), device="e0")
    for rule in (forward, public):
        rules.replace(None, rule)
    assert rules.first(PortForward, "e0", "tcp", 33265) is forward
    assert rules.first(PortForward, outside, "tcp", 33265) is forward
    assert rules.first(PortForward, "e0", "udp", 33265) is None
    assert rules.first(PublicIp, outside) is public
    assert rules.first(PublicIp, IPv4Address("10.1.0.9"), "e0") is public
    assert rules.first(PublicIp, IPv4Address("10.1.0.9"), "e1") is None
    for rule in (forward, public):
        rules.replace(rule, None)
    assert not rules


@pytest.mark.parametrize(
    ("networks", "inside", "outside"),
    [
        (["10.2.0.0/16"], "10.2.255.255", "10.3.0.0"),
        (["10.2.0.7/32", "10.2.0.7/32"], "10.2.0.7", "10.2.0.6"),
        (["0.0.0.0/0"], "203.0.113.1", "::"),
        (["2001:db8::/32", "10.0.0.0/8"], "2001:db8::1", "2001:db9::1"),
    ],
)
def test_networks_of_a_zone(networks: list[str], inside: str, outside: str) -> None:
    rules = book(*networks)
    assert rules.in_networks(LINK, ip_address(inside))
    assert not rules.in_networks(LINK, ip_address(outside))
    assert not rules.in_networks(replace(LINK, zone="y"), ip_address(inside))
    assert not rules.in_networks(replace(LINK, owner="x"), ip_address(inside))


def test_networks_that_were_replaced_are_forgotten() -> None:
    rules = book("10.2.0.0/16", "10.3.0.0/16")
    old = Zone(zone="z", networks=(ip_network("10.2.0.0/16"), ip_network("10.3.0.0/16")))
    rules.replace(old, replace(old, networks=(ip_network("10.3.0.0/16"),)))
    assert not rules.in_networks(LINK, ip_address("10.2.0.1"))
    assert rules.in_networks(LINK, ip_address("10.3.0.1"))
