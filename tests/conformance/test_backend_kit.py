"""The kit for backends and DHCP drivers: that it finds fault, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from snnet.backends.fake import FakeKernel
from snnet.conformance import BackendSuite, DhcpSuite, RealLan, RealPlace
from snnet.conformance.backend.nouns import BRIDGE, TAP, TUNNELS
from snnet.conformance.backend.steps import add, refused, within_patience
from snnet.conformance.dhcp.base import BRIDGE as LAN_BRIDGE
from snnet.conformance.dhcp.base import MAC, SUBNET, scope
from snnet.conformance.dhcp.lan import gateway_of
from snnet.contract import (
    Add,
    Change,
    Driver,
    Exists,
    Geneve,
    Host,
    Link,
    Noun,
    Operation,
    Outcome,
    Rejected,
    Remove,
    Unsupported,
    Veth,
)

from .broken import Passing
from .fake_place import FakePlace


class _Adopts(Passing):
    """Takes what is there for its own."""

    def carry_out(self, operation: Operation) -> Outcome:
        outcome = super().carry_out(operation)
        return Outcome(done={0}) if isinstance(outcome.error, Exists) else outcome


class _GoesByName(Passing):
    """Removes whatever has the name."""

    def carry_out(self, operation: Operation) -> Outcome:
        found = self.find(operation.noun)
        gone = isinstance(operation, Remove) and isinstance(found, Link)
        return super().carry_out(Remove(found) if gone and found else operation)


class _HalfBorn(Passing):
    """Sets the alias afterwards, and leaves the link where that fails."""

    def carry_out(self, operation: Operation) -> Outcome:
        noun = operation.noun
        if not isinstance(operation, Add) or not isinstance(noun, Link) or not noun.alias:
            return super().carry_out(operation)
        bare = dataclasses.replace(noun, alias="")
        first = super().carry_out(Add(bare))
        return first if first.error else super().carry_out(Change(noun, bare))


class _CutsNames(Passing):
    def carry_out(self, operation: Operation) -> Outcome:
        noun = operation.noun
        if isinstance(operation, Add) and isinstance(noun, Link):
            operation = Add(dataclasses.replace(noun, name=noun.name[:15]))
        return super().carry_out(operation)


class _LooksOnce(Passing):
    """Looks at the deadline before the first operation only."""

    def apply(self, operations: Sequence[Operation], **options: Any) -> Outcome:
        check, calls = options.pop("check", None), itertools.count()
        once = None if check is None else lambda: None if next(calls) else check()
        return super().apply(operations, check=once, **options)


class _Leaks(Passing):
    """Keeps a descriptor for each error, until it is taken down."""

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self.leaked: list[int] = []

    def carry_out(self, operation: Operation) -> Outcome:
        outcome = super().carry_out(operation)
        if outcome.error is not None:
            self.leaked.append(os.open(os.devnull, os.O_RDONLY))
        return outcome


class _Homeless(Passing):
    """Does not say where it works."""

    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        del self.host


class _NotPinned(Passing):
    """Lets the MTU of bridges follow their ports."""

    def carry_out(self, operation: Operation) -> Outcome:
        outcome = super().carry_out(operation)
        assert isinstance(self.inner, FakeKernel)
        self.inner.state.own_mtu.clear()
        return outcome


def _asks_for_the_host(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_a_driver_says_its_host(place)


def _adds_twice(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_comes_once_and_goes_once(place, TAP)


def _meets_a_foreign_link(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_a_foreign_link_of_the_same_name(place, BRIDGE, "theirs", BRIDGE.group)


def _adds_a_long_alias(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_an_alias_of_255_bytes_and_no_more(place, TAP)


def _adds_a_long_name(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_a_name_of_15_bytes_and_no_more(place, TAP)


def _runs_out_of_time(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_check_is_looked_at_before_each_addition(place, 1, False)


def _counts_descriptors(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_no_descriptor_is_left(place)


def _has_small_ports(suite: BackendSuite, place: FakePlace) -> None:
    suite.test_a_bridge_keeps_what_it_was_given(place)


FAULTS: list[tuple[type[Passing], Callable[[BackendSuite, FakePlace], None]]] = [
    (_Adopts, _adds_twice),
    (_GoesByName, _meets_a_foreign_link),
    (_HalfBorn, _adds_a_long_alias),
    (_CutsNames, _adds_a_long_name),
    (_LooksOnce, _runs_out_of_time),
    (_Leaks, _counts_descriptors),
    (_Homeless, _asks_for_the_host),
    (_NotPinned, _has_small_ports),
]


@pytest.mark.parametrize(("broken", "test"), FAULTS, ids=lambda value: value.__name__.strip("_"))
def test_a_fault_is_found(
    broken: type[Passing], test: Callable[[BackendSuite, FakePlace], None]
) -> None:
    """And a driver without it passes the same test."""
    test(BackendSuite(), FakePlace(wrap=Passing))
    with pytest.raises(AssertionError), FakePlace(wrap=broken) as place:
        test(BackendSuite(), place)
    for fd in getattr(place.driver, "leaked", ()):
        os.close(fd)


# -- gaps ---------------------------------------------------------------------------------


_GENEVE = next(noun for noun in TUNNELS if isinstance(noun, Geneve))


class _Says(Passing):
    """Says that it has no geneve."""

    def missing(self, noun: Noun) -> str | None:
        return "no geneve here" if isinstance(noun, Geneve) else super().missing(noun)


class _SaysWrongly(_Says):
    def carry_out(self, operation: Operation) -> Outcome:
        if isinstance(operation.noun, Geneve):
            return Outcome(errors={0: Rejected("no")})
        return super().carry_out(operation)


def test_a_declared_gap_is_an_expected_failure() -> None:
    place = FakePlace(FakeKernel(gaps={"geneve"}))
    with pytest.raises(pytest.xfail.Exception, match="declared gap: this kernel has no geneve"):
        add(place, _GENEVE)


def test_a_gap_that_works_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="a gap that works"):
        add(FakePlace(wrap=_Says), _GENEVE)


def test_a_gap_has_a_class_of_its_own() -> None:
    with pytest.raises(AssertionError, match="must be Unsupported"):
        add(FakePlace(wrap=_SaysWrongly), _GENEVE)


def test_support_that_fails_is_a_failure() -> None:
    place = FakePlace()
    with pytest.raises(AssertionError, match="ENODEV"):
        add(place, dataclasses.replace(TAP, master="nowhere"))
    with pytest.raises(AssertionError, match="should have been refused"):
        refused(place, Add(TAP))


# -- the suites themselves ------------------------------------------------------------------


@pytest.mark.parametrize("suite", [BackendSuite, DhcpSuite])
def test_no_test_hides_another(suite: type) -> None:
    names = Counter(name for cls in suite.__mro__ for name in vars(cls) if name.startswith("test_"))
    assert names
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("suite", [BackendSuite, DhcpSuite])
def test_every_test_says_what_it_promises(suite: type) -> None:
    for name in dir(suite):
        if name.startswith("test_"):
            assert getattr(suite, name).__doc__, name


# -- real places ----------------------------------------------------------------------------


Held = Callable[[], tuple[list[str], int, list[str]]]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """What the process holds: descriptors, threads, temporary files."""
    # Not tmp_path: dnsmasq gives up root and must still be able to pass through.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield lambda: (
            sorted(os.listdir("/proc/self/fd")),
            threading.active_count(),
            os.listdir(folder),
        )


def _cannot_open(_: Host) -> Driver:
    raise Unsupported("no such driver")


@pytest.mark.kernel
@pytest.mark.parametrize("make", [RealPlace, RealLan])
def test_a_driver_that_does_not_open_leaves_nothing(
    make: type[RealPlace | RealLan], held: Held
) -> None:
    before = held()
    with pytest.raises(Unsupported, match="no such driver"):
        make(_cannot_open)
    assert held() == before


@pytest.mark.kernel
def test_a_real_place_leaves_nothing(held: Held) -> None:
    from snnet.backends.netlink import NetlinkBackend

    before = held()
    place = RealPlace(NetlinkBackend)
    add(place, BRIDGE, Veth(name="v", peer="w"))
    place.move_veth("w")
    with place.another() as other:
        other.snapshot()
    assert held() != before
    place.close()
    place.close()
    assert held() == before


@pytest.mark.kernel
def test_a_real_lan_leaves_nothing(held: Held) -> None:
    from snnet.dhcp.dnsmasq import Dnsmasq

    before = held()
    lan = RealLan(Dnsmasq)
    lan.add_bridge(LAN_BRIDGE, gateway_of(SUBNET))
    assert lan.residue() == []
    add(lan, scope(lan))
    assert lan.lease(LAN_BRIDGE, MAC) is not None
    (pid,) = (line.split()[1] for line in lan.residue() if line.startswith("process "))
    lan.close()
    lan.close()
    assert held() == before
    assert within_patience(lambda: not _runs(pid))


def _runs(pid: str) -> bool:
    """Whether it is a process that is not dead already, waited for or not (proc_pid_stat(5))."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
