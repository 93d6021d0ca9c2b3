"""A concentrator's ways out and in: on the fake, on nftables and on iptables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import (
    Add,
    Address,
    Bridge,
    ExternalForward,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Sysctl,
    Zone,
    ZoneLink,
)
from snnet.core.subnets import BRIDGED_TO_IP
from tests.node.world import FakeWorld, World

NET, OTHER = "10.1.0.0/24", "10.2.0.0/24"
GUEST, PUBLIC = "10.1.0.9", "203.0.113.5"


@pytest.fixture
def cnci(walled: World) -> snnet.Cnci:
    cnci = walled.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    return cnci


def bridge_of(cnci: snnet.Cnci, subnet: str = NET) -> str:
    return str(cnci.topology()["subnets"][subnet]["bridge"])


def rules(cnci: snnet.Cnci) -> dict[type[Noun], list[Noun]]:
    """What the firewall driver itself finds, by class."""
    found: dict[type[Noun], list[Noun]] = {}
    for noun in cnci.drivers.firewall.snapshot().values():
        found.setdefault(type(noun), []).append(noun)
    return found


def everything(cnci: snnet.Cnci) -> None:
    cnci.enable_nat(["eth0"])
    cnci.allow_external("eth0", bridge_of(cnci))
    cnci.add_port_forward(protocol="tcp", device="eth0", port=33265, to=GUEST, to_port=22)
    cnci.add_port_forward(protocol="udp", device="eth0", port=53, to=GUEST)
    cnci.add_public_ip(PUBLIC, to=GUEST, device="eth0")


def test_a_subnets_bridge_is_in_the_tenants_zone(walled: World, cnci: snnet.Cnci) -> None:
    (zone,) = rules(cnci)[Zone]
    (link,) = rules(cnci)[ZoneLink]
    assert isinstance(zone, Zone)
    assert isinstance(link, ZoneLink)
    assert (link.link, link.zone, *map(str, link.networks)) == (bridge_of(cnci), zone.zone, NET)
    cnci.add_remote_subnet(OTHER, 8, "192.0.2.21")
    assert len(rules(cnci)[Zone]) == 1
    assert len(rules(cnci)[ZoneLink]) == 2
    cnci.shutdown()
    assert rules(cnci) == {}


def test_rules_come_go_and_may_be_repeated(walled: World, cnci: snnet.Cnci) -> None:
    before = walled.text()
    for _ in range(2):
        everything(cnci)
    found = rules(cnci)
    assert [len(found[kind]) for kind in (Masquerade, ExternalForward, PortForward, PublicIp)] == [
        1, 1, 2, 1,
    ]  # fmt: skip
    forward = next(rule for rule in found[PortForward] if "tcp" in rule.key)
    assert isinstance(forward, PortForward)
    assert [str(address) for address in forward.addresses] == ["192.0.2.11"]
    assert {str(public): str(ip) for public, ip in cnci.public_ips.items()} == {PUBLIC: GUEST}
    assert (
        walled.kernel.find(Address(link="eth0", address=ip_interface(f"{PUBLIC}/32"))) is not None
    )
    assert cnci.verify() == []
    for _ in range(2):
        cnci.remove_public_ip(PUBLIC)
        cnci.remove_port_forward(protocol="udp", device="eth0", port=53)
        cnci.remove_port_forward(protocol="tcp", device="eth0", port=33265)
        cnci.deny_external("eth0", bridge_of(cnci))
        cnci.disable_nat()
    assert walled.text() == before
    assert cnci.verify() == []
    cnci.shutdown()


def test_what_contradicts_is_a_conflict(walled: World, cnci: snnet.Cnci) -> None:
    everything(cnci)
    before = walled.text()
    with pytest.raises(snnet.ApiError, match=r"port tcp/33265 on eth0 to 10.1.0.9:22 exists"):
        cnci.add_port_forward(protocol="tcp", device="eth0", port=33265, to="10.1.0.10", to_port=22)
    with pytest.raises(snnet.ApiError, match=r"203.0.113.5 on eth0 for 10.1.0.9 exists"):
        cnci.add_public_ip(PUBLIC, to="10.1.0.10", device="eth0")
    with pytest.raises(snnet.ApiError, match=r"10.1.0.9 has the public address 203.0.113.5"):
        cnci.add_public_ip("203.0.113.6", to=GUEST, device="eth0")
    assert walled.text() == before
    assert cnci.verify() == []
    cnci.shutdown()


def test_a_port_has_a_forward_for_each_address_and_one_for_the_rest(
    walled: World, cnci: snnet.Cnci
) -> None:
    second = Address(link="eth0", address=ip_interface("198.51.100.7/32"))
    assert walled.kernel.apply([Add(second)]).error is None
    before = walled.text()
    door: dict[str, Any] = {"protocol": "tcp", "device": "eth0", "port": 33265}
    for _ in range(2):
        cnci.add_port_forward(**door, to=GUEST, to_port=22)
        cnci.add_port_forward(**door, to=GUEST, to_port=23, address="192.0.2.11")
        cnci.add_port_forward(**door, to=GUEST, to_port=24, address="198.51.100.7")
    assert {str(rule.address): rule.target_port for rule in cnci.port_forwards} == {
        "None": 22, "192.0.2.11": 23, "198.51.100.7": 24,
    }  # fmt: skip
    assert {rule.address: rule.addresses for rule in cnci.port_forwards if rule.address} == {
        IPv4Address("192.0.2.11"): (), IPv4Address("198.51.100.7"): (),
    }  # fmt: skip
    assert cnci.verify() == []
    for _ in range(2):
        cnci.remove_port_forward(**door)
        cnci.remove_port_forward(**door, address="198.51.100.7")
    assert [str(rule) for rule in rules(cnci)[PortForward]] == [
        "port tcp/33265 on eth0 at 192.0.2.11 to 10.1.0.9:23"
    ]
    cnci.remove_port_forward(**door, address="192.0.2.11")
    assert walled.text() == before
    cnci.shutdown()


def test_who_may_use_a_forward(walled: World, cnci: snnet.Cnci) -> None:
    door: dict[str, Any] = {"protocol": "tcp", "device": "eth0", "port": 33265, "to": GUEST}
    sources = ["203.0.113.0/24", "198.51.100.0/24", "203.0.113.0/24"]
    cnci.add_port_forward(**door, sources=sources)
    cnci.add_port_forward(**door, sources=reversed(sources))
    (rule,) = cnci.port_forwards
    assert rule.sources == (ip_network("198.51.100.0/24"), ip_network("203.0.113.0/24"))
    before = walled.text()
    both = (
        r"to 10.1.0.9:33265 for 198.51.100.0/24 203.0.113.0/24 exists: .* "
        r"port tcp/33265 on eth0 to 10.1.0.9:33265"
    )
    with pytest.raises(snnet.Conflict, match=f"{both} for 198.51.100.0/24$"):
        cnci.add_port_forward(**door, sources=["198.51.100.0/24"])
    with pytest.raises(snnet.Conflict, match=f"{both}$"):
        cnci.add_port_forward(**door)
    assert walled.text() == before
    assert cnci.verify() == []
    cnci.close()
    again = walled.cnci()
    assert again.port_forwards == (rule,)
    assert again.verify() == []
    again.shutdown()


def test_a_forward_on_a_device_with_many_addresses(walled: World, cnci: snnet.Cnci) -> None:
    many = [
        Address(link="eth0", address=ip_interface(f"198.51.100.{number}/32"))
        for number in range(200, 239)
    ]
    assert walled.kernel.apply([Add(address) for address in many]).error is None
    cnci.add_port_forward(protocol="tcp", device="eth0", port="8000-8001", to=GUEST)
    assert {len(rule.addresses) for rule in cnci.port_forwards} == {40}
    assert cnci.verify() == []
    before = cnci.port_forwards
    cnci.close()
    again = walled.cnci()
    assert set(again.port_forwards) == set(before)
    assert again.verify() == []
    again.remove_port_forward(protocol="tcp", device="eth0", port="8000-8001")
    assert PortForward not in rules(again)
    again.shutdown()


def test_a_public_address_has_no_forwards_of_its_own(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    cnci.add_public_ip(PUBLIC, to=GUEST, device="eth0")
    with pytest.raises(snnet.InvalidRequest, match=r"public address of 10\.1\.0\.9") as caught:
        cnci.add_port_forward(protocol="tcp", device="eth0", port=1, to=GUEST, address=PUBLIC)
    assert caught.value.field == "address"
    cnci.remove_public_ip(PUBLIC)
    with pytest.raises(snnet.InvalidRequest, match="not an address of this host"):
        cnci.add_port_forward(protocol="tcp", device="eth0", port=1, to=GUEST, address=PUBLIC)


def test_an_administrators_address_is_not_made_public_nor_taken_away(
    walled: World, cnci: snnet.Cnci
) -> None:
    from ipaddress import ip_interface

    from snnet.contract import Add, Address

    own = Address(link="eth0", address=ip_interface(f"{PUBLIC}/32"))
    assert walled.kernel.apply([Add(own)]).error is None
    before = walled.text()
    with pytest.raises(snnet.Conflict, match="link eth0 has"):
        cnci.add_public_ip(PUBLIC, to=GUEST, device="eth0")
    assert walled.text() == before
    cnci.remove_public_ip(PUBLIC)
    assert walled.text() == before
    cnci.shutdown()


def test_a_new_agent_finds_the_rules_in_the_kernel_alone(walled: World, cnci: snnet.Cnci) -> None:
    everything(cnci)
    before, dump = walled.text(), cnci.dump_firewall()
    cnci.close()
    again = walled.cnci()
    assert walled.text() == before
    assert again.dump_firewall() == dump
    assert again.verify() == []
    assert {str(ip) for ip in again.public_ips} == {PUBLIC}
    again.remove_port_forward(protocol="tcp", device="eth0", port=33265)
    again.shutdown()
    assert rules(again) == {}
    assert walled.kernel.find(Address(link="eth0", address=ip_interface(f"{PUBLIC}/32"))) is None


def test_lost_rules_are_reported_and_recreated(walled: World, cnci: snnet.Cnci) -> None:
    from snnet.contract import Remove

    everything(cnci)
    firewall = cnci.drivers.firewall
    lost = [*rules(cnci)[Masquerade], *rules(cnci)[PortForward]]
    assert firewall.apply([Remove(rule) for rule in lost]).error is None
    assert sorted(cnci.verify()) == sorted(f"missing: {rule}" for rule in lost)
    assert cnci.repair().orphans == []
    assert cnci.verify() == []
    cnci.shutdown()


def test_the_kernels_settings_are_put_back(walled: World, cnci: snnet.Cnci) -> None:
    def value(name: str) -> str | None:
        found = walled.kernel.find(Sysctl(name=name))
        return found.value if isinstance(found, Sysctl) else None

    bridged = "net.bridge.bridge-nf-call-iptables"
    assert value("net.ipv4.ip_forward") == "1"
    assert value(bridged) in ("0", None)
    everything(cnci)
    cnci.shutdown()
    assert value("net.ipv4.ip_forward") == "0"
    assert value(bridged) in ("1", None)


def test_others_bridges_in_the_namespace_are_named(walled: World, cnci: snnet.Cnci) -> None:
    """Their frames pass no filter while the concentrator keeps bridged ones from IP's hooks."""
    if walled.kernel.find(Sysctl(name=BRIDGED_TO_IP[4])) is None:
        pytest.skip("this kernel has no br_netfilter")
    assert cnci.verify() == []
    walled.add(Bridge(name="docker0", group=0))
    (line,) = cnci.verify()
    assert "docker0" in line
    cnci.shutdown()


