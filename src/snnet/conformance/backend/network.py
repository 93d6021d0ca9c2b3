"""Addresses, routes, neighbours, paths and kernel parameters."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Exists,
    Fdb,
    InvalidRequest,
    Missing,
    Neighbour,
    Noun,
    Path,
    Rejected,
    Remove,
    Route,
    Sysctl,
    Unsupported,
)

from .base import BackendTests, is_gone, is_there
from .nouns import (
    BRIDGE,
    MAC,
    MESH,
    MESH6,
    MULTIPOINT,
    VXLAN,
    address,
    described,
    fdb,
    neighbour,
    proxy,
    route,
)
from .place import ADDRESS, ADDRESS6, UPLINK, Place
from .steps import add, do, from_outside, need, refused, remove, within_patience

_FORWARDING = "net.ipv4.ip_forward"
_PATH = Path(remote=ip_address("192.0.2.10"), link=UPLINK, source=ADDRESS.ip)
_WAYS = (
    ("192.0.2.10", UPLINK, "192.0.2.11"),
    ("192.0.2.11", "lo", "192.0.2.11"),
    ("192.0.2.77", "lo", "192.0.2.11"),  # a secondary address: fib_add_ifaddr
    ("192.0.2.201", "lo", "192.0.2.201"),
    ("127.0.0.1", "lo", "127.0.0.1"),
    ("127.9.9.9", "lo", "127.0.0.1"),
    ("10.3.0.9", UPLINK, "192.0.2.11"),
    ("10.1.0.9", "br", "10.1.0.1"),
    ("2001:db8::10", UPLINK, "2001:db8::77"),  # of equals the newest: ipv6_link_dev_addr
    ("2001:db8::77", "lo", "2001:db8::77"),
    ("2001:db8:3::9", UPLINK, "2001:db8::77"),
)
"""Destination, link, source address."""
_FORWARD = Sysctl(name=_FORWARDING, value="0")
_UNKNOWN = ("net.no.such", "net.ipv4.conf.nowhere.forwarding", "net.ipv4.ip_forward.x")
_OUTSIDE = (
    "kernel.hostname",
    "vm.swappiness",
    "net.../..kernel.hostname",
    "net",
    "net.ipv4.route",
    "net.ipv4.*forward",
    "net.ipv4.ip_forward=1",
    "net.ipv4.ip_forward \0",
    "",
    "/",
    ".",
)
_ON_BRIDGE: tuple[Noun, ...] = (
    address("10.1.0.1/24", "br"),
    address("fd01::1/64", "br"),
    route("10.2.0.0/24", name="br"),
    route("10.3.0.0/24", "10.1.0.9", "br"),
    route("fd03::/64", "fd01::9", "br"),
    neighbour("10.1.0.9", name="br"),
    neighbour("fd01::9", name="br"),
    proxy("10.4.0.9", "br"),
    proxy("fd04::9", "br"),
)


class NetworkTests(BackendTests):
    def test_what_hangs_on_a_link_dies_with_it(self, place: Place) -> None:
        """Addresses, routes, neighbours and proxies go with their link."""
        before = place.driver.snapshot()
        add(place, BRIDGE, *_ON_BRIDGE)
        remove(place, BRIDGE)
        assert place.driver.snapshot() == before
        assert all(is_gone(place, noun) for noun in _ON_BRIDGE)

    @pytest.mark.parametrize(
        ("noun", "hanging"),
        [
            (MESH, fdb(MAC, "192.0.2.9")),
            (MESH6, fdb(MAC, "2001:db8::9", "mesh6")),
            (MULTIPOINT, neighbour("10.9.0.2", "192.0.2.2", "multi")),
        ],
        ids=described,
    )
    def test_what_hangs_on_a_tunnel_dies_with_it(
        self, place: Place, noun: Noun, hanging: Noun
    ) -> None:
        """So do fdb entries, and neighbours of a multipoint tunnel."""
        before = place.driver.snapshot()
        add(place, noun, hanging)
        remove(place, noun)
        assert place.driver.snapshot() == before
        assert is_gone(place, hanging)
        add(place, noun)
        assert is_gone(place, hanging)

    def test_removed_one_by_one(self, place: Place) -> None:
        """Removed one by one in reverse, they leave the link as it was."""
        add(place, BRIDGE)
        before = place.driver.snapshot()
        add(place, *_ON_BRIDGE)
        remove(place, *reversed(_ON_BRIDGE))
        assert place.driver.snapshot() == before

    def test_one_route_a_destination(self, place: Place) -> None:
        """A destination has one route: another link or gateway is ``Exists``."""
        old = route("10.3.0.0/24", "192.0.2.9")
        add(place, BRIDGE, old)
        for other in (
            replace(old, gateway=ip_address("192.0.2.8")),
            replace(old, gateway=None, link="br"),
            replace(old, protocol=115),
        ):
            assert refused(place, Add(other)) is Exists
        assert is_there(place, old)

    def test_a_route_by_another_gateway_is_another_one(self, place: Place) -> None:
        """Removing a route with another gateway is ``Missing``; the existing route stays."""
        old = route("10.3.0.0/24", "192.0.2.9")
        add(place, old)
        assert refused(place, Remove(replace(old, gateway=ip_address("192.0.2.8")))) is Missing

    def test_a_gateway_with_a_link_local_address_of_another_link(self, place: Place) -> None:
        """A link may have the address of a gateway that is behind another link, not its own."""
        add(place, BRIDGE, address("fe80::7/64", "br"))
        by_uplink = replace(route("fd05::/64", "fe80::7", UPLINK), onlink=True)
        add(place, by_uplink)
        assert is_there(place, by_uplink)
        by_bridge = replace(route("fd06::/64", "fe80::7", "br"), onlink=True)
        assert refused(place, Add(by_bridge)) is Rejected

    def test_a_route_of_another_maker_is_another_one(self, place: Place) -> None:
        """Removing a route with another protocol is ``Missing``; the existing route stays."""
        old = route("10.3.0.0/24", "192.0.2.9")
        add(place, old)
        assert refused(place, Remove(replace(old, protocol=115))) is Missing

    def test_the_routes_of_one_protocol(self, place: Place) -> None:
        """``routes_of`` returns those of a snapshot that have the protocol, of both families."""
        marked = [
            replace(route(cidr), protocol=115)
            for cidr in ("10.3.0.0/24", "10.4.0.9/32", "fd05::/64")
        ]
        add(place, *marked, route("10.6.0.0/24"))
        listed = place.driver.snapshot([Route]).values()
        for protocol in (115, 4, 200):
            wanted = [noun for noun in listed if getattr(noun, "protocol", 0) == protocol]
            found = place.driver.routes_of(protocol)
            assert sorted(map(str, found)) == sorted(map(str, wanted))
            assert set(found) == set(wanted)
        assert set(place.driver.routes_of(115)) == set(marked)

    @pytest.mark.parametrize("cidr", ["10.1.0.0/24", "fd01::/64"])
    def test_a_route_beside_the_connected_one(self, place: Place, cidr: str) -> None:
        """Where a route beside the connected one is possible, only ours is removed."""
        network = ip_network(cidr)
        add(place, address(f"{network[1]}/{network.prefixlen}"))
        there, ours = place.driver.snapshot(), route(cidr)
        need(place, ours)
        if place.driver.apply([Add(ours)]).error is None:
            remove(place, ours)
            assert is_gone(place, ours)
            add(place, ours)
            remove(place, ours)
        assert place.driver.snapshot() == there

    def test_a_route_of_another_metric_is_another_one(self, place: Place) -> None:
        """It is not found; to remove the noun is ``Missing``, and the foreign route stays."""
        ours = route("10.5.0.0/24")
        need(place, ours)
        from_outside(place, f"route add 10.5.0.0/24 dev {UPLINK} metric 50")
        assert is_gone(place, ours)
        assert refused(place, Remove(ours)) is Missing
        from_outside(place, f"route delete 10.5.0.0/24 dev {UPLINK} metric 50")

    @pytest.mark.parametrize("ip", ["192.0.2.9", "2001:db8::9"])
    def test_a_learned_neighbour_gives_way(self, place: Place, ip: str) -> None:
        """A learned neighbour is not found and cannot be removed; Add replaces it."""
        noun = neighbour(ip)
        need(place, noun)
        from_outside(place, f"neigh add {ip} lladdr 02:00:00:00:00:aa dev {UPLINK} nud stale")
        assert is_gone(place, noun)
        assert refused(place, Remove(noun)) is Missing
        add(place, noun)
        assert is_there(place, noun)

    def test_what_the_kernel_makes_by_itself_is_not_listed(self, place: Place) -> None:
        """Connected routes, link-local addresses and a vxlan's default entry are not listed."""
        need(place, VXLAN)
        add(place, replace(BRIDGE, link_local=True), address("10.1.0.1/24", "br"), VXLAN)
        if place.link_locals:
            assert within_patience(lambda: place.link_local_addresses(UPLINK) != [])
        listed = place.driver.snapshot().values()
        assert [n for n in listed if isinstance(n, (Route, Fdb, Neighbour))] == []
        addresses = [noun.address.ip for noun in listed if isinstance(noun, Address)]
        assert [ip for ip in addresses if ip.is_link_local] == []
        assert ip_address("10.1.0.1") in addresses

    def test_a_deprecated_address_is_no_source(self, place: Place) -> None:
        """Of the addresses of IPv6 that most like the destination is the source; a deprecated
        one only where there is no other (RFC 6724, 5, rules 8 and 3).
        """
        way, like = route("2001:db8:7::/64", "2001:db8::9"), address("2001:db8:6::2/128")
        towards = Path(remote=ip_address("2001:db8:7::7"), link=UPLINK, source=like.address.ip)
        need(place, way, towards, replace(like, deprecated=True))
        add(place, way, like)
        assert place.driver.find(towards) == towards
        remove(place, like)
        add(place, replace(like, deprecated=True))
        assert place.driver.find(towards) == replace(towards, source=ADDRESS6.ip)

    def test_an_entry_to_another_remote_is_another_one(self, place: Place) -> None:
        """Removing an entry with another remote is ``Missing``; the existing one stays."""
        add(place, MESH, fdb(MAC, "192.0.2.9"))
        assert refused(place, Remove(fdb(MAC, "192.0.2.8"))) is Missing

    def test_objects_on_links_that_are_not_there(self, place: Place) -> None:
        """Remove and Change on a missing link are ``Missing``."""
        for noun in (
            address("10.1.0.1/24", "nowhere"),
            route("10.2.0.0/24", name="nowhere"),
            neighbour("10.9.9.9", name="nowhere"),
            proxy("10.4.0.9", "nowhere"),
            fdb(MAC, "192.0.2.9", "nowhere"),
        ):
            if place.driver.missing(noun) is not None:
                continue
            assert place.driver.find(noun) is None
            assert refused(place, Remove(noun)) is Missing, noun
            if noun.changeable:
                assert refused(place, Change(noun, noun)) is Missing, noun

    def test_what_others_set_up_is_listed(self, place: Place) -> None:
        """The addresses of the uplink are found although the driver did not add them."""
        need(place, address("10.1.0.1/24"))
        for noun in (address(str(ADDRESS)), address(str(ADDRESS6))):
            assert is_there(place, noun)
            assert refused(place, Add(noun)) is Exists


