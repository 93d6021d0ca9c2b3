"""IPv6 on the fabric: router advertisements, DHCPv6, errors, both families at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

import snnet
from snnet.backends.fake import FakeDhcp, FakeFirewall, Guest
from snnet.contract import (
    Address,
    AntiSpoof,
    Change,
    DhcpEntry,
    DhcpScope,
    ExternalForward,
    HostServices,
    Masquerade,
    Noun,
    Remove,
    Sysctl,
    Zone,
    ZoneLink,
)
from snnet.contract.addresses import link_local_of, mac_of

from .steps import add, address, bridge, do, link, remove, route, tap
from .topology import Vnic

MTU = 1450
NETS = ("10.1.0.0/24", "fd00:1::/64")
OUT = ("203.0.113.9", "2001:db8:1::9")
SIX = ip_address("fd00:1::9")


class Lan:
    """A router with a tenant's bridge, two guests' ports, and a host outside."""

    def __init__(self, *networks: str) -> None:
        self.fabric = snnet.Fabric()
        self.router = self.fabric.add_host("router", "203.0.113.1/24")
        self.outside = self.fabric.add_host("outside", f"{OUT[0]}/24")
        add(self.router, address("2001:db8:1::1/64", "eth0"))
        add(self.outside, address(f"{OUT[1]}/64", "eth0"))
        add(self.outside, route("fd00::/16", "eth0", "2001:db8:1::1"))
        add(self.router, bridge("br0", mtu=MTU, link_local=True), *self._gateways(networks))
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            old = self.router.find(Sysctl(name=name))
            assert isinstance(old, Sysctl)
            do(self.router, Change(Sysctl(name=name, value="1"), old))
        self.scope = DhcpScope(
            link="br0", subnets=tuple(map(ip_network, networks)), mtu=MTU, entries=entries(networks)
        )

    def _gateways(self, networks: tuple[str, ...]) -> list[Noun]:
        found = map(ip_network, networks)
        return [address(f"{net.network_address + 1}/{net.prefixlen}", "br0") for net in found]

    def serve(self, **values: object) -> None:
        add(FakeDhcp(self.router), replace(self.scope, **values))  # type: ignore[arg-type]

    def rules(self, *nouns: Noun) -> None:
        add(FakeFirewall(self.router), *nouns)

    def guest(self, number: int = 9, *, dhcp: bool = True, **values: object) -> Guest:
        name, mac = f"t{number}", mac_of(ip_address(f"10.1.0.{number}"))
        add(self.router, tap(name, "br0"))
        return self.fabric.attach(self.router, Vnic(name, mac), dhcp=dhcp, **values)  # type: ignore[arg-type]


def entries(networks: tuple[str, ...]) -> tuple[DhcpEntry, ...]:
    """Entries for the guests 9 and 10 in the IPv6 network, if there is one."""
    if NETS[1] not in networks:
        return ()
    return tuple(
        DhcpEntry(mac=mac_of(ip_address(f"10.1.0.{number}")), address=ip_address(f"fd00:1::{six}"))
        for number, six in ((9, "9"), (10, "a"))
    )


@pytest.fixture
def lan() -> Lan:
    return Lan(*NETS)


def addresses(guest: Guest) -> set[str]:
    return {str(noun.address) for noun in guest.kernel.snapshot({Address}).values()}  # type: ignore[attr-defined]


# -- leases ----------------------------------------------------------------------------


def test_a_guest_gets_an_address_of_each_family(lan: Lan) -> None:
    lan.serve()
    guest, other = lan.guest(9), lan.guest(10)
    assert {"10.1.0.9/24", "fd00:1::9/64"} <= addresses(guest)
    assert guest.lease is not None
    assert guest.lease6 is not None
    assert guest.lease6.gateway == link_local_of(link(lan.router, "br0").mac or "")
    assert guest.lease6.mtu == MTU
    for target in ("fd00:1::1", "fd00:1::a", OUT[1], "10.1.0.10"):
        assert lan.fabric.ping(guest, target), lan.fabric.explain(guest, target)
    assert lan.fabric.connect(other, SIX, "tcp", 22)
    assert "DHCPv6 REPLY for" in guest.explain_lease(6)
    assert "DHCP ACK for" in guest.explain_lease()


def test_a_tenant_may_have_ipv6_alone() -> None:
    lan = Lan(NETS[1])
    lan.serve()
    guest = lan.guest()
    assert guest.lease is None
    assert guest.address == SIX
    assert guest.renew() == guest.lease6
    assert "DHCPv6 REPLY for" in guest.explain_lease()
    assert lan.fabric.ping(guest, OUT[1])


def test_a_tenant_may_have_ipv4_alone() -> None:
    lan = Lan(NETS[0])
    lan.serve()
    guest = lan.guest()
    assert guest.lease is not None
    assert guest.lease6 is None
    assert "no DHCPv6 scope here" in guest.explain_lease(6)


def test_why_there_is_no_lease(lan: Lan) -> None:
    lan.serve(running=False)
    guest = lan.guest()
    assert guest.lease6 is None
    assert "DHCPv6: the server is stopped" in guest.explain_lease(6)
    old = FakeDhcp(lan.router).find(lan.scope)
    assert isinstance(old, DhcpScope)
    do(FakeDhcp(lan.router), Change(replace(old, running=True, entries=()), old))
    guest.renew()
    assert guest.lease is not None
    assert f"DHCPv6: no entry for {mac_of(ip_address('10.1.0.9'))}" in guest.explain_lease(6)


def test_a_router_needs_a_link_local_address() -> None:
    lan = Lan(*NETS)
    remove(lan.router, link(lan.router, "br0"))
    add(lan.router, bridge("br0", mtu=MTU), address("10.1.0.1/24", "br0"))
    add(lan.router, address("fd00:1::1/64", "br0"))
    lan.serve()
    guest = lan.guest()
    assert "no router advertisement: no link-local address" in guest.explain_lease(6)
    add(lan.router, address("fe80::1/64", "br0"))
    guest.renew()
    assert guest.lease6 is not None
    assert guest.lease6.gateway == ip_address("fe80::1")
    assert lan.fabric.ping(guest, OUT[1])


def test_guards_let_leases_of_both_families_pass(lan: Lan) -> None:
    lan.serve()
    mac = mac_of(ip_address("10.1.0.9"))
    both = (ip_address("10.1.0.9"), SIX)
    rule = AntiSpoof(link="t9", mac=mac, addresses=both)
    lan.rules(rule, HostServices(link="br0"))
    guest = lan.guest()
    assert guest.lease6 is not None, guest.explain_lease(6)
    assert lan.fabric.ping(guest, OUT[1])
    do(FakeFirewall(lan.router), Remove(rule))
    lan.rules(replace(rule, addresses=both[:1]))
    guest.renew()
    assert guest.lease is not None
    assert guest.lease6 is None
    assert "the guest has no IPv6 address" in guest.explain_lease(6)


def test_addresses_may_be_given(lan: Lan) -> None:
    both = lan.guest(
        9, dhcp=False, address=("10.1.0.9/24", "fd00:1::9/64"), gateway=("10.1.0.1", "fd00:1::1")
    )
    six = lan.guest(10, dhcp=False, address="fd00:1::a/64", gateway="fd00:1::1")
    assert lan.fabric.ping(both, OUT[1])
    assert lan.fabric.ping(both, lan.router)
    assert lan.fabric.ping(six, both.kernel.state.addresses("eth0", 6)[0].address.ip)
    assert not lan.fabric.ping(six, "10.1.0.9")


# -- errors ----------------------------------------------------------------------------


def far(lan: Lan) -> None:
    """A network behind the outside host, over a link that carries 1300 bytes."""
    lan.outside.add_uplink("eth1", "2001:db8:2::1/64", mtu=1300)
    name = "net.ipv6.conf.all.forwarding"
    do(lan.outside, Change(Sysctl(name=name, value="1"), Sysctl(name=name, value="0")))
    add(lan.router, route("2001:db8:2::/64", "eth0", OUT[1]))


def test_a_packet_too_big_is_reported_to_its_sender(lan: Lan) -> None:
    lan.serve()
    far(lan)
    guest = lan.guest()
    said = lan.fabric.explain(guest, "2001:db8:2::9", size=1400)
    assert "1448 bytes to 2001:db8:2::9 do not fit the MTU of 1300" in said
    assert f"{OUT[1]} says packet too big, the path carries 1300 bytes" in said


@pytest.mark.parametrize("nat66", [False, True])
def test_an_error_finds_its_way_through_zones_and_nat(lan: Lan, nat66: bool) -> None:
    lan.serve()
    far(lan)
    guest = lan.guest()
    lan.rules(
        Zone(zone="z"),
        ZoneLink(zone="z", link="br0"),
        Masquerade(device="eth0", nat66=nat66),
        ExternalForward(device="eth0", bridge="br0"),
    )
    said = lan.fabric.explain(guest, "2001:db8:2::9", size=1400)
    assert f"{OUT[1]} says packet too big, the path carries 1300 bytes" in said
    assert ("SNAT to 2001:db8:1::1" in said) == nat66


def test_a_missing_route_is_reported_to_its_sender(lan: Lan) -> None:
    lan.serve()
    guest = lan.guest()
    said = lan.fabric.explain(guest, "2001:db8:9::9")
    assert "no route to 2001:db8:9::9" in said
    assert "says destination unreachable" in said


def test_what_ipv4_does_stays_as_it_is(lan: Lan) -> None:
    """Errors of IPv4 are not on the fabric."""
    lan.serve()
    guest = lan.guest()
    assert "says" not in lan.fabric.explain(guest, "198.51.100.9")
