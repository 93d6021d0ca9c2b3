"""Applying operations: all or nothing, strangers left alone, one after the other."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Change,
    Exists,
    Link,
    Macvtap,
    Missing,
    Noun,
    Rejected,
    Remove,
    Tap,
    Timeout,
    Veth,
    Vxlan,
)
from snnet.contract.links import DYING_GROUPS
from snnet.system.process import Completed
from tests.conftest import ip

from .conftest import Opener, names, runner
from .nouns import V4

pytestmark = pytest.mark.kernel

Done = Callable[..., Any]

BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")
VXLAN = Vxlan(name="vx", vni=7, port=16384, mtu=1400, alias="a tunnel", **V4)


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
    found = backend.find(Link(name="ifx"))
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
    peer = backend.find(Link(name="p"))
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
