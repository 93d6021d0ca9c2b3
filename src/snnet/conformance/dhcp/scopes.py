"""Scopes as nouns: strict, found as they were added, changed in place."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from snnet.conformance.backend.steps import add, do, refused, remove
from snnet.conformance.hosts import check_host
from snnet.contract import (
    Add,
    Bridge,
    Cancelled,
    Change,
    DhcpEntry,
    DhcpScope,
    Exists,
    InvalidRequest,
    Link,
    Missing,
    Noun,
    Remove,
    Unsupported,
    Zone,
)

from .base import BRIDGE, ENTRY, SUBNET, DhcpTests, is_there, other, scope
from .lan import Lan, gateway_of

_ENTRIES = (
    ENTRY,
    DhcpEntry(mac="fe:ff:ff:ff:ff:ff", address=IPv4Address("10.1.0.254")),
    DhcpEntry(mac="02:00:00:00:00:01", address=IPv4Address("10.1.0.2"), hostname="a-1.b"),
)
_VALUES: tuple[dict[str, Any], ...] = (
    {},
    {"entries": _ENTRIES},
    {"mtu": 68, "reserved": 10, "domain": "tenant.example"},
    {"mtu": 65535, "reserved": 1000},
    {"running": False, "entries": (ENTRY,), "domain": "x"},
)
_CHANGES: tuple[dict[str, Any], ...] = (
    {"entries": _ENTRIES},
    {"entries": _ENTRIES[1:]},
    {"entries": ()},
    {"mtu": 1300},
    {"domain": "tenant.example"},
    {"domain": None},
    {"reserved": 8},
    {"reserved": 0},
    {"running": False},
    {"mtu": 1200},
    {"running": True},
    {"entries": _ENTRIES[:1], "mtu": 1500, "domain": "other.example", "reserved": 4},
)
"""Applied one after the other, also to a scope that is stopped."""

_IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a /30": {"subnets": (IPv4Network("10.1.0.0/30"),)},
    "a /15": {"subnets": (IPv4Network("10.0.0.0/15"),)},
    "a small MTU": {"mtu": 67},
    "a large MTU": {"mtu": 65536},
    "reserved below 0": {"reserved": -1},
    "no domain name": {"domain": "no domain"},
    "an empty domain name": {"domain": ""},
    "no MAC": {"entries": (replace(ENTRY, mac="no mac"),)},
    "another subnet's address": {"entries": (replace(ENTRY, address=IPv4Address("10.2.0.9")),)},
    "the network's address": {"entries": (replace(ENTRY, address=SUBNET[0]),)},
    "the gateway's address": {"entries": (replace(ENTRY, address=SUBNET[1]),)},
    "the broadcast address": {"entries": (replace(ENTRY, address=SUBNET[-1]),)},
    "no host name": {"entries": (replace(ENTRY, hostname="no name"),)},
    "a MAC twice": {"entries": (ENTRY, replace(ENTRY, address=IPv4Address("10.1.0.78")))},
    "an address twice": {"entries": (ENTRY, replace(ENTRY, mac="02:00:00:00:00:78"))},
}
_NONSENSE = ("", "a/b", "..", "a\0b", "\udcff", "x" * 1000, f"{BRIDGE} more")
"""Names that no bridge can have."""


def _case_name(values: dict[str, Any]) -> str:
    words = (f"{name}={str(value)[:20]}" for name, value in values.items())
    return "-".join(words).replace(" ", "_") or "plain"


class ScopeTests(DhcpTests):
    def test_a_driver_says_its_host(self, lan: Lan) -> None:
        """``driver.host`` is the host that the driver works on."""
        check_host(lan.driver)

    @pytest.mark.parametrize("values", _VALUES, ids=_case_name)
    def test_found_as_it_was_added(self, lan: Lan, values: dict[str, Any]) -> None:
        """``find`` and ``snapshot`` return equal scopes; nothing is left after Remove."""
        noun = scope(lan, **values)
        before = lan.residue()
        assert lan.driver.find(noun) is None
        add(lan, noun)
        assert is_there(lan, noun)
        assert lan.driver.snapshot() == {noun.key: noun}
        remove(lan, noun)
        assert lan.driver.find(noun) is None
        assert lan.driver.snapshot() == {}
        assert lan.residue() == before

    def test_listings_by_type(self, lan: Lan) -> None:
        """``snapshot`` lists the requested types and their subclasses."""
        noun = scope(lan)
        add(lan, noun)
        for types in ((DhcpScope,), (Noun,), (Zone, DhcpScope)):
            assert lan.driver.snapshot(types) == {noun.key: noun}
            assert lan.driver.snapshot(iter(types)) == {noun.key: noun}
        assert lan.driver.snapshot([Zone]) == {}
        assert lan.driver.snapshot([]) == {}

    @pytest.mark.parametrize("running", [True, False])
    def test_comes_once_and_goes_once(self, lan: Lan, running: bool) -> None:
        """A second Add is ``Exists`` and a second Remove is ``Missing``, running or not."""
        noun = scope(lan, running=running)
        add(lan, noun)
        assert refused(lan, Add(noun)) is Exists
        assert refused(lan, Add(replace(noun, mtu=1300, running=not running))) is Exists
        remove(lan, noun)
        assert refused(lan, Remove(noun)) is Missing
        add(lan, noun)
        assert is_there(lan, noun)

    def test_what_is_not_there_cannot_change(self, lan: Lan) -> None:
        """A Change of a missing scope is ``Missing``, and creates nothing."""
        before = lan.residue()
        noun = scope(lan)
        for wanted in (noun, replace(noun, mtu=1300), replace(noun, running=False)):
            assert refused(lan, Change(wanted, noun)) is Missing
        assert lan.residue() == before

    def test_every_field_that_can_change(self, lan: Lan) -> None:
        """Entries, MTU, domain, reserved and running change, alone and together, and back."""
        first = now = scope(lan)
        add(lan, now)
        for values in _CHANGES:
            now, old = replace(now, **values), now
            do(lan, Change(now, old))
            assert is_there(lan, now), values
        do(lan, Change(first, now))
        assert is_there(lan, first)

    def test_what_cannot_change_in_place(self, lan: Lan) -> None:
        """A Change of subnet or owner is ``Unsupported``; it takes a Remove and an Add."""
        wide = IPv4Network("10.9.0.0/24")
        lan.add_bridge("br9", gateway_of(SUBNET), gateway_of(wide))
        noun = scope(lan, link="br9")
        add(lan, noun)
        assert refused(lan, Change(replace(noun, subnets=(wide,)), noun)) is Unsupported
        assert refused(lan, Change(replace(noun, owner="cnci:other"), noun)) is Unsupported
        assert is_there(lan, noun)

    def test_a_bridge_without_the_gateway_address(self, lan: Lan) -> None:
        """Without the bridge or its gateway address, Add is ``Missing`` and leaves nothing."""
        lan.add_bridge("empty")
        lan.add_bridge("another", gateway_of(IPv4Network("10.9.0.0/24")))
        before = lan.residue()
        for link in ("empty", "another", "nowhere"):
            assert refused(lan, Add(scope(lan, link=link))) is Missing
        assert lan.residue() == before

    @pytest.mark.parametrize("values", _IMPOSSIBLE.values(), ids=_IMPOSSIBLE)
    def test_what_cannot_be_served(self, lan: Lan, values: dict[str, Any]) -> None:
        """A scope that cannot be served is ``InvalidRequest``; other scopes are still served."""
        before = lan.residue()
        assert refused(lan, Add(scope(lan, **values))) is InvalidRequest
        assert lan.residue() == before
        noun = scope(lan)
        add(lan, noun)
        assert refused(lan, Change(replace(noun, **values), noun)) is InvalidRequest
        assert is_there(lan, noun)

    @pytest.mark.parametrize("running", [True, False])
    def test_it_outlives_its_bridge(self, lan: Lan, running: bool) -> None:
        """Without its bridge a scope is found as not running, and can be removed."""
        noun = scope(lan, running=running, entries=(ENTRY,))
        before = lan.residue()
        add(lan, noun)
        lan.remove_bridge(BRIDGE)
        assert is_there(lan, replace(noun, running=False))
        remove(lan, noun)
        assert lan.driver.snapshot() == {}
        assert lan.residue() == before

    def test_two_at_once(self, lan: Lan) -> None:
        """Two bridges have a scope each; removing one leaves the other."""
        one, two = scope(lan, entries=(ENTRY,)), other(lan)
        add(lan, one, two)
        assert lan.driver.snapshot() == {one.key: one, two.key: two}
        remove(lan, one)
        assert lan.driver.snapshot() == {two.key: two}

    def test_another_driver_sees_the_same(self, lan: Lan) -> None:
        """All state is on the host: a second driver finds, changes and removes it."""
        noun, wanted = scope(lan), scope(lan, entries=(ENTRY,), mtu=1300)
        before = lan.residue()
        with lan.another() as second:
            add(lan, noun)
            assert second.snapshot() == {noun.key: noun}
            assert isinstance(second.apply([Add(noun)]).error, Exists)
            assert second.apply([Change(wanted, noun)]).errors == {}
            second.close()
            second.close()
        assert is_there(lan, wanted)
        with lan.another() as third:
            assert third.find(noun) == wanted
            assert third.apply([Remove(wanted)]).errors == {}
        assert lan.driver.snapshot() == {}
        assert lan.residue() == before

    def test_one_batch(self, lan: Lan) -> None:
        """The first error stops ``apply``, unless ``keep_going``; ``check`` is called."""
        one, two = scope(lan), other(lan)
        outcome = lan.driver.apply([Add(one), Add(one), Add(two)])
        assert outcome.done == {0}
        assert {at: type(error) for at, error in outcome.errors.items()} == {1: Exists}
        outcome = lan.driver.apply([Remove(two), Remove(one), Add(two)], keep_going=True)
        assert outcome.done == {1, 2}
        assert {at: type(error) for at, error in outcome.errors.items()} == {0: Missing}
        stop = Cancelled("no more")

        def check() -> None:
            raise stop

        outcome = lan.driver.apply([Remove(two), Add(one)], check=check)
        assert outcome.done == set()
        assert outcome.errors == {0: stop}
        assert lan.driver.snapshot() == {two.key: two}

    def test_an_error_names_its_operation(self, lan: Lan) -> None:
        """The error has the operation that failed, as an object and in its text."""
        operation = Remove(scope(lan))
        error = lan.driver.apply([operation]).error
        assert isinstance(error, Missing)
        assert error.operation == operation
        assert BRIDGE in str(error)

    def test_what_nothing_is_called(self, lan: Lan) -> None:
        """A name that no bridge can have is not found; neither is a noun of another driver."""
        whole = scope(lan)
        add(lan, whole)
        nouns = [*(replace(whole, link=name) for name in _NONSENSE), Link(name=BRIDGE)]
        wrong = [(noun, said) for noun in nouns if (said := _said_of(lan, noun))]
        assert wrong == []

    def test_the_bridge_alone_says_which_scope_is_meant(self, lan: Lan) -> None:
        """``find`` looks at the bridge only, not at the other fields of the noun."""
        whole = scope(lan)
        add(lan, whole)
        other = replace(whole, subnets=(IPv4Network("198.51.100.0/24"),), mtu=999, running=False)
        assert lan.driver.find(other) == whole

    def test_nouns_of_other_drivers(self, lan: Lan) -> None:
        """Nouns of other drivers are declared missing, and Add is ``Unsupported``."""
        noun = Bridge(name="br9")
        assert lan.driver.missing(noun)
        assert DhcpScope in lan.driver.carries
        assert refused(lan, Add(noun)) is Unsupported
        assert lan.driver.snapshot([Bridge]) == {}


def _said_of(lan: Lan, noun: Noun) -> object:
    """Return what was found or raised and should not have been."""
    try:
        return lan.driver.find(noun)
    except Exception as error:
        return repr(error)[:100]
