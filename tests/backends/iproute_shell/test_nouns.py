"""Every noun as netlink sees it, and what only ``ip`` reads in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Bridge,
    Change,
    Exists,
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
    Veth,
)
from tests.conftest import ip

from .conftest import names, view
from .nouns import CHANGES, GROUND, LINKS, NON_LINKS, TAP

pytestmark = [pytest.mark.kernel, pytest.mark.sampled]

Done = Callable[..., Any]


@pytest.fixture(autouse=True)
def ground(done: Done) -> None:
    done(*map(Add, GROUND))


@pytest.mark.parametrize("noun", [*LINKS, *NON_LINKS], ids=str)
def test_netlink_sees_what_comes_and_goes(
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


@pytest.mark.parametrize("noun", [*LINKS, *NON_LINKS], ids=str)
def test_what_netlink_makes_is_the_same(
    backend: IprouteShellBackend, seen: NetlinkBackend, noun: Noun
) -> None:
    assert seen.apply([Add(noun)]).errors == {}
    assert view(backend, noun) == view(seen, noun)
    assert backend.apply([Remove(noun)]).errors == {}
    assert seen.find(noun) is None


@pytest.mark.parametrize(("old", "fields"), CHANGES, ids=str)
def test_netlink_sees_what_changes(
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
    made = [noun for noun in [*LINKS, *NON_LINKS] if isinstance(noun, Noun)]
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


def test_paths_are_those_of_netlink(backend: IprouteShellBackend, seen: NetlinkBackend) -> None:
    for text in ("10.1.0.9", "10.1.0.1", "172.16.0.1", "127.0.0.1", "fd77::1"):
        path = Path(remote=ip_address(text))
        assert backend.find(path) == seen.find(path)
    assert isinstance(backend.find(Path(remote=ip_address("10.1.0.9"))), Path)
    assert backend.snapshot([Path]) == {}


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


def test_a_sysctl_of_several_values(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done
) -> None:
    wanted = Sysctl(name="net.ipv4.tcp_rmem")
    old = backend.find(wanted)
    assert isinstance(old, Sysctl)
    assert old == seen.find(wanted)
    done(Change(replace(old, value="4096 131072 6291456"), old))


# Looking up


def test_netlink_sees_the_same_of_a_moved_peer(
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


def test_an_index_is_no_name(backend: IprouteShellBackend, netns: str) -> None:
    """Where no link is called so, ``ip`` takes if2 for the link with index 2."""
    bridge = backend.find(Link(name="br"))
    assert isinstance(bridge, Bridge)
    name = f"if{bridge.index}"
    assert backend.find(Link(name=name)) is None
    dependents: list[Any] = [noun for noun in NON_LINKS if noun.within == bridge.key]
    nouns: list[Noun] = [replace(noun, link=name) for noun in dependents]
    nouns += [replace(TAP, master=name), Macvtap(name="m", lower=name)]
    for noun in nouns:
        assert backend.find(noun) is None
        assert isinstance(backend.apply([Add(noun)]).error, Missing), noun
    assert isinstance(backend.apply([Remove(replace(bridge, name=name))]).error, Missing)
    assert "br" in names(netns)
