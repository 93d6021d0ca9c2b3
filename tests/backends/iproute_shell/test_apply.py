"""Applying operations: all or nothing, errors by class, strangers left alone."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    LINK_GROUP,
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
    Link,
    Macvtap,
    Missing,
    Neighbour,
    Noun,
    Operation,
    ProxyNeighbour,
    Rejected,
    Remove,
    Route,
    Tap,
    Timeout,
    Unsupported,
    Veth,
    Vxlan,
)
from snnet.contract.links import DYING_GROUPS
from snnet.system.process import Completed
from tests.conftest import ip, kernel_has

from .conftest import Opener, names, runner
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


# All or nothing


class Broken:
    """Stands for the runner: the n-th command that changes something fails, or is killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, *, killed: bool) -> None:
        self.commands: list[str] = []
        self.hit = False
        self._step, self._killed = step, killed
        self._real = runner()
        monkeypatch.setattr(shell, "run", self)

    def __call__(self, argv: list[str], **options: Any) -> Completed:
        if "-json" in argv or self.hit:
            return self._real(argv, **options)
        batch = argv[:2] == ["ip", "-batch"]
        lines = options["input"].splitlines() if batch else [" ".join(argv)]
        self.commands += lines
        left = self._step - (len(self.commands) - len(lines))
        if left > len(lines):
            return self._real(argv, **options)
        self.hit = True
        if batch and left > 1:
            text = "".join(f"{line}\n" for line in lines[: left - 1])
            assert self._real(argv, **{**options, "input": text}).returncode == 0
        if self._killed:
            raise Timeout("killed after 30 s")
        said = f"Command failed -:{left}\n" if batch else ""
        return Completed(2, "", f"RTNETLINK answers: Device or resource busy\n{said}")


ALL_OR_NOTHING: list[Link] = [
    BRIDGE,
    VXLAN,
    Tap(name="t", alias="a tap", mtu=1400),
    Tap(name="t", alias="a tap, #1", proxy_arp=True),
    Veth(name="v", peer="p", alias="a veth", proxy_arp=True),
    Macvtap(name="m", lower="up", alias="a macvtap"),
]


@pytest.mark.parametrize("noun", ALL_OR_NOTHING, ids=str)
@pytest.mark.parametrize("step", range(2, 7))
@pytest.mark.parametrize("killed", [False, True], ids=["refused", "killed"])
def test_no_half_link_stays(
    backend: IprouteShellBackend,
    done: Done,
    monkeypatch: pytest.MonkeyPatch,
    netns: str,
    noun: Link,
    step: int,
    killed: bool,
) -> None:
    """Each command after the one that makes the link fails in turn."""
    done(Add(Veth(name="up", peer="up2")))
    before = names(netns)
    broken = Broken(monkeypatch, step, killed=killed)
    outcome = backend.apply([Add(noun)])
    if not broken.hit:
        assert outcome.done == {0}
        assert len(broken.commands) < step
        return
    assert outcome.done == set()
    assert outcome.error is not None
    if killed and isinstance(noun, Tap) and step == 2 and "#" not in noun.alias:
        # Killed before its group was set: what is left cannot be told from a stranger's.
        assert names(netns) - before == {noun.name}
    else:
        assert names(netns) == before


def test_who_is_killed_leaves_what_was_there(
    backend: IprouteShellBackend, done: Done, monkeypatch: pytest.MonkeyPatch, netns: str
) -> None:
    """A command that took too long may not have made the link of that name."""
    taken = [replace(BRIDGE, name="b"), Tap(name="t", alias="ours"), Bridge(name="g", group=0)]
    done(*map(Add, taken))
    for noun in taken:
        Broken(monkeypatch, 1, killed=True)
        assert isinstance(backend.apply([Add(noun)]).error, Timeout)
    assert names(netns) == {"b", "t", "g"}


def test_an_undoing_goes_by_index(
    backend: IprouteShellBackend, done: Done, monkeypatch: pytest.MonkeyPatch, netns: str
) -> None:
    """Unless a link is called as ``ip`` writes an index."""
    Broken(monkeypatch, 2, killed=False)
    ran: list[list[str]] = []
    real = runner()

    def run(argv: list[str], **options: Any) -> Completed:
        ran.append(argv)
        return real(argv, **options)

    monkeypatch.setattr(shell, "run", run)
    assert backend.apply([Add(BRIDGE)]).error is not None
    assert re.fullmatch(r"if\d+", ran[-1][-1])
    assert names(netns) == set()
    done(Add(Bridge(name="ifx")))
    found = backend.find(("link", "ifx"))
    assert isinstance(found, Link)
    decoy = f"if{found.index + 2}"
    done(Add(Bridge(name=decoy)))
    Broken(monkeypatch, 2, killed=False)
    assert backend.apply([Add(BRIDGE)]).error is not None
    assert names(netns) == {"ifx", decoy}


def test_half_a_change_is_put_back(
    backend: IprouteShellBackend, seen: NetlinkBackend, done: Done
) -> None:
    old = Tap(name="t", mac="fe:00:00:00:00:01", mtu=1400, alias="old")
    done(Add(old))
    before = seen.snapshot()
    new = replace(old, mac="fe:00:00:00:00:02", mtu=100000, alias="new")
    assert isinstance(backend.apply([Change(new, old)]).error, Rejected)
    assert seen.snapshot() == before


