"""Finding and listing: by key, by type, and what no key can be."""

from __future__ import annotations

from dataclasses import replace

from snnet.contract import (
    Address,
    Bridge,
    Driver,
    InvalidRequest,
    Key,
    Link,
    Neighbour,
    Noun,
    Route,
    Sysctl,
    Tap,
    Veth,
    Vxlan,
    Zone,
)

from .base import BackendTests, is_there
from .nouns import BRIDGE, MAC, MESH, TAP, VETH, address, fdb, neighbour, proxy, route
from .place import Place
from .steps import add

_RICH: tuple[Noun, ...] = (
    BRIDGE,
    MESH,
    replace(TAP, master="br"),
    VETH,
    address("10.1.0.1/24", "br"),
    address("fd01::1/64", "br"),
    neighbour("10.1.0.9", name="br"),
    proxy("10.4.0.9", "br"),
    fdb(MAC, "192.0.2.9"),
    route("10.3.0.0/24", "10.1.0.9", "br"),
)

_TYPES: tuple[tuple[type[Noun], ...], ...] = (
    (Link,),
    (Bridge,),
    (Tap, Veth),
    (Vxlan, Address),
    (Route, Neighbour),
    (Sysctl,),
    (Noun,),
    (Zone,),
    (),
)

_NONSENSE: tuple[Key, ...] = (
    (),
    ("",),
    ("nothing", "x"),
    ("dhcp", "br"),
    ("link",),
    ("link", ""),
    ("link", "x" * 1000),
    ("link", "a/b"),
    ("link", "a\0b"),
    ("link", "\udcff"),
    ("link", "%d"),
    ("link", "lo", "more"),
    ("address",),
    ("address", "lo"),
    ("address", "lo", ""),
    ("address", "lo", "nonsense"),
    ("address", "lo", "10.0.0.1/99"),
    ("address", "x" * 1000, "10.0.0.1/24"),
    ("address", "a\0b", "10.0.0.1/24"),
    ("route",),
    ("route", "10.0.0.0/8"),
    ("route", "10.0.0.1/8", "lo"),
    ("route", "nonsense", "lo"),
    ("route", "10.0.0.0/8", "nowhere"),
    ("path",),
    ("path", ""),
    ("path", "nonsense"),
    ("path", "10.0.0.0/8"),
    ("neighbour",),
    ("neighbour", "lo", "nonsense"),
    ("neighbour", "nowhere", "10.0.0.1"),
    ("proxy",),
    ("proxy", "lo", "nonsense"),
    ("proxy", "nowhere", "10.0.0.1"),
    ("fdb",),
    ("fdb", "lo", MAC),
    ("fdb", "mesh", "nonsense"),
    ("fdb", "mesh", "02:00"),
    ("fdb", "nowhere", MAC),
    ("sysctl",),
    ("sysctl", ""),
    ("sysctl", "nonsense"),
    ("sysctl", "net"),
    ("sysctl", "net.ipv4"),
    ("sysctl", "net.ipv4.conf"),
    ("sysctl", "net.\0"),
    ("sysctl", "net." + "x" * 5000),
    ("sysctl", "net.../..kernel.hostname"),
)


class LookUpTests(BackendTests):
    def test_what_no_key_can_be(self, place: Place) -> None:
        """It is not found, or refused as ``InvalidRequest``; nothing else is ever raised."""
        add(place, MESH)
        wrong = {key: said for key in _NONSENSE if (said := _said_of(place.driver, key))}
        assert wrong == {}

    def test_a_listing_and_a_look_up_say_the_same(self, place: Place) -> None:
        """Whatever is listed is found by its key, and equal."""
        add(place, *_RICH)
        listed = place.driver.snapshot()
        assert {noun.key for noun in _RICH} <= listed.keys()
        for key, noun in listed.items():
            assert noun.key == key
            assert place.driver.find(key) == noun

    def test_listings_by_type(self, place: Place) -> None:
        """Those of the types asked for and of their subclasses, and no others."""
        add(place, *_RICH)
        everything = place.driver.snapshot()
        for types in _TYPES:
            wanted = {key: noun for key, noun in everything.items() if isinstance(noun, types)}
            assert place.driver.snapshot(types) == wanted
            assert place.driver.snapshot(set(types)) == wanted
            assert place.driver.snapshot(iter(types)) == wanted

    def test_an_empty_host_has_its_own_links(self, place: Place) -> None:
        """A loopback, the uplink and its far end: all that a host has before anything is made."""
        assert {"lo", "eth0"} <= {key[1] for key in place.driver.snapshot([Link])}
        assert place.driver.snapshot([Tap, Vxlan, Route, Neighbour]) == {}

    def test_what_a_listing_holds_stays_as_it_was(self, place: Place) -> None:
        """It is the host at that moment, not a view of it."""
        before = place.driver.snapshot()
        copy = dict(before)
        add(place, *_RICH)
        assert before == copy
        before.clear()
        assert all(is_there(place, noun) for noun in _RICH)

    def test_a_dump_tells_of_everything(self, place: Place) -> None:
        """A line for each noun, for people."""
        add(place, *_RICH)
        text = place.driver.dump()
        for noun in place.driver.snapshot().values():
            assert str(noun) in text


def _said_of(driver: Driver, key: Key) -> object:
    """What was found or raised that should not have been."""
    try:
        return driver.find(key)
    except InvalidRequest:
        return None
    except Exception as error:
        return repr(error)[:100]
