"""The loop over operations that every driver has from the contract."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import (
    Add,
    ApiError,
    Bridge,
    Cancelled,
    Driver,
    FatalError,
    Key,
    Missing,
    Noun,
    Operation,
    Outcome,
    Rejected,
    Remove,
    Tap,
    Unsupported,
    Watch,
)


class Scribe(Driver):
    """Writes down what it is asked to do; removals go together, ``wrong`` names fail."""

    name = "scribe"
    batching: ClassVar[bool] = True
    carries = frozenset({Bridge, Tap})

    def __init__(self, **wrong: BaseException) -> None:
        self.host = FakeKernel()
        self.wrong = wrong
        self.lines: list[str] = []

    def missing(self, noun: Noun) -> str | None:
        return None

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {}

    def find(self, noun: Noun) -> Noun | None:
        return None

    def perform(self, operation: Operation) -> Sequence[int] | None:
        self._write([operation])
        return (7, 8) if isinstance(operation.noun, Tap) else None

    def batch(self, operation: Operation) -> str | None:
        return "removals" if isinstance(operation, Remove) else None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        self._write(operations)

    def _write(self, operations: Sequence[Operation]) -> None:
        names = [operation.noun.key[1] for operation in operations]
        self.lines.append(" ".join(names))
        for name in names:
            if name in self.wrong:
                raise self.wrong[name]

    def watch(self) -> Watch:
        raise Unsupported("a scribe sees nothing")

    def close(self) -> None:
        pass


def adds(names: str) -> list[Operation]:
    return [Add(Bridge(name=name)) for name in names]


def removals(names: str) -> list[Operation]:
    return [Remove(Bridge(name=name)) for name in names]


def test_operations_of_a_batch_go_together_and_others_alone() -> None:
    scribe = Scribe()
    outcome = scribe.apply([*adds("ab"), *removals("cde"), *adds("f"), *removals("g")])
    assert scribe.lines == ["a", "b", "c d e", "f", "g"]
    assert (outcome.done, outcome.errors, outcome.unsure) == (set(range(7)), {}, set())


def test_a_refused_batch_is_halved_until_the_culprit_is_found() -> None:
    scribe = Scribe(f=Missing("gone"))
    outcome = scribe.apply(removals("abcdefgh"), keep_going=True)
    assert scribe.lines == ["a b c d e f g h", "a b c d", "e f g h", "e f", "e", "f", "g h"]
    assert outcome.done == set(range(8)) - {5}
    assert outcome.errors == {5: scribe.wrong["f"]}
    assert outcome.error is not None
    assert outcome.errors[5].operation == removals("f")[0]  # type: ignore[attr-defined]


def test_the_first_error_ends_the_work() -> None:
    scribe = Scribe(b=Missing("gone"), d=Missing("gone"))
    outcome = scribe.apply(removals("abcd"))
    assert scribe.lines == ["a b c d", "a b", "a", "b"]
    assert (outcome.done, list(outcome.errors)) == ({0}, [1])


def test_an_error_keeps_the_operation_that_it_names() -> None:
    other = Add(Bridge(name="other"))
    error = Scribe(a=Rejected("no", operation=other)).apply(adds("a")).error
    assert isinstance(error, Rejected)
    assert error.operation is other


@pytest.mark.parametrize("passes", range(4))
def test_what_was_gathered_before_the_check_refused_is_carried_out(passes: int) -> None:
    left, late = list(range(passes)), Cancelled("enough")

    def check() -> None:
        if not left:
            raise late
        left.pop()

    scribe = Scribe()
    outcome = scribe.apply(removals("abcd"), check=check, keep_going=True)
    assert outcome.done == set(range(passes))
    assert outcome.errors == {passes: late}


def test_an_error_of_the_batch_comes_before_that_of_a_later_check() -> None:
    calls = itertools.count()

    def check() -> None:
        if next(calls) == 2:
            raise Cancelled("enough")

    outcome = Scribe(b=Missing("gone")).apply(removals("abcd"), check=check)
    assert (outcome.done, list(outcome.errors)) == ({0}, [1])


def test_descriptors_are_handed_over_by_the_name_of_the_link() -> None:
    assert Scribe().apply([Add(Tap(name="t", queues=2))]).fds == {"t": (7, 8)}


def test_a_defect_of_the_driver_is_an_error_and_leaves_doubt() -> None:
    outcome = Scribe(b=ZeroDivisionError("oops")).apply(adds("abc"))
    error = outcome.error
    assert isinstance(error, ApiError)
    assert "bridge b" in str(error)
    assert "ZeroDivisionError" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert (outcome.done, outcome.unsure, list(outcome.errors)) == ({0}, {1}, [1])
    again = Scribe(b=ZeroDivisionError("oops")).apply(adds("abc"), keep_going=True)
    assert (again.done, again.unsure, list(again.errors)) == ({0, 2}, {1}, [1])


@pytest.mark.parametrize("error", [FatalError("half done"), ZeroDivisionError("oops")])
@pytest.mark.parametrize("keep_going", [False, True])
def test_a_batch_that_may_be_half_done_is_not_tried_again(
    error: Exception, keep_going: bool
) -> None:
    scribe = Scribe(c=error)
    outcome = scribe.apply([*adds("a"), *removals("bcd"), *adds("e")], keep_going=keep_going)
    assert scribe.lines == ["a", "b c d", *("e" if keep_going else "")]
    assert outcome.unsure == outcome.errors.keys() == {1, 2, 3}
    assert outcome.done == ({0, 4} if keep_going else {0})
    assert scribe.apply(adds("c")).unsure == {0}


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupt_leaves_a_true_account(stop: BaseException) -> None:
    scribe, outcome = Scribe(d=stop), Outcome()
    with pytest.raises(type(stop)):
        scribe.apply([*adds("ab"), *removals("cd"), *adds("e")], into=outcome)
    assert (outcome.done, outcome.unsure, outcome.errors) == ({0, 1}, {2, 3}, {})
    assert scribe.lines == ["a", "b", "c d"]


def test_a_check_with_a_defect_leaves_a_true_account() -> None:
    outcome, calls = Outcome(), itertools.count()

    def check() -> None:
        if next(calls) == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scribe().apply(adds("abc"), check=check, into=outcome)
    assert (outcome.done, outcome.unsure, outcome.errors) == ({0}, set(), {})


class Locked(Scribe):
    @contextlib.contextmanager
    def session(self, operations: Sequence[Operation]) -> Iterator[None]:
        self.lines.append(f"open for {len(operations)}")
        if "session" in self.wrong:
            raise self.wrong["session"]
        yield
        self.lines.append("closed")


def test_a_session_is_open_for_the_whole_apply() -> None:
    locked = Locked()
    assert locked.apply(adds("ab")).done == {0, 1}
    assert locked.lines == ["open for 2", "a", "b", "closed"]
    locked.lines.clear()
    assert locked.apply([]) == Outcome()
    assert locked.lines == []


def test_a_session_that_does_not_open_is_the_error_of_the_first_operation() -> None:
    locked = Locked(session=Rejected("locked by another"))
    outcome = locked.apply(adds("ab"), keep_going=True)
    assert (outcome.done, outcome.errors) == (set(), {0: locked.wrong["session"]})
    assert locked.lines == ["open for 2"]


def test_a_batch_without_perform_all_is_a_defect() -> None:
    class Forgetful(Scribe):
        perform_all = Driver.perform_all

    error = Forgetful().apply(removals("ab")).error
    assert "batch() without perform_all()" in str(error)


@pytest.mark.parametrize("driver", [Scribe, Locked])
def test_the_parts_of_a_plan_share_an_outcome_by_position(driver: type[Scribe]) -> None:
    """Each position is that in the whole plan: of batches, of errors, and of checks."""
    whole, error = Outcome(done={0}), Missing("gone")
    operations = [*adds("ab"), *removals("cde"), Add(Tap(name="t", queues=2))]
    driver(b=error, d=error, e=ZeroDivisionError()).apply(
        operations, keep_going=True, into=whole, first=4
    )
    assert whole.done == {0, 4, 6, 9}
    assert whole.errors.keys() == {5, 7, 8}
    assert (whole.unsure, whole.fds) == ({8}, {"t": (7, 8)})
    calls = itertools.count()

    def check() -> None:
        if next(calls) == 1:
            raise Cancelled("enough")

    for some in (adds("ab"), removals("ab")):
        calls, whole = itertools.count(), Outcome()
        driver().apply(some, check=check, into=whole, first=4)
        assert (whole.done, list(whole.errors)) == ({4}, [5])


@pytest.mark.parametrize("driver", [Scribe, Locked])
def test_what_a_check_raises_is_the_callers_own(driver: type[Scribe]) -> None:
    """A token of the caller's that fails is no mistake of the driver, in a session or not."""
    failures = itertools.count()
    broken = MemoryError()

    def check() -> None:
        if next(failures) == 1:
            raise broken

    outcome = Outcome()
    with pytest.raises(MemoryError) as caught:
        driver().apply([Add(Bridge(name=name)) for name in "abc"], check=check, into=outcome)
    assert caught.value is broken
    assert outcome.done == {0}
    assert outcome.errors == {}