class PathTests(BackendTests):
    def test_which_way_the_host_would_go(self, place: Place) -> None:
        """``find`` returns the link and source address of a path; no snapshot lists paths."""
        need(place, _PATH)
        add(
            place,
            BRIDGE,
            address("10.1.0.1/24", "br"),
            address("192.0.2.77/24"),
            address("192.0.2.201/29"),
            address("2001:db8::77/64"),
            route("10.3.0.0/24", "192.0.2.9"),
            route("2001:db8:3::/64", "2001:db8::9"),
        )
        wanted = [
            Path(remote=ip_address(remote), link=link, source=ip_address(source))
            for remote, link, source in _WAYS
        ]
        end = time.monotonic() + 5
        # Linux routes a new IPv6 address to lo a moment later (addrconf_dad_work).
        while (found := [*map(place.driver.find, wanted)]) != wanted and time.monotonic() < end:
            time.sleep(0.01)
        assert found == wanted
        assert place.driver.snapshot([Path]) == {}
        assert place.driver.snapshot().keys().isdisjoint(path.key for path in wanted)

    def test_there_may_be_no_way(self, place: Place) -> None:
        """Without a route the path is None."""
        need(place, _PATH)
        for remote, destination in (("198.51.100.9", "0.0.0.0/0"), ("2001:db8:9::9", "::/0")):
            assert place.driver.find(Path(remote=ip_address(remote))) is None
            via = route(destination, "192.0.2.9" if "." in remote else "2001:db8::9")
            add(place, via)
            assert isinstance(place.driver.find(Path(remote=ip_address(remote))), Path)
            remove(place, via)
            assert place.driver.find(Path(remote=ip_address(remote))) is None

    def test_a_route_without_a_source_has_the_links_first_address(self, place: Place) -> None:
        """An IPv4 route without a source uses the first address of its link."""
        need(place, _PATH)
        add(place, route("203.0.113.0/24"), address("203.0.113.1/24", UPLINK))
        path = Path(remote=ip_address("203.0.113.9"), link=UPLINK, source=ADDRESS.ip)
        assert place.driver.find(path) == path

    def test_paths_are_found_and_never_made(self, place: Place) -> None:
        """Paths are carried, but Add, Change and Remove of one are ``Unsupported``."""
        need(place, _PATH)
        found = place.driver.find(_PATH)
        assert found == _PATH
        assert Path in place.driver.carries
        for operation in (Add(found), Change(found, found), Remove(found)):
            assert refused(place, operation) is Unsupported


