"""Every noun: added, found, listed, changed, removed; netlink sees the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    DhcpScope,
    Exists,
    Fdb,
    Gre,
    Link,
    Macvtap,
    Missing,
    Neighbour,
    Noun,
    Other,
    Path,
    Remove,
    Route,
    Sysctl,
    Tap,
    Unsupported,
    Veth,
)
from tests.conftest import ip

from .conftest import KERNELS_OWN, names, view
from .nouns import BESIDE, CHANGES, GROUND, LINKS, TAP, V4

pytestmark = pytest.mark.kernel

Done = Callable[..., Any]


@pytest.fixture(autouse=True)
def ground(done: Done) -> None:
    done(*map(Add, GROUND))


@pytest.mark.parametrize("noun", [*LINKS, *BESIDE], ids=str)
def test_comes_and_goes(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done, noun: Noun
) -> None:
    assert backend.missing(noun) is None
    assert backend.find(noun) is None
    done(Add(noun))
    found = backend.find(noun)
    assert found is not None
    assert not noun.differences(found)
    assert view(backend, noun) == view(seen, noun)
    assert isinstance(backend.apply([Add(noun)]).error, Exists)
    assert view(backend, noun) == view(seen, noun)
    done(Remove(noun))
    assert view(backend, noun) is None
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)


@pytest.mark.parametrize("noun", [*LINKS, *BESIDE], ids=str)
def test_what_netlink_makes_is_the_same(
    backend: IprouteShellBackend, seen: NetlinkBackend, noun: Noun
) -> None:
    assert seen.apply([Add(noun)]).errors == {}
    assert view(backend, noun) == view(seen, noun)
    assert backend.apply([Remove(noun)]).errors == {}
    assert seen.find(noun) is None


@pytest.mark.parametrize(("old", "fields"), CHANGES, ids=str)
def test_changes_and_back(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done, old: Noun, fields: Any
) -> None:
    new = replace(old, **fields)
    assert isinstance(backend.apply([Change(new, old)]).error, Missing)
    done(Add(old))
    for operation in (Change(new, old), Change(new, old).inverse()):
        done(operation)
        found = backend.find(old)
        assert found is not None
        assert not operation.noun.differences(found)
        assert view(backend, old) == view(seen, old)


def test_the_whole_host_looks_the_same(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done, netns: str
) -> None:
    made = [noun for noun in [*LINKS, *BESIDE] if isinstance(noun, Noun)]
    done(*(Add(noun) for noun in made if noun.key not in [("link", "mv")]))
    ip("link", "add", "ifb9", "type", "ifb", netns=netns)
    ip("tuntap", "add", "tun9", "mode", "tun", netns=netns)
    ip("link", "add", "mv9", "link", "up", "type", "macvlan", netns=netns)
    ip("link", "add", "vx9", "type", "vxlan", "external", "dstport", "4790", netns=netns)
    mv9 = seen.find(Link(name="mv9"))
    assert isinstance(mv9, Other)
    outcome = seen.apply([Change(replace(mv9, group=0xFFFFFFFE, alias='a\\b"c\td'), mv9)])
    assert outcome.error is None
    ip("route", "add", "10.6.0.0/24", "dev", "br", "metric", "50", netns=netns)
    ip("route", "add", "blackhole", "10.7.0.0/24", netns=netns)
    ip("route", "add", "10.8.0.0/24", "tos", "8", "dev", "br", netns=netns)
    ip("route", "add", "10.9.0.0/24", "nexthop", "dev", "br", "nexthop", "dev", "up", netns=netns)
    ip("neigh", "add", "10.1.0.77", "lladdr", "02:00:00:00:00:aa", "dev", "br", netns=netns)
    ours, theirs = backend.snapshot(), seen.snapshot()
    assert {key: noun.to_dict() for key, noun in ours.items()} == {
        key: noun.to_dict() for key, noun in theirs.items()
    }
    for types in ([Link], [Tap, Veth], [Other], [Route, Neighbour], [Sysctl], [Noun], []):
        assert backend.snapshot(types) == seen.snapshot(types)
    for noun in theirs.values():
        assert backend.find(noun) == seen.find(noun)


def test_the_kernels_own_objects_are_left_out(backend: IprouteShellBackend) -> None:
    found = backend.snapshot().values()
    assert not [n for n in found if isinstance(n, Address) and n.address.ip.is_link_local]
    assert not [n for n in found if isinstance(n, (Route, Fdb, Neighbour))]


def test_paths(backend: IprouteShellBackend, seen: NetlinkBackend, done: Done) -> None:
    for text in ("10.1.0.9", "10.1.0.1", "172.16.0.1", "127.0.0.1", "fd77::1"):
        path = Path(remote=ip_address(text))
        assert backend.find(path) == seen.find(path)
    assert isinstance(backend.find(Path(remote=ip_address("10.1.0.9"))), Path)
    assert backend.snapshot([Path]) == {}


def test_a_bridge_is_pinned(backend: IprouteShellBackend, done: Done) -> None:
    bridge = Bridge(name="pin", mac="02:00:00:00:00:31", mtu=1500)
    port = Tap(name="low", mac="00:00:00:00:00:01", mtu=1000, master="pin")
    done(Add(bridge), Add(port))
    found = backend.find(bridge)
    assert found is not None
    assert not bridge.differences(found)


@pytest.mark.parametrize(
    "noun", [Bridge(name="b"), Macvtap(name="m", lower="up"), Bridge(name="b", mtu=1280)], ids=str
)
def test_no_link_local_address(done: Done, netns: str, noun: Link) -> None:
    done(Add(noun))
    if isinstance(noun, Bridge):  # a carrier, without which the kernel would wait
        done(Add(Tap(name="p", master="b")))
    assert "inet6" not in ip("-6", "address", "show", "dev", noun.name, netns=netns)
    assert "addrgenmode none" in ip("-d", "link", "show", noun.name, netns=netns)


@pytest.mark.parametrize("noun", [Tap(name="r", proxy_arp=True), Veth(name="r", proxy_arp=True)])
def test_a_routed_link_answers_for_others(
    backend: IprouteShellBackend, done: Done, noun: Link
) -> None:
    done(Add(noun))
    for name, value in (("conf.r.proxy_arp", "1"), ("neigh.r.proxy_delay", "0")):
        found = backend.find(Sysctl(name=f"net.ipv4.{name}"))
        assert isinstance(found, Sysctl)
        assert found.value == value


def test_a_macvtap_has_an_index_out_of_everybodys_way(
    backend: IprouteShellBackend, done: Done
) -> None:
    done(Add(Macvtap(name="m", lower="up")))
    found = backend.find(Link(name="m"))
    assert isinstance(found, Macvtap)
    assert found.index >= 1 << 20


def test_a_learned_neighbour_gives_way(
    backend: IprouteShellBackend, done: Done, netns: str
) -> None:
    words = ["10.1.0.9", "lladdr", "02:00:00:00:00:aa", "dev", "br", "nud", "stale"]
    ip("neigh", "add", *words, netns=netns)
    noun = BESIDE[11]
    assert backend.find(noun) is None
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)
    done(Add(noun))
    assert backend.find(noun) == noun


def test_a_route_of_another_metric_is_a_strangers(backend: IprouteShellBackend, netns: str) -> None:
    ip("route", "add", "10.5.0.0/24", "dev", "br", "metric", "50", netns=netns)
    noun = Route(destination=ip_network("10.5.0.0/24"), link="br")
    assert backend.find(noun) is None
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)
    assert "10.5.0.0/24" in ip("route", netns=netns)


def test_an_entry_to_another_remote_stays(backend: IprouteShellBackend, done: Done) -> None:
    noun = BESIDE[15]
    assert isinstance(noun, Fdb)
    done(Add(noun))
    other = replace(noun, remote=ip_address("192.0.2.8"))
    assert isinstance(backend.apply([Remove(other)]).error, Missing)
    assert backend.find(noun) == noun


@pytest.mark.needs("gre")
def test_the_neighbours_of_a_multipoint_gre(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done
) -> None:
    done(Add(Gre(name="gre", local=V4["local"], tunnel_key=7)))
    noun = Neighbour(link="gre", address=ip_address("10.9.0.2"), lladdr="192.0.2.2")
    done(Add(noun))
    assert view(backend, noun) == view(seen, noun) == noun.to_dict()
    done(Remove(noun))


@pytest.mark.needs("gretap")
@pytest.mark.needs("ip6gretap")
@pytest.mark.needs("gre")
@pytest.mark.needs("geneve")
def test_tunnels_are_made_as_netlink_makes_them(
    done: Done, seen: NetlinkBackend, netns: str
) -> None:
    """Down to what no noun tells: TOS, checksums, path MTU discovery, limits."""
    for param in LINKS[-5:]:
        noun = replace(param.values[0], up=False)
        details = []
        for add in (lambda n: done(Add(n)), lambda n: seen.apply([Add(n)])):
            add(noun)
            shown = ip("-d", "-o", "link", "show", noun.name, netns=netns)
            details.append(shown.split(": ", 1)[1].replace("  ", " ").split())
            done(Remove(noun))
        assert details[0] == details[1]


# Sysctls


def test_a_sysctl(backend: IprouteShellBackend, done: Done) -> None:
    wanted = Sysctl(name="net.ipv4.ip_forward")
    old = backend.find(wanted)
    assert isinstance(old, Sysctl)
    new = replace(old, value="1" if old.value == "0" else "0")
    done(Change(new, old))
    assert backend.find(wanted) == backend.snapshot([Sysctl])[wanted.key] == new


def test_a_sysctl_of_several_values(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done
) -> None:
    wanted = Sysctl(name="net.ipv4.tcp_rmem")
    old = backend.find(wanted)
    assert isinstance(old, Sysctl)
    assert old == seen.find(wanted)
    done(Change(replace(old, value="4096 131072 6291456"), old))


def test_sysctls_of_links_with_dots_in_their_names(
    backend: IprouteShellBackend, done: Done
) -> None:
    done(Add(Bridge(name="br.7")))
    old = backend.find(Sysctl(name="net.ipv4.conf.br/7.proxy_arp"))
    assert isinstance(old, Sysctl)
    done(Change(replace(old, value="1"), old))
    assert backend.find(old) == replace(old, value="1")


NO_SYSCTLS = [
    "kernel.hostname",
    "net.../..kernel.x",
    "net",
    "net.no.such",
    "net.ipv4.ip_forward.x",
    "net.ipv4.route",
    "net.ipv4.*forward",
    "net.ipv4.ip_forward=1",
    "net.ipv4.ip_forward \0",
]


@pytest.mark.parametrize("name", NO_SYSCTLS)
def test_what_is_no_sysctl_of_a_namespace(backend: IprouteShellBackend, name: str) -> None:
    assert backend.find(Sysctl(name=name)) is None
    noun = Sysctl(name=name, value="1")
    assert backend.apply([Change(noun, noun)]).error is not None
    assert isinstance(backend.apply([Add(noun)]).error, Unsupported)


# Looking up


def test_foreign_links_are_others(backend: IprouteShellBackend, done: Done, netns: str) -> None:
    ip("tuntap", "add", "tun9", "mode", "tun", netns=netns)
    tun, loopback = backend.find(Link(name="tun9")), backend.find(Link(name="lo"))
    assert isinstance(tun, Other)
    assert isinstance(loopback, Other)
    assert {tun.kind, loopback.kind} == {"tun", "loopback"}
    assert isinstance(backend.apply([Add(tun)]).error, Unsupported)
    assert isinstance(backend.apply([Remove(loopback)]).error, Unsupported)
    assert isinstance(backend.apply([Remove(Tap(name="tun9", group=0))]).error, Missing)
    assert backend.missing(tun) == "links of kind tun are read, never made"
    assert "tun9" in names(netns)
    assert names(netns) & KERNELS_OWN == set()


def test_a_veth_whose_peer_has_moved(
    backend: IprouteShellBackend,
    seen: NetlinkBackend,
    done: Done,
    make_netns: Callable[[], str],
    netns: str,
) -> None:
    veth = Veth(name="v", peer="p", mtu=1400)
    done(Add(veth), Add(Macvtap(name="m", lower="p", mtu=1400)))
    other = make_netns()
    ip("link", "set", "dev", "m", "netns", other, netns=netns)
    ip("link", "set", "dev", "p", "netns", other, netns=netns)
    found = backend.find(veth)
    assert isinstance(found, Veth)
    assert found.peer is None
    assert view(backend, veth) == view(seen, veth)
    done(Remove(veth))


def test_a_macvtap_whose_lower_is_elsewhere(
    backend: IprouteShellBackend,
    seen: NetlinkBackend,
    make_netns: Callable[[], str],
    netns: str,
) -> None:
    other = make_netns()
    ip("link", "add", "low", "type", "bridge", netns=other)
    ip("link", "add", "link", "low", "name", "m", "type", "macvtap", netns=other)
    ip("link", "set", "dev", "m", "netns", netns, netns=other)
    found = backend.find(Link(name="m"))
    assert isinstance(found, Macvtap)
    assert found.lower.startswith("if")
    assert found == seen.find(found)


def test_a_link_group_that_has_a_name(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from snnet.backends.iproute_shell import found

    (tmp_path / "group").write_text("# groups\n0\tdefault\n0x736e6e74 snnet\n")
    monkeypatch.setattr(found, "_GROUP_FILES", (tmp_path / "none", tmp_path / "group"))
    row = {"ifname": "b", "ifindex": 3, "mtu": 1500, "flags": [], "group": "snnet"}
    assert found.link_noun(row).group == 0x736E6E74
    assert found.link_noun({**row, "group": "unheard-of"}).group == 0


def test_an_alternative_name_is_not_the_name(backend: IprouteShellBackend, netns: str) -> None:
    ip("link", "property", "add", "dev", "br", "altname", "other", netns=netns)
    assert backend.find(Link(name="other")) is None


def test_an_index_is_no_name(backend: IprouteShellBackend, netns: str) -> None:
    """Where no link is called so, ``ip`` takes if2 for the link with index 2."""
    bridge = backend.find(Link(name="br"))
    assert isinstance(bridge, Bridge)
    name = f"if{bridge.index}"
    assert backend.find(Link(name=name)) is None
    beside: list[Any] = [noun for noun in BESIDE if noun.within == bridge.key]
    nouns: list[Noun] = [replace(noun, link=name) for noun in beside]
    nouns += [replace(TAP, master=name), Macvtap(name="m", lower=name)]
    for noun in nouns:
        assert backend.find(noun) is None
        assert isinstance(backend.apply([Add(noun)]).error, Missing), noun
    assert isinstance(backend.apply([Remove(replace(bridge, name=name))]).error, Missing)
    assert "br" in names(netns)


def test_what_nothing_is_called(backend: IprouteShellBackend) -> None:
    nouns = [Link(name=name) for name in ("a/b", "a\0b", "")]
    nouns += [Fdb(link=name, mac="x", remote=ip_address("192.0.2.9")) for name in ("br", "mesh")]
    nouns.append(Neighbour(link="a\0b", address=ip_address("10.0.0.1"), lladdr=""))
    nouns.append(DhcpScope(link="br", subnet=IPv4Network("10.0.0.0/24"), mtu=1500))
    assert [backend.find(noun) for noun in nouns] == [None] * len(nouns)
