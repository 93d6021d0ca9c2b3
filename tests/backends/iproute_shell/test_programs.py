"""Hosts without one of the programs: the error names it, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Change,
    Noun,
    Operation,
    Redirect,
    Shaper,
    Sysctl,
    Unsupported,
)
from snnet.system import process

from .conftest import state
from .nouns import CHANGES, GROUND, LINKS, NON_LINKS, TAP

pytestmark = pytest.mark.kernel

Done = Callable[..., Any]

FORWARD = Change(
    Sysctl(name="net.ipv4.ip_forward", value="1"), Sysctl(name="net.ipv4.ip_forward", value="0")
)
EVERY = [noun for noun in (*LINKS, *NON_LINKS) if isinstance(noun, Noun) and noun != TAP]
RATES = (Shaper(link="up", rate=50_000_000), Redirect(link="up", to="block"))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Take one program from the host, as far as snnet can see."""

    def hide(program: str) -> None:
        for name in ("ip", "bridge", "tc", "sysctl"):
            if name != program:
                os.symlink(process.find_program(name) or "", tmp_path / name)
        monkeypatch.setattr(process, "_SYSTEM_PATH", "")
        monkeypatch.setenv("PATH", str(tmp_path))

    return hide


@pytest.mark.parametrize(
    ("program", "package", "needing"),
    [
        ("ip", "iproute2", {type(noun).__name__ for noun in EVERY}),
        ("bridge", "iproute2", {"Fdb", "BridgeFdb"}),
        ("tc", "iproute2", {"Shaper", "Redirect"}),
        ("sysctl", "procps", {"Tap", "Veth", "Bridge", "Ifb", "Vxlan", "Sysctl"}),
    ],
)
def test_what_needs_a_missing_program(
    backend: IprouteShellBackend,
    seen: NetlinkBackend,
    done: Done,
    without: Callable[[str], None],
    program: str,
    package: str,
    needing: set[str],
) -> None:
    """It is declared, and refused whole; the rest works."""
    done(*map(Add, GROUND), Add(TAP))
    before = state(seen)
    without(program)
    message = f"the program '{program}' is not installed: apt-get install {package}"
    refused: set[str] = set()

    def works(operation: Operation) -> bool:
        error = backend.apply([operation]).error
        if error is None:
            assert seen.apply([operation.inverse()]).error is None
            return True
        assert type(error) is Unsupported, error
        assert message in str(error)
        assert state(seen) == before
        refused.add(type(operation.noun).__name__)
        return False

    for noun in EVERY:
        gap = backend.missing(noun)
        assert gap in (None, message)
        assert works(Add(noun)) == (gap is None), noun
    for old, fields in CHANGES:
        if old in (TAP, *GROUND):
            works(Change(replace(old, **fields), old))
    assert works(FORWARD) == (program != "sysctl")
    assert refused == needing


def test_a_host_without_tc_is_listed_while_it_has_no_limits(
    backend: IprouteShellBackend, done: Done, without: Callable[[str], None]
) -> None:
    """What only ``tc`` can read is asked for where there is a limit of ours."""
    done(*map(Add, GROUND))
    before = backend.snapshot()
    without("tc")
    assert backend.snapshot() == before
    assert [backend.find(noun) for noun in RATES] == [None, None]


def test_a_limit_that_only_tc_can_read(
    backend: IprouteShellBackend, done: Done, without: Callable[[str], None]
) -> None:
    """It is not taken for none."""
    done(*map(Add, GROUND), Add(RATES[0]))
    without("tc")
    for look in (backend.snapshot, lambda: backend.find(RATES[0])):
        with pytest.raises(Unsupported, match="'tc' is not installed: apt-get install iproute2"):
            look()
    assert backend.find(Shaper(link="br", rate=8_000)) is None