def test_a_setting_that_others_bridges_rely_on_stays(walled: World) -> None:
    """Docker separates containers by it (icc=false)."""

    def value() -> str | None:
        found = walled.kernel.find(Sysctl(name=BRIDGED_TO_IP[4]))
        return found.value if isinstance(found, Sysctl) else None

    if value() is None:
        pytest.skip("this kernel has no br_netfilter")
    docker = Bridge(name="docker0", group=0)
    walled.add(docker)
    before = value()
    cnci = walled.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    assert value() == before == "1"
    (line,) = cnci.verify()
    assert "docker0" in line
    assert "stays 1" in line
    assert cnci.repair().healed == []
    assert value() == "1"
    walled.delete("docker0")
    assert cnci.verify() != []
    cnci.repair()
    assert value() == "0"
    assert cnci.verify() == []
    cnci.shutdown()
    assert value() == "1"


def test_disabling_nat_keeps_the_rest(walled: World, cnci: snnet.Cnci) -> None:
    everything(cnci)
    cnci.disable_nat()
    assert Masquerade not in rules(cnci)
    assert len(rules(cnci)[ExternalForward]) == 1
    assert cnci.verify() == []
    cnci.shutdown()


def test_a_floating_pool_limits_what_is_public(fake: FakeWorld) -> None:
    cnci = fake.cnci(config=fake.config(floating_pool=[PUBLIC]))
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    with pytest.raises(snnet.InvalidRequest, match="not in the floating pool") as caught:
        cnci.add_public_ip("203.0.113.6", to=GUEST, device="eth0")
    assert caught.value.field == "address"
    cnci.add_public_ip(PUBLIC, to=GUEST, device="eth0")


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda cnci: cnci.enable_nat(["no-such"]), "devices[0]"),
        (lambda cnci: cnci.enable_nat(["lo"]), "devices[0]"),
        (
            lambda cnci: cnci.add_port_forward(protocol="icmp", device="eth0", port=1, to=GUEST),
            "protocol",
        ),
        (
            lambda cnci: cnci.add_port_forward(protocol="TCP", device="eth0", port=1, to=GUEST),
            "protocol",
        ),
        (
            lambda cnci: cnci.add_port_forward(protocol="tcp", device="eth9", port=1, to=GUEST),
            "device",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=0, to=GUEST, to_port=1
            ),
            "port",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=65536, to=GUEST, to_port=1
            ),
            "port",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to=GUEST, to_port=0
            ),
            "to_port",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to=GUEST, to_port=65536
            ),
            "to_port",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to="10.9.0.9"
            ),
            "to",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to="10.1.0.1"
            ),
            "to",
        ),
        (
            lambda cnci: cnci.add_port_forward(
                protocol="tcp", device="eth0", port=1, to="2001:db8::9"
            ),
            "to",
        ),
        (lambda cnci: cnci.add_public_ip("2001:db8::5", to=GUEST, device="eth0"), "address"),
        (lambda cnci: cnci.add_public_ip("224.0.0.5", to=GUEST, device="eth0"), "address"),
        (lambda cnci: cnci.add_public_ip("192.0.2.11", to=GUEST, device="eth0"), "address"),
        (lambda cnci: cnci.add_public_ip("10.1.0.20", to=GUEST, device="eth0"), "address"),
        (lambda cnci: cnci.add_public_ip(PUBLIC, to="10.9.0.9", device="eth0"), "to"),
        (lambda cnci: cnci.add_public_ip(PUBLIC, to=GUEST, device="eth9"), "device"),
        (lambda cnci: cnci.allow_external("eth9", bridge_of(cnci)), "device"),
        (lambda cnci: cnci.allow_external("eth0", "eth0"), "bridge"),
    ],
)
def test_bad_input_touches_nothing(fake: FakeWorld, call, field: str) -> None:  # type: ignore[no-untyped-def]
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest) as caught:
        call(cnci)
    assert caught.value.field == field
    assert fake.text() == before


