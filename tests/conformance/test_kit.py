"""The kit itself: that it finds fault, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.backends.fake import FakeFirewall
from snnet.conformance import FirewallSuite, RealRig, Rig
from snnet.conformance.endpoints import A1, B1, C1, OUT, PORT, R1
from snnet.conformance.firewall.base import add, answer, forward, passes, remove_all, zone
from snnet.conformance.rig import Answer
from snnet.contract import Host, Noun
from snnet.firewall.none import NoFirewall

from .fake_rig import FakeRig


class _Gap(FakeFirewall):
    """Says it has a gap where it has none."""

    def missing(self, noun: Noun) -> str | None:
        return "no such thing here: choose another"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with FakeRig() as rig:
        yield rig


def test_no_test_hides_another() -> None:
    names = Counter(
        name for cls in FirewallSuite.__mro__ for name in vars(cls) if name.startswith("test_")
    )
    assert names
    assert [name for name, count in names.items() if count > 1] == []


def test_every_test_says_what_it_promises() -> None:
    for name in dir(FirewallSuite):
        if name.startswith("test_"):
            assert getattr(FirewallSuite, name).__doc__, name


def test_a_gap_that_works_is_a_failure(rig: FakeRig) -> None:
    rig.driver = _Gap(rig.hub)
    with pytest.raises(AssertionError, match="declared missing"):
        add(rig, forward(rig))


def test_a_declared_gap_is_an_expected_failure(rig: FakeRig) -> None:
    rig.driver = NoFirewall(rig.hub)
    with pytest.raises(pytest.xfail.Exception, match="declared gap: firewall 'none'"):
        add(rig, forward(rig))


def test_support_that_fails_is_a_failure(rig: FakeRig) -> None:
    add(rig, *zone(rig, "ta", "in-a"))
    with pytest.raises(AssertionError, match="EEXIST"):
        add(rig, *zone(rig, "ta"))
    remove_all(rig)
    assert rig.ruleset() == ""


@pytest.mark.kernel
@pytest.mark.parametrize("br_netfilter", [True, False])
def test_everybody_reaches_everybody_without_rules(br_netfilter: bool) -> None:
    endpoints = (A1, B1, C1, R1, OUT)
    with RealRig(NoFirewall, br_netfilter=br_netfilter) as rig:
        for source in endpoints:
            for target in endpoints:
                if source is target:
                    continue
                assert passes(rig.ping, source, target.ip)
                for protocol in ("tcp", "udp", "sctp"):
                    heard = answer(rig, source, target.ip, protocol, PORT)
                    assert heard == Answer(target, source.ip), (source, target, protocol)


@pytest.mark.kernel
@pytest.mark.usefixtures("own_temporary_folder")
def test_a_real_rig_leaves_nothing() -> None:
    before = _held()
    rig = RealRig(NoFirewall)
    rig.converse(A1, OUT.ip, PORT).ask()
    rig.another("cn:other")
    assert _held() != before
    rig.close()
    rig.close()
    assert _held() == before


@pytest.mark.kernel
@pytest.mark.usefixtures("own_temporary_folder")
def test_a_driver_that_does_not_open_leaves_nothing() -> None:
    def fail(_: Host) -> NoFirewall:
        raise RuntimeError("no such firewall")

    before = _held()
    with pytest.raises(RuntimeError, match="no such firewall"):
        RealRig(fail)
    assert _held() == before


@pytest.fixture
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests at the same time put their files elsewhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def _held() -> tuple[list[str], int, list[str]]:
    folders = sorted(os.listdir(tempfile.gettempdir()))
    return sorted(os.listdir("/proc/self/fd")), threading.active_count(), folders
