"""What guests get: their own lease and no other."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from snnet.conformance.backend.steps import add, do, remove
from snnet.contract import Add, Change, DhcpEntry, DhcpLease, DhcpScope, IPAddress
from snnet.contract.addresses import mac_of
from snnet.contract.dhcp import GENERATED_PREFIX_MIN

from .base import (
    BRIDGE,
    ENTRY,
    GUEST,
    MAC,
    OTHER_BRIDGE,
    STRANGE_MAC,
    SUBNET,
    DhcpTests,
    other,
    scope,
)
from .lan import Lan, Lease, gateway_of


def _lease(noun: DhcpScope, address: IPAddress) -> Lease:
    (subnet,) = noun.subnets
    assert isinstance(subnet, IPv4Network)
    return Lease(IPv4Interface((address, subnet.prefixlen)), subnet.network_address + 1, noun.mtu)


def _nothing(lan: Lan, mac: str, bridge: str = BRIDGE) -> bool:
    """Whether the guest gets no lease when it asks once."""
    return lan.lease(bridge, mac, tries=1) is None


class LeaseTests(DhcpTests):
    def test_a_guest_gets_its_address(self, lan: Lan) -> None:
        """A guest gets the address of its MAC, with prefix, router and MTU, every time."""
        noun = scope(lan)
        add(lan, noun)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        assert lan.lease(BRIDGE, mac_of(GUEST + 1)) == _lease(noun, GUEST + 1)

    def test_leases_are_listed_when_they_are_asked_for(self, lan: Lan) -> None:
        """A snapshot of ``DhcpLease`` has what guests hold; no other snapshot has it."""
        noun = scope(lan)
        named = replace(noun, entries=(replace(ENTRY, hostname="web"),))
        add(lan, named)
        assert lan.driver.snapshot({DhcpLease}) == {}
        for mac in (MAC, STRANGE_MAC):
            assert lan.lease(BRIDGE, mac) is not None
        found = lan.driver.snapshot({DhcpLease})
        held = {lease.mac: lease for lease in found.values() if isinstance(lease, DhcpLease)}
        assert {mac: lease.address for mac, lease in held.items()} == {
            MAC: GUEST, STRANGE_MAC: ENTRY.address
        }  # fmt: skip
        assert {lease.link for lease in held.values()} == {BRIDGE}
        assert not any(isinstance(noun, DhcpLease) for noun in lan.driver.snapshot().values())
        both = lan.driver.snapshot({DhcpLease, DhcpScope})
        assert both.keys() == {*found, noun.key}
        remove(lan, named)
        assert lan.driver.snapshot({DhcpLease}) == {}

    def test_an_added_entry_is_served(self, lan: Lan) -> None:
        """A guest without an entry gets nothing; an added entry changes that and nothing else."""
        noun = scope(lan)
        add(lan, noun)
        assert _nothing(lan, STRANGE_MAC)
        wanted = replace(noun, entries=(ENTRY,))
        do(lan, Change(wanted, noun))
        assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, ENTRY.address)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)

    def test_entries_survive_what_comes_after(self, lan: Lan) -> None:
        """An entry survives further entries, a new MTU, and a stop and start of the scope."""
        noun = scope(lan, entries=(ENTRY,))
        add(lan, noun)
        more = DhcpEntry(mac="02:00:00:00:00:78", address=ENTRY.address + 1)
        for wanted in (
            replace(noun, entries=(ENTRY, more)),
            replace(noun, entries=(ENTRY, more), mtu=1300, domain="tenant.example"),
            replace(noun, entries=(ENTRY, more), running=False),
            replace(noun, entries=(ENTRY, more)),
        ):
            do(lan, Change(wanted, noun))
            noun = wanted
            if noun.running:
                assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, ENTRY.address)
        assert lan.lease(BRIDGE, more.mac) == _lease(noun, more.address)

    def test_an_entry_that_is_taken_away(self, lan: Lan) -> None:
        """A guest whose entry is removed gets nothing, even if it had a lease."""
        noun = scope(lan, entries=(ENTRY,))
        add(lan, noun)
        assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, ENTRY.address)
        do(lan, Change(replace(noun, entries=()), noun))
        assert _nothing(lan, STRANGE_MAC)

    def test_an_entry_takes_an_address_over(self, lan: Lan) -> None:
        """An added entry takes its address from a generated one, even if that was leased."""
        noun = scope(lan)
        add(lan, noun)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        wanted = replace(noun, entries=(DhcpEntry(mac=STRANGE_MAC, address=GUEST),))
        do(lan, Change(wanted, noun))
        assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, GUEST)
        assert _nothing(lan, MAC)

    def test_an_entry_moves_a_guest(self, lan: Lan) -> None:
        """A MAC with an added entry gets the address of that entry, not the generated one."""
        noun = scope(lan, entries=(DhcpEntry(mac=MAC, address=ENTRY.address),))
        add(lan, noun)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, ENTRY.address)

    def test_a_new_mtu(self, lan: Lan) -> None:
        """A changed MTU is in the next lease."""
        noun = scope(lan)
        add(lan, noun)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        wanted = replace(noun, mtu=1300)
        do(lan, Change(wanted, noun))
        assert lan.lease(BRIDGE, MAC) == _lease(wanted, GUEST)

    def test_reserved_addresses(self, lan: Lan) -> None:
        """``reserved`` addresses after the gateway are leased only by an added entry."""
        kept = IPv4Address("10.1.0.4")
        noun = scope(lan, reserved=8, entries=(DhcpEntry(mac=STRANGE_MAC, address=kept),))
        add(lan, noun)
        assert lan.lease(BRIDGE, mac_of(GUEST + 1)) == _lease(noun, GUEST + 1)
        assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, kept)
        assert _nothing(lan, MAC)

    def test_a_stopped_scope(self, lan: Lan) -> None:
        """A stopped scope is not served until it is started again."""
        noun, stopped = scope(lan), scope(lan, running=False)
        add(lan, stopped)
        assert _nothing(lan, MAC)
        do(lan, Change(noun, stopped))
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        do(lan, Change(stopped, noun))
        assert _nothing(lan, MAC)

    def test_a_removed_scope(self, lan: Lan) -> None:
        """A removed scope is not served; its guests may get another scope."""
        noun, wanted = scope(lan), scope(lan, mtu=1300)
        add(lan, noun)
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        remove(lan, noun)
        assert _nothing(lan, MAC)
        add(lan, wanted)
        assert lan.lease(BRIDGE, MAC) == _lease(wanted, GUEST)

    def test_two_scopes_do_not_mix(self, lan: Lan) -> None:
        """Each scope serves the guests on its bridge, with its own values."""
        one, two = scope(lan), other(lan)
        add(lan, one, two)
        there = two.subnets[0].network_address + 9
        assert lan.lease(BRIDGE, MAC) == _lease(one, GUEST)
        assert lan.lease(OTHER_BRIDGE, mac_of(there)) == _lease(two, there)
        assert _nothing(lan, MAC, OTHER_BRIDGE)
        remove(lan, one)
        assert lan.lease(OTHER_BRIDGE, mac_of(there)) == _lease(two, there)

    @pytest.mark.parametrize("subnet", ["10.9.0.0/29", "10.16.0.0/20", "10.20.0.0/16"])
    def test_the_last_address_of_a_subnet(self, lan: Lan, subnet: str) -> None:
        """The smallest and the largest subnets work; above /20 a guest needs an added entry."""
        network = IPv4Network(subnet)
        lan.add_bridge("br9", gateway_of(network))
        last = network.broadcast_address - 1
        entries = (DhcpEntry(mac=mac_of(last), address=last),)
        generated = network.prefixlen >= GENERATED_PREFIX_MIN
        noun = scope(lan, link="br9", subnets=(network,), entries=() if generated else entries)
        add(lan, noun)
        assert lan.lease("br9", mac_of(last)) == _lease(noun, last)

    def test_it_serves_while_no_driver_is_open(self, lan: Lan) -> None:
        """A scope outlives the driver that added it."""
        noun = scope(lan)
        with lan.another() as driver:
            assert driver.apply([Add(noun)]).errors == {}
        assert lan.lease(BRIDGE, MAC) == _lease(noun, GUEST)
        assert lan.driver.find(noun) == noun

    def test_a_recreated_bridge(self, lan: Lan) -> None:
        """On a recreated bridge the scope is not running; a Change to running serves it."""
        noun = scope(lan, entries=(ENTRY,))
        add(lan, noun)
        lan.remove_bridge(BRIDGE)
        lan.add_bridge(BRIDGE, gateway_of(SUBNET))
        found = replace(noun, running=False)
        assert lan.driver.find(noun) == found
        do(lan, Change(noun, found))
        assert lan.driver.find(noun) == noun
        assert lan.lease(BRIDGE, STRANGE_MAC) == _lease(noun, ENTRY.address)
