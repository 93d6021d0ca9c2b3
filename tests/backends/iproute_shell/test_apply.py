"""What is of commands: ones that fail or are killed, and listings that are interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Exists,
    Link,
    Macvtap,
    Missing,
    Tap,
    Timeout,
    Veth,
    Vxlan,
)
from snnet.system.process import Completed
from tests.conftest import ip

from .conftest import names, runner
from .nouns import V4

pytestmark = [pytest.mark.kernel, pytest.mark.sampled]

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
def test_a_command_that_fails_leaves_no_link(
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
        # Killed before its group was set: what is left looks like a foreign tap.
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


def test_a_failed_add_leaves_the_foreign_link(backend: IprouteShellBackend, netns: str) -> None:
    """One that looks as ours would half-way, and the tap's two commands in one process."""
    ip("tuntap", "add", "t", "mode", "tap", netns=netns)
    ip("link", "add", "v", "group", str(LINK_GROUP), "type", "veth", "peer", "p", netns=netns)
    for noun in (Tap(name="t", alias="x"), Tap(name="t", alias="#"), Veth(name="v", alias="x")):
        assert isinstance(backend.apply([Add(noun)]).error, Exists)
        bad = replace(noun, master="none")
        assert isinstance(backend.apply([Add(bad)]).error, Missing)
    assert {"t", "v"} <= names(netns)


# Listings


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