class SysctlTests(BackendTests):
    def test_a_parameter_changes_and_back(self, place: Place) -> None:
        """A parameter is found, changed on the host, and found as changed."""
        need(place, _FORWARD)
        old = place.driver.find(_FORWARD)
        assert isinstance(old, Sysctl)
        new = replace(old, value="0" if old.value == "1" else "1")
        do(place, Change(new, old))
        assert place.setting(_FORWARDING) == new.value
        assert is_there(place, new)
        do(place, Change(old, new))
        assert is_there(place, old)
        assert place.setting(_FORWARDING) == old.value

    def test_the_forwarding_parameters_are_listed(self, place: Place) -> None:
        """A snapshot contains the two forwarding parameters only."""
        need(place, _FORWARD)
        listed = {key[1] for key in place.driver.snapshot([Sysctl])}
        assert listed == {_FORWARDING, "net.ipv6.conf.all.forwarding"}

    def test_a_parameter_of_a_link(self, place: Place) -> None:
        """It exists while its link does; a slash stands for a dot in the link's name."""
        need(place, _FORWARD)
        add(place, Bridge(name="br.7"))
        old = Sysctl(name="net.ipv4.conf.br/7.proxy_arp", value="0")
        assert place.driver.find(old) == old
        new = replace(old, value="1")
        do(place, Change(new, old))
        assert place.driver.find(old) == new
        remove(place, Bridge(name="br.7"))
        assert place.driver.find(old) is None
        assert refused(place, Change(new, old)) is Missing

    def test_a_parameter_always_exists(self, place: Place) -> None:
        """Add and Remove of a parameter are ``Unsupported``."""
        need(place, _FORWARD)
        noun = replace(_FORWARD, value="1")
        assert refused(place, Add(noun)) is Unsupported
        assert refused(place, Remove(noun)) is Unsupported
        assert place.setting(_FORWARDING) == "0"

    def test_a_parameter_that_does_not_exist(self, place: Place) -> None:
        """An unknown parameter is not found, and a Change of it is ``Missing``."""
        need(place, _FORWARD)
        for name in _UNKNOWN:
            noun = Sysctl(name=name, value="1")
            assert place.driver.find(noun) is None
            assert refused(place, Change(noun, noun)) is Missing, name
            assert place.driver.find(noun) is None

    def test_what_is_no_parameter_of_a_namespace(self, place: Place) -> None:
        """Anything outside /proc/sys/net is neither read nor written."""
        need(place, _FORWARD)
        for name in _OUTSIDE:
            noun = Sysctl(name=name, value="1")
            assert place.driver.find(noun) is None
            cls = refused(place, Change(noun, noun))
            assert issubclass(cls, (Unsupported, Missing, InvalidRequest, Rejected)), name
            assert refused(place, Add(noun)) is Unsupported, name

    def test_a_value_that_cannot_be(self, place: Place) -> None:
        """An impossible value is ``Rejected``, and the parameter stays as it was."""
        need(place, _FORWARD)
        for value in ("", "x", "99999999999"):
            wrong = replace(_FORWARD, value=value)
            assert refused(place, Change(wrong, _FORWARD)) is Rejected
        assert place.setting(_FORWARDING) == "0"
