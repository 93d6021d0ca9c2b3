"""Firewall rules and DHCP scopes as nouns of the fake kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from snnet.backends.fake import FakeDhcp, FakeFirewall, FakeKernel
from snnet.contract import (
    Add,
    AntiSpoof,
    BridgeAccept,
    Change,
    DhcpEntry,
    DhcpScope,
    ExternalForward,
    HostIsolation,
    InvalidRequest,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Remove,
    Zone,
    ZoneLink,
)

from .steps import add, address, bridge, do, refusal, remove

GUEST = IPv4Address("10.1.0.9")
FORWARD = PortForward(
    owner="cnci:c", protocol="tcp", device="eth0", port=33265, target=GUEST, target_port=22
)
ZONE = Zone(owner="cnci:c", zone="t", networks=(IPv4Network("10.2.0.0/24"),))
LINK = ZoneLink(owner="cnci:c", zone="t", link="b0", networks=(IPv4Network("10.1.0.0/24"),))
RULES = [
    ZONE,
    BridgeAccept(bridge="b0"),
    HostIsolation(link="b0"),
    AntiSpoof(link="t0", mac="02:00:00:00:00:01", addresses=(GUEST,)),
    Masquerade(owner="cnci:c", device="eth0"),
    ExternalForward(device="eth0", bridge="b0"),
    FORWARD,
    PublicIp(owner="cnci:c", public=IPv4Address("203.0.113.5"), internal=GUEST, device="eth0"),
]
SCOPE = DhcpScope(link="b0", subnets=(IPv4Network("10.1.0.0/24"),), mtu=1458)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_comes_once_and_goes_once(rule: Noun) -> None:
    kernel = FakeKernel()
    firewall = FakeFirewall(kernel)
    before = kernel.to_text()
    assert refusal(firewall, Remove(rule)) == "ENOENT"
    add(firewall, rule)
    assert refusal(firewall, Add(rule)) == "EEXIST"
    assert firewall.find(rule) == rule
    assert firewall.snapshot() == {rule.key: rule}
    assert firewall.dump() == str(rule)
    assert str(rule) in kernel.to_text()
    assert kernel.find(rule) is None
    assert rule.key not in kernel.snapshot()
    remove(firewall, rule)
    assert kernel.to_text() == before
    assert not kernel.state.rules


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_each_owner_has_rules_of_its_own(rule: Noun) -> None:
    firewall = FakeFirewall(FakeKernel())
    theirs = replace(rule, owner="cn:other")  # type: ignore[call-arg]
    add(firewall, rule, theirs)
    remove(firewall, rule)
    assert firewall.snapshot() == {theirs.key: theirs}


def test_a_zone_is_there_before_its_links_and_after_them() -> None:
    firewall = FakeFirewall(FakeKernel())
    assert refusal(firewall, Add(LINK)) == "ENOENT"
    add(firewall, replace(ZONE, owner="cn:other"))
    assert refusal(firewall, Add(LINK)) == "ENOENT"
    add(firewall, ZONE, LINK)
    assert refusal(firewall, Add(replace(LINK, networks=()))) == "EEXIST"
    assert refusal(firewall, Remove(ZONE)) == "EBUSY"
    remove(firewall, LINK, ZONE)


def test_only_the_networks_of_a_zone_change() -> None:
    kernel = FakeKernel()
    firewall = FakeFirewall(kernel)
    wanted = replace(ZONE, networks=(IPv4Network("10.3.0.0/24"),))
    assert refusal(firewall, Change(wanted, ZONE)) == "ENOENT"
    add(firewall, ZONE, FORWARD)
    do(firewall, Change(wanted, ZONE))
    assert firewall.find(ZONE) == wanted
    assert refusal(firewall, Change(replace(FORWARD, target_port=23), FORWARD)) == "EOPNOTSUPP"
    remove(firewall, wanted, FORWARD)
    assert not kernel.state.rules


@pytest.mark.parametrize("bad", [{"protocol": "icmp"}, {"port": 0}, {"target_port": 65536}])
def test_impossible_port_forwards(bad: dict[str, object]) -> None:
    rule = replace(FORWARD, **bad)  # type: ignore[arg-type]
    assert refusal(FakeFirewall(FakeKernel()), Add(rule)) == "EINVAL"


def test_two_drivers_of_one_host_see_the_same_rules() -> None:
    kernel = FakeKernel()
    add(FakeFirewall(kernel), FORWARD)
    assert FakeFirewall(kernel).find(FORWARD) == FORWARD


def test_a_scope_needs_its_bridge_and_outlives_it() -> None:
    kernel = FakeKernel()
    dhcp = FakeDhcp(kernel)
    assert refusal(dhcp, Add(SCOPE)) == "ENODEV"
    add(kernel, bridge("b0"))
    assert refusal(dhcp, Add(SCOPE)) == "EADDRNOTAVAIL"
    add(kernel, address("10.1.0.1/24", "b0"))
    add(dhcp, SCOPE)
    assert refusal(dhcp, Add(SCOPE)) == "EEXIST"
    remove(kernel, bridge("b0"))
    assert dhcp.find(SCOPE) == replace(SCOPE, running=False)
    remove(dhcp, SCOPE)
    assert refusal(dhcp, Remove(SCOPE)) == "ENOENT"


def test_a_scope_changes_but_not_its_subnet() -> None:
    kernel = FakeKernel()
    dhcp = FakeDhcp(kernel)
    add(kernel, bridge("b0"), address("10.1.0.1/24", "b0"))
    entry = DhcpEntry(mac="02:00:00:00:00:01", address=GUEST)
    wanted = replace(SCOPE, entries=(entry,), mtu=1400, domain="example.net", reserved=3)
    assert refusal(dhcp, Change(wanted, SCOPE)) == "ENOENT"
    add(dhcp, SCOPE)
    do(dhcp, Change(wanted, SCOPE))
    assert dhcp.find(SCOPE) == wanted
    other = replace(SCOPE, subnets=(IPv4Network("10.2.0.0/24"),))
    assert refusal(dhcp, Change(other, SCOPE)) == "EOPNOTSUPP"


@pytest.mark.parametrize(
    "bad",
    [
        {"subnets": (IPv4Network("10.0.0.0/15"),)},
        {"subnets": (IPv4Network("10.0.0.0/30"),)},
        {"mtu": 67},
        {"entries": (DhcpEntry(mac="02:00:00:00:00:01", address=IPv4Address("10.2.0.9")),)},
    ],
)
def test_scopes_that_no_server_could_serve(bad: dict[str, object]) -> None:
    scope = replace(SCOPE, **bad)  # type: ignore[arg-type]
    outcome = FakeDhcp(FakeKernel()).apply([Add(scope)])
    assert isinstance(outcome.error, InvalidRequest)
    assert not outcome.done
