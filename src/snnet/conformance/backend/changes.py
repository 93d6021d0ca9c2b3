"""Changes in place: what can be changed is changed, and what cannot is refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.contract import (
    Bridge,
    Change,
    Gre,
    Ifb,
    Link,
    Macvtap,
    Missing,
    Noun,
    Rejected,
    Unsupported,
)

from .base import BackendTests, is_there
from .nouns import (
    ALIAS,
    BRIDGE,
    GRE,
    GRETAP,
    GRETAP6,
    LINKS,
    MAC,
    MACVTAP,
    TAP,
    TUNNELS,
    VXLAN,
    described,
    fdb,
    ground,
    neighbour,
    proxy,
    route,
)
from .nouns import address as address_of
from .place import Place
from .steps import add, do, refused

_OTHER_MAC = "fe:00:00:00:00:ff"
_STEPS: tuple[dict[str, Any], ...] = (
    {"mtu": 1300},
    {"mac": _OTHER_MAC},
    {"alias": "another # one"},
    {"alias": ALIAS},
    {"alias": ""},
    {"group": 77},
    {"up": False},
    {"up": True},
    {"master": "br"},
    {"master": None},
    {"all_multicast": False},
    {"all_multicast": True, "up": False},
    {"mtu": 1400, "mac": MAC, "alias": "all", "group": 3, "up": False, "master": "br"},
)
"""One field after the other, then all of them at once."""

_IN_PLACE: tuple[tuple[Noun, dict[str, Any]], ...] = (
    (route("10.3.0.0/24", "192.0.2.9"), {"gateway": ip_address("192.0.2.8")}),
    (route("10.3.0.0/24", "192.0.2.9"), {"gateway": None}),
    (route("10.3.0.0/24", "192.0.2.9"), {"gateway": ip_address("172.16.0.1"), "onlink": True}),
    (route("10.3.0.0/24", "192.0.2.9", protocol=115), {"gateway": ip_address("192.0.2.8")}),
    (route("2001:db8:3::/64", "2001:db8::9"), {"gateway": ip_address("2001:db8::8")}),
    (neighbour("192.0.2.9"), {"lladdr": _OTHER_MAC}),
    (neighbour("2001:db8::9"), {"lladdr": _OTHER_MAC}),
    (neighbour("10.9.0.2", "192.0.2.2", "multi"), {"lladdr": "192.0.2.3"}),
    (fdb(MAC, "192.0.2.9"), {"remote": ip_address("192.0.2.8")}),
    (fdb(MAC, "2001:db8::9", "mesh6"), {"remote": ip_address("2001:db8::8")}),
)

_FIXED: tuple[tuple[Noun, dict[str, Any]], ...] = (
    (TAP, {"name": "other"}),
    (TAP, {"multi_queue": True}),
    (MACVTAP, {"mode": "vepa"}),
    (MACVTAP, {"lower": "low"}),
    *((noun, {noun.key_field: 8}) for noun in (*TUNNELS, GRETAP6, GRE)),
    *((noun, {"port": 16385}) for noun in TUNNELS if noun.over_udp),
    (VXLAN, {"ttl": 65}),
    (VXLAN, {"local": ip_address("192.0.2.12")}),
    (VXLAN, {"remote": ip_address("192.0.2.12")}),
    (GRETAP, {"remote": ip_address("192.0.2.12")}),
    (route("10.3.0.0/24", "192.0.2.9"), {"protocol": 115}),
)


def _case_name(value: Any) -> str:
    return described(value) if isinstance(value, Noun) else "-".join(value)


class ChangeTests(BackendTests):
    @pytest.mark.parametrize("noun", LINKS, ids=described)
    def test_every_field_of_a_link_that_can_change(self, place: Place, noun: Link) -> None:
        """MTU, MAC, alias, group, state and master change, one by one, together, and back.

        So does whether a macvtap receives all multicast.
        """
        add(place, BRIDGE)
        add(place, noun)
        now = old = noun
        for step in _STEPS:
            fit = {name: value for name, value in step.items() if _can(noun, name)}
            now, old = replace(now, **fit), now
            do(place, Change(now, old))
            assert is_there(place, now), step
        do(place, Change(now, old).inverse())
        assert is_there(place, old)

    @pytest.mark.parametrize(("old", "fields"), _IN_PLACE, ids=_case_name)
    def test_what_is_no_link_changes_in_place(
        self, place: Place, old: Noun, fields: dict[str, Any]
    ) -> None:
        """Gateways, link-layer addresses and remotes change, and back."""
        add(place, *ground(old))
        add(place, old)
        change = Change(replace(old, **fields), old)
        do(place, change)
        assert is_there(place, change.noun)
        do(place, change.inverse())
        assert is_there(place, old)

    @pytest.mark.parametrize(("old", "fields"), _FIXED, ids=_case_name)
    def test_what_cannot_change_in_place(
        self, place: Place, old: Noun, fields: dict[str, Any]
    ) -> None:
        """A Change of any field that is not changeable is ``Unsupported``."""
        add(place, old)
        assert refused(place, Change(replace(old, **fields), old)) is Unsupported
        assert is_there(place, old)

    @pytest.mark.parametrize("noun", [address_of("10.1.0.1/24"), proxy("10.4.0.9")], ids=described)
    def test_what_has_no_fields_to_change(self, place: Place, noun: Noun) -> None:
        """A Change of a noun without changeable fields is ``Unsupported``."""
        add(place, noun)
        assert refused(place, Change(noun, noun)) is Unsupported

    def test_a_change_to_the_same_does_nothing(self, place: Place) -> None:
        """A Change to the current values succeeds and changes nothing."""
        add(place, BRIDGE, TAP)
        before = place.driver.snapshot()
        do(place, Change(TAP, TAP), Change(BRIDGE, BRIDGE))
        assert place.driver.snapshot() == before

    def test_a_change_sets_what_differs_from_the_host(self, place: Place) -> None:
        """A Change compares with the host, not with ``old``: wrong values in ``old`` do no harm."""
        add(place, replace(TAP, mtu=1300))
        wanted = replace(TAP, mtu=1400)
        do(place, Change(wanted, wanted))
        assert is_there(place, wanted)

    @pytest.mark.parametrize(
        ("bad", "cls"),
        [
            ({"mtu": 100_000}, Rejected),
            ({"mac": "01:00:00:00:00:01"}, Missing),  # EADDRNOTAVAIL
            ({"alias": "x" * 256}, Rejected),
            ({"master": "nowhere"}, Missing),
            ({"master": "lo"}, Unsupported),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else value.__name__,
    )
    def test_a_change_is_all_or_nothing(
        self, place: Place, bad: dict[str, Any], cls: type[Exception]
    ) -> None:
        """If one field is refused, the others are put back."""
        old = replace(TAP, mac=MAC, mtu=1400)
        add(place, old)
        new = replace(old, **{"mac": _OTHER_MAC, "mtu": 1300, "alias": "new", "group": 5, **bad})
        before = place.driver.snapshot()
        assert refused(place, Change(new, old)) is cls
        assert is_there(place, old)
        assert place.driver.snapshot() == before

    def test_why_a_change_is_refused(self, place: Place) -> None:
        """An impossible value is ``Rejected``; a missing master is ``Missing``."""
        add(place, TAP)
        assert refused(place, Change(replace(TAP, mtu=1), TAP)) is Rejected
        assert refused(place, Change(replace(TAP, master="nowhere"), TAP)) is Missing
        assert refused(place, Change(replace(TAP, alias="x" * 256), TAP)) is Rejected

    def test_a_gateway_that_cannot_be_changes_nothing(self, place: Place) -> None:
        """If a new gateway is refused, the route stays as it was."""
        old = route("10.3.0.0/24", "192.0.2.9")
        add(place, old)
        for gateway in ("172.16.0.1", "2001:db8::9"):
            refused(place, Change(replace(old, gateway=ip_address(gateway)), old))
        assert is_there(place, old)


def _can(link: Link, field: str) -> bool:
    """Whether the kernel lets a link of this kind have the field changed."""
    if field == "mac":
        # The address of a gre link is its local end; an ifb keeps its first one.
        return not isinstance(link, (Gre, Ifb))
    if field == "master":
        return not isinstance(link, (Bridge, Gre, Macvtap))
    if field == "all_multicast":
        return isinstance(link, Macvtap)
    return True