def test_a_failed_add_leaves_the_stranger(backend: IprouteShellBackend, netns: str) -> None:
    """One that looks as ours would half-way, and the tap's two commands in one process."""
    ip("tuntap", "add", "t", "mode", "tap", netns=netns)
    ip("link", "add", "v", "group", str(LINK_GROUP), "type", "veth", "peer", "p", netns=netns)
    for noun in (Tap(name="t", alias="x"), Tap(name="t", alias="#"), Veth(name="v", alias="x")):
        assert isinstance(backend.apply([Add(noun)]).error, Exists)
        bad = replace(noun, master="none")
        assert isinstance(backend.apply([Add(bad)]).error, Missing)
    assert {"t", "v"} <= names(netns)


def test_strangers_are_never_hit(backend: IprouteShellBackend, done: Done, netns: str) -> None:
    """Links without a group, of our group, with a copied alias, with our name."""
    taps = [Tap(name=f"t{n}", alias="ours") for n in range(6)]
    done(*map(Add, taps))
    ip("link", "add", "copied", "type", "bridge", netns=netns)
    ip("link", "set", "copied", "group", str(LINK_GROUP), "alias", "ours", netns=netns)
    for n, words in enumerate((["alias", "theirs"], ["group", "5"], ["alias", ""])):
        ip("link", "set", f"t{n}", *words, netns=netns)
    ip("link", "del", "t3", netns=netns)
    ip("link", "add", "t3", "type", "ifb", netns=netns)
    changes = [Change(replace(tap, mtu=1300), tap) for tap in taps[:4]]
    assert backend.apply(changes, keep_going=True).done == set()
    outcome = backend.apply(
        list(map(Remove, [*taps, Tap(name="copied", alias="ours")])), keep_going=True
    )
    assert outcome.done == {4, 5}
    assert all(isinstance(error, Missing) for error in outcome.errors.values())
    assert names(netns) == {"copied", "t0", "t1", "t2", "t3"}


def test_a_link_that_netlink_was_about_to_delete_is_still_ours(done: Done, netns: str) -> None:
    tap = Tap(name="t", alias="ours")
    done(Add(tap))
    ip("link", "set", "dev", "t", "group", str(DYING_GROUPS[5]), netns=netns)
    done(Remove(tap))
    assert names(netns) == set()


# Several operations


def test_the_first_error_ends_the_work(backend: IprouteShellBackend, netns: str) -> None:
    nouns: list[Noun] = [BRIDGE, Tap(name="t", master="none"), VXLAN]
    outcome = backend.apply([Add(noun) for noun in nouns])
    assert outcome.done == {0}
    assert set(outcome.errors) == {1}
    assert names(netns) == {"br"}


def test_keep_going(backend: IprouteShellBackend, netns: str) -> None:
    nouns: list[Noun] = [BRIDGE, Tap(name="t", master="none"), VXLAN]
    assert backend.apply([Add(noun) for noun in nouns], keep_going=True).done == {0, 2}
    outcome = backend.apply([Remove(noun) for noun in nouns], keep_going=True)
    assert outcome.done == {0, 2}
    assert isinstance(outcome.errors[1], Missing)
    assert names(netns) == set()


@pytest.mark.parametrize("stop_at", range(4))
def test_check_stops_before_an_operation(backend: IprouteShellBackend, stop_at: int) -> None:
    calls: list[int] = []

    def check() -> None:
        if len(calls) == stop_at:
            raise Timeout("too late")
        calls.append(1)

    outcome = backend.apply([Add(Tap(name=f"t{n}")) for n in range(3)], check=check)
    assert outcome.done == set(range(min(stop_at, 3)))
    assert isinstance(outcome.error, Timeout) == (stop_at < 3)


def test_both_ends_of_a_veth(backend: IprouteShellBackend, done: Done) -> None:
    """The second end went with the first."""
    done(Add(Veth(name="v", peer="p")))
    peer = backend.find(("link", "p"))
    assert peer is not None
    outcome = backend.apply([Remove(Veth(name="v")), Remove(peer)])
    assert outcome.done == {0}
    assert isinstance(outcome.errors[1], Missing)


def test_of_many_who_add_one_link_one_wins(backend: IprouteShellBackend) -> None:
    outcomes: list[Any] = []

    def work(n: int) -> None:
        outcomes.append(backend.apply([Add(Tap(name="t", alias=str(n)))]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.done == {0} for outcome in outcomes) == 1
    assert all(isinstance(o.error, Exists) for o in outcomes if o.errors)


def test_nothing_is_kept_open(open_driver: Opener, netns: str) -> None:
    backend = open_driver(IprouteShellBackend, netns)
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        backend.apply([Add(BRIDGE), Add(Tap(name="t")), Add(BRIDGE)])
        backend.snapshot()
        backend.apply([Remove(BRIDGE), Remove(Tap(name="t"))])
    assert len(os.listdir("/proc/self/fd")) == files
    assert threading.active_count() == threads
    backend.close()
    backend.close()


def test_a_listing_that_was_interrupted_is_read_again(
    backend: IprouteShellBackend, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(Add(BRIDGE))
    real, times = runner(), [0]

    def run(argv: list[str], **options: Any) -> Completed:
        times[0] += 1
        answer = real(argv, **options)
        said = "Dump was interrupted and may be inconsistent.\n" if times[0] < 3 else ""
        return replace(answer, stderr=said)

    monkeypatch.setattr(shell, "run", run)
    assert ("link", "br") in backend.snapshot([Bridge])
    assert times == [3]


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
