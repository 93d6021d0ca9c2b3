"""``find`` and ``snapshot``: by identity, by type, and with impossible names."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

from snnet.conformance.hosts import check_host
from snnet.contract import (
    Address,
    Bridge,
    DhcpScope,
    Driver,
    Fdb,
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

_NET = ip_network("10.0.0.0/8")
_NOBODY = ip_address("10.0.0.1")
_NONSENSE: tuple[Noun, ...] = (
    *(Link(name=name) for name in ("", "nothing", "x" * 1000, "a/b", "a\0b", "\udcff", "%d")),
    Tap(name="a/b"),
    Bridge(name="lo more"),
    *(address("10.0.0.1/24", name) for name in ("", "nothing", "x" * 1000, "a\0b", "lo")),
    *(Route(destination=_NET, link=name) for name in ("", "nothing", "a\0b", "\udcff")),
    *(neighbour("10.0.0.1", name=name) for name in ("", "nothing", "a\0b", "x" * 1000, "lo")),
    *(proxy("10.0.0.1", name) for name in ("", "nothing", "a\0b", "lo")),
    *(Fdb(link="mesh", mac=mac, remote=_NOBODY) for mac in ("", "nonsense", "02:00", "\0")),
    *(Fdb(link=name, mac=MAC, remote=_NOBODY) for name in ("", "nothing", "lo", "a\0b")),
    *(Sysctl(name=name) for name in ("", "nonsense", "net", "net.ipv4", "net.ipv4.conf")),
    *(Sysctl(name=name) for name in ("net.\0", "net." + "x" * 5000, "net.../..kernel.hostname")),
    Zone(owner="cn:kit", zone="nothing"),
    DhcpScope(link="lo", subnets=(IPv4Network("10.0.0.0/24"),), mtu=1500),
)
"""Nouns with impossible names, and nouns that no backend carries."""


class LookUpTests(BackendTests):
    def test_a_driver_says_its_host(self, place: Place) -> None:
        """``driver.host`` is the host that the driver works on."""
        check_host(place.driver)

    def test_what_nothing_is_called(self, place: Place) -> None:
        """A name that no object can have is not found, and raises nothing."""
        add(place, MESH)
        wrong = [(noun, said) for noun in _NONSENSE if (said := _said_of(place.driver, noun))]
        assert wrong == []

    def test_only_the_identity_says_which_object_is_meant(self, place: Place) -> None:
        """``find`` looks at the identity only, not at the other fields of the noun."""
        add(place, MESH, replace(TAP, master=None))
        for noun in (
            Link(name=TAP.name),
            Bridge(name=TAP.name, alias="x", mtu=68),
            replace(TAP, up=not TAP.up, group=7, queues=2),
        ):
            found = place.driver.find(noun)
            assert isinstance(found, Tap)
            assert (found.name, found.alias) == (TAP.name, TAP.alias)

    def test_a_listing_and_a_look_up_say_the_same(self, place: Place) -> None:
        """``find`` returns every noun that ``snapshot`` lists, with equal values."""
        add(place, *_RICH)
        listed = place.driver.snapshot()
        assert {noun.key for noun in _RICH} <= listed.keys()
        for key, noun in listed.items():
            assert noun.key == key
            assert place.driver.find(noun) == noun

    def test_listings_by_type(self, place: Place) -> None:
        """``snapshot`` lists the requested types and their subclasses, and no others."""
        add(place, *_RICH)
        everything = place.driver.snapshot()
        for types in _TYPES:
            wanted = {key: noun for key, noun in everything.items() if isinstance(noun, types)}
            assert place.driver.snapshot(types) == wanted
            assert place.driver.snapshot(set(types)) == wanted
            assert place.driver.snapshot(iter(types)) == wanted

    def test_the_addresses_of_one_link(self, place: Place) -> None:
        """``addresses`` returns those of a snapshot that are on the link; without a link none."""
        add(place, *_RICH)
        listed = place.driver.snapshot([Address]).values()
        for name in ("br", "eth0", "lo"):
            wanted = [noun for noun in listed if isinstance(noun, Address) and noun.link == name]
            assert list(place.driver.addresses(name)) == wanted
        for name in ("nothing", "", "x" * 1000):
            assert list(place.driver.addresses(name)) == []

    def test_an_empty_host_has_its_own_links(self, place: Place) -> None:
        """Before anything is added, the loopback and the uplink are listed."""
        assert {"lo", "eth0"} <= {key[1] for key in place.driver.snapshot([Link])}
        assert place.driver.snapshot([Tap, Vxlan, Route, Neighbour]) == {}

    def test_what_a_listing_holds_stays_as_it_was(self, place: Place) -> None:
        """A snapshot is a copy: later changes do not alter it."""
        before = place.driver.snapshot()
        copy = dict(before)
        add(place, *_RICH)
        assert before == copy
        before.clear()
        assert all(is_there(place, noun) for noun in _RICH)

    def test_a_dump_tells_of_everything(self, place: Place) -> None:
        """``dump`` has a line for each noun, for people."""
        add(place, *_RICH)
        text = place.driver.dump()
        for noun in place.driver.snapshot().values():
            assert str(noun) in text


def _said_of(driver: Driver, noun: Noun) -> object:
    """Return what was found or raised and should not have been."""
    try:
        return driver.find(noun)
    except Exception as error:
        return repr(error)[:100]