def test_without_a_firewall_rules_are_unsupported(fake: FakeWorld) -> None:
    cnci = fake.cnci(firewall="none")
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    with pytest.raises(snnet.Unsupported, match="choose firewall='nftables' or 'iptables'"):
        cnci.enable_nat(["eth0"])
    assert cnci.verify() == []


def test_what_a_rule_cannot_be_about_is_named(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    forward: dict[str, Any] = {"protocol": "tcp", "port": 1, "to": GUEST}
    for device in (bridge_of(cnci), "lo", "nowhere"):
        with pytest.raises(snnet.InvalidRequest, match="not an external link") as caught:
            cnci.add_port_forward(device=device, **forward)
        assert caught.value.field == "device"
    tunnel = fake.link(cnci.topology()["subnets"][NET]["tunnels"]["192.0.2.21"])
    assert tunnel is not None
    fake.delete(tunnel.name)
    fake.add(replace(tunnel, name="renamed0", index=0))
    with pytest.raises(snnet.InvalidRequest, match="'renamed0' is not an external link"):
        cnci.add_port_forward(device="renamed0", **forward)
    with pytest.raises(snnet.InvalidRequest, match="not an address of this host") as caught:
        cnci.add_port_forward(device="eth0", address="192.0.2.77", **forward)
    assert caught.value.field == "address"


def test_rules_that_are_there_are_repeated_together(fake: FakeWorld) -> None:
    fake.kernel.add_uplink("eth1", "198.51.100.2/24")
    cnci = fake.cnci()
    for devices in (["eth0"], ["eth0", "eth1"], ["eth1", "eth0"]):
        cnci.enable_nat(devices)
    assert sorted(cnci.topology()["rules"]) == ["masquerade on eth0", "masquerade on eth1"]
    assert cnci.verify() == []
