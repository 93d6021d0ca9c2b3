"""Errors: of the class that netlink gives for the same mistake, and gaps declared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Address,
    ApiError,
    Bridge,
    Change,
    DhcpScope,
    Exists,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Macvtap,
    Missing,
    Neighbour,
    Operation,
    ProxyNeighbour,
    Rejected,
    Remove,
    Route,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
)
from snnet.system.process import Completed
from tests.conftest import kernel_has

from .conftest import names
from .nouns import V4, V6

pytestmark = pytest.mark.kernel

Done = Callable[..., Any]

MAC = "02:00:00:00:00:0c"
BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")
VXLAN = Vxlan(name="vx", vni=7, port=16384, mtu=1400, alias="a tunnel", **V4)
GRETAP = Gretap(name="gt", tunnel_key=7, **V4)
FDB = Fdb(link="vx", mac=MAC, remote=V4["remote"])


def neighbour(link: str, lladdr: str, address: str = "10.0.0.1") -> Neighbour:
    return Neighbour(link=link, address=ip_address(address), lladdr=lladdr)


def route(destination: str, link: str, gateway: str | None = None) -> Route:
    via = ip_address(gateway) if gateway else None
    return Route(destination=ip_network(destination), link=link, gateway=via)


def address(text: str, link: str) -> Address:
    return Address(link=link, address=ip_interface(text))


MISTAKES: list[Operation] = [
    Add(Tap(name="t", master="none")),
    Add(Tap(name="br", master="none")),
    Add(Tap(name="t", master="lo")),
    Add(Veth(name="v", peer="p", master="none")),
    Add(Veth(name="v", peer="br")),
    Add(Veth(name="v", peer="v")),
    Add(Veth(name="v", peer="a/b")),
    Add(Macvtap(name="m", lower="none")),
    Add(Macvtap(name="m", lower="lo")),
    Add(Macvtap(name="br", lower="none")),
    Add(Macvtap(name="m", lower="br", mode="odd")),
    Add(Macvtap(name="br", lower="br")),
    Add(Macvtap(name="m", lower="br", mtu=1451)),
    Add(Bridge(name="b", master="br")),
    Add(Bridge(name="x" * 16)),
    Add(Tap(name="x" * 16)),
    Add(Tap(name="tap%d")),
    Add(Bridge(name="br%d")),
    Add(Bridge(name="")),
    Add(Tap(name="")),
    Add(Bridge(name="a/b")),
    Add(Bridge(name="a b")),
    Add(Bridge(name="all")),
    Add(Tap(name="a\0b")),
    Add(Tap(name="t", mac="no mac")),
    Add(Tap(name="t", mac="01:00:00:00:00:01")),
    Add(replace(VXLAN, name="v", vni=8, mac="01:00:00:00:00:01")),
    Add(Veth(name="v", peer="p", peer_mac="02:00")),
    Add(Veth(name="v", peer="p", peer_mtu=1 << 40)),
    Add(Tap(name="t", mtu=1 << 40)),
    Add(Tap(name="t", mtu=67)),
    Add(Tap(name="t", mtu=70000)),
    Add(Bridge(name="b", mtu=70000)),
    Add(Bridge(name="b", alias="x" * 256)),
    Add(Tap(name="t", alias="x" * 256)),
    Add(replace(VXLAN, name="v", vni=8, mtu=70000)),
    Add(replace(VXLAN, name="v", vni=1 << 24)),
    Add(replace(VXLAN, name="v", vni=8, ttl=256)),
    Add(replace(VXLAN, name="v", vni=8, port=1 << 16)),
    Add(replace(VXLAN, name="v", local=ip_address("::1"))),
    Add(replace(VXLAN, name="v")),
    Add(replace(VXLAN, name="v", vni=8, remote=ip_address("239.1.1.1"))),
    Add(replace(GRETAP, remote=V6["remote"])),
    Add(Gre(name="g", local=V6["local"], tunnel_key=7)),
    Add(Tap(name="br")),
    Add(Bridge(name="lo")),
    Remove(Tap(name="br")),
    Remove(Bridge(name="br")),
    Remove(replace(BRIDGE, group=0)),
    Remove(Bridge(name="none")),
    Change(Bridge(name="br", mtu=70000), Bridge(name="br")),
    Change(replace(BRIDGE, mtu=70000), BRIDGE),
    Change(replace(BRIDGE, mtu=1), BRIDGE),
    Change(replace(BRIDGE, mac="01:00:00:00:00:01"), BRIDGE),
    Change(replace(BRIDGE, master="none"), BRIDGE),
    Change(replace(BRIDGE, alias="x" * 256), BRIDGE),
    Change(replace(VXLAN, vni=8), VXLAN),
    Change(replace(VXLAN, name="vx2"), VXLAN),
    Add(address("10.0.0.1/24", "none")),
    Add(address("10.1.0.1/24", "br")),
    Add(address("fd01::1/64", "br")),
    Add(address("ff02::1/128", "br")),
    Add(address("fd09::1/64", "small")),
    Remove(address("10.9.0.1/24", "br")),
    Remove(address("fd01::9/64", "br")),
    Remove(address("fd01::9/64", "small")),
    Remove(address("10.9.0.1/24", "none")),
    Change(address("10.1.0.1/24", "br"), address("10.1.0.1/24", "br")),
    Add(route("10.0.0.0/8", "none")),
    Add(route("10.2.0.0/24", "br", "172.16.0.1")),
    Add(route("10.2.0.0/24", "br", "10.1.0.255")),
    Add(route("10.2.0.0/24", "br", "fd01::9")),
    Add(route("fd02::/64", "br", "fd09::9")),
    Add(route("10.2.0.0/24", "down")),
    Add(route("fd02::/64", "small")),
    Remove(route("10.2.0.0/24", "br")),
    Remove(route("10.2.0.0/24", "none")),
    Add(neighbour("none", MAC)),
    Add(neighbour("br", "no mac")),
    Add(neighbour("br", "192.0.2.1")),
    Add(neighbour("small", MAC, "fd01::9")),
    Remove(neighbour("br", MAC)),
    Change(neighbour("br", MAC), neighbour("br", MAC)),
    Add(ProxyNeighbour(link="none", address=ip_address("10.0.0.1"))),
    Remove(ProxyNeighbour(link="br", address=ip_address("10.0.0.1"))),
    Add(replace(FDB, link="br")),
    Add(replace(FDB, link="none")),
    Add(replace(FDB, mac="no mac")),
    Add(replace(FDB, remote=V6["remote"])),
    Remove(FDB),
    Change(FDB, FDB),
    Add(DhcpScope(link="br", subnet=IPv4Network("10.0.0.0/24"), mtu=1500)),
]


@pytest.fixture
def ground(done: Done, netns: str) -> None:
    done(Add(BRIDGE), Add(VXLAN), Add(Tap(name="down", up=False)), Add(Tap(name="small", mtu=68)))
    done(Add(address("10.1.0.1/24", "br")), Add(address("fd01::1/64", "br")))


@pytest.mark.usefixtures("ground")
def test_the_class_of_an_error(
    backend: IprouteShellBackend, seen: NetlinkBackend, netns: str
) -> None:
    """That of the netlink backend, for the same mistake; nothing is left."""
    before, nouns = names(netns), seen.snapshot()
    differ = {}
    for operation in MISTAKES:
        outcome = backend.apply([operation])
        assert outcome.done == set(), operation
        expected = seen.apply([operation]).error
        error = outcome.error
        assert error is not None
        if type(error) is not type(expected):
            differ[str(operation)] = (error, expected)
        assert names(netns) == before, operation
        assert seen.snapshot() == nouns, operation
    assert differ == {}


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(
    ("operation", "cls", "words"),
    [
        (Add(Tap(name="t", master="none")), Missing, "there is no link none"),
        (Add(Bridge(name="b", alias="x" * 256)), Rejected, "ERANGE.*255 bytes"),
        (Add(Bridge(name="br")), Exists, "add bridge br up: File exists .EEXIST.: RTNETLINK"),
        (Remove(Bridge(name="br")), Missing, "somebody else's"),
        (Change(replace(BRIDGE, mtu=1), BRIDGE), Rejected, "mtu less than device minimum"),
        (Add(Tap(name="t", queues=4, multi_queue=True)), Unsupported, "set backend 'netlink'"),
        (Add(Tap(name="br", queues=4, multi_queue=True)), Exists, "EEXIST"),
        (Add(Tap(name="t", queues=257, multi_queue=True)), Rejected, "1 to 256"),
    ],
    ids=str,
)
def test_the_message_says_why(
    backend: IprouteShellBackend, operation: Operation, cls: type[Exception], words: str
) -> None:
    error = backend.apply([operation]).error
    assert isinstance(error, ApiError)
    assert type(error) is cls
    assert re.search(words, str(error))


@pytest.mark.needs("geneve")
@pytest.mark.needs("gretap")
def test_one_tunnel_a_key_and_remote(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done
) -> None:
    for noun in (Geneve(name="gn", remote=V4["remote"], vni=7), GRETAP):
        done(Add(noun))
        again = Add(replace(noun, name="again"))
        error, expected = backend.apply([again]).error, seen.apply([again]).error
        assert type(error) is type(expected)


def test_kinds_that_are_missing_are_declared(backend: IprouteShellBackend, netns: str) -> None:
    reason = backend.missing(GRETAP)
    if kernel_has("gretap"):
        assert reason is None
    else:
        assert reason == "this kernel has no gretap: load ip_gre or set tunnel 'vxlan'"
        assert isinstance(backend.apply([Add(GRETAP)]).error, Unsupported)
    scope = DhcpScope(link="br", subnet=IPv4Network("10.0.0.0/24"), mtu=1500)
    assert "does not carry DhcpScope" in (backend.missing(scope) or "")
    assert "multipoint" in (backend.missing(Gre(name="g", local=V6["local"], tunnel_key=1)) or "")
    assert "set backend 'netlink'" in (backend.missing(Tap(name="t", queues=2)) or "")
    assert backend.missing(Tap(name="t", multi_queue=True, proxy_arp=True)) is None
    assert names(netns) == set()


def test_watching_is_declared(backend: IprouteShellBackend) -> None:
    with pytest.raises(Unsupported, match="compare snapshots"):
        backend.watch()


def test_without_the_programs(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnet.backends.iproute_shell import support
    from snnet.system import process

    for module in (process, support):
        monkeypatch.setattr(module, "find_program", lambda name: None)
    for noun in (BRIDGE, FDB, route("10.0.0.0/8", "br")):
        assert "apt-get install iproute2" in (backend.missing(noun) or "")
    error = backend.apply([Add(BRIDGE)]).error
    assert isinstance(error, Unsupported)
    assert "apt-get install iproute2" in str(error)


def test_an_ip_of_busybox_is_none(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(1, "", "BusyBox v1.35.0"))
    assert "is not that of iproute2" in (backend.missing(BRIDGE) or "")


def test_words_that_nobody_knows_are_passed_on(
    backend: IprouteShellBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(2, "", "Error: Oops.\n"))
    error = backend.apply([Add(Bridge(name="b"))]).error
    assert type(error) is ApiError
    assert str(error) == "cannot add bridge b up: Error: Oops."
    assert error.errno is None
    monkeypatch.setattr(shell, "run", lambda argv, **_: Completed(-9, "", ""))
    with pytest.raises(Exception, match="killed by signal 9"):
        backend.snapshot([Bridge])
