"""What suites do with a driver: add or prove a gap, apply, be refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import pytest

from snnet.contract import (
    Add,
    Driver,
    InvalidRequest,
    Link,
    Noun,
    Operation,
    Outcome,
    Remove,
    Unsupported,
)

from .place import Place

PATIENCE = 15.0
"""Seconds within which the kernel finishes what it does by itself."""


class HasDriver(Protocol):
    """Something with an open driver: a place, a LAN."""

    driver: Driver


def add(place: HasDriver, *nouns: Noun) -> Outcome:
    """Add the nouns; end the test as an expected failure if the driver declares one missing."""
    need(place, *nouns)
    return do(place, *map(Add, nouns))


def need(place: HasDriver, *nouns: Noun) -> None:
    """End the test as an expected failure if the driver declares one of these missing.

    The declaration must be true: a noun that works all the same is a failure.
    """
    for noun in nouns:
        if (gap := place.driver.missing(noun)) is not None:
            prove_gap(place, noun, gap)
            pytest.xfail(f"declared gap: {gap}")


def from_outside(place: Place, command: str) -> None:
    """Run an ``ip`` command behind the driver's back; end the test where there is no ``ip``."""
    if not place.ip(command):
        pytest.xfail("declared gap: this place has no ip")


def prove_gap(place: HasDriver, noun: Noun, gap: str) -> None:
    """Check that a noun declared missing is refused as ``Unsupported`` and not found."""
    outcome = place.driver.apply([Add(noun)])
    outcome.close_fds()
    assert not outcome.done, f"a gap that works ({gap}): {noun}"
    assert isinstance(outcome.error, Unsupported), (
        f"{type(noun).__name__} is declared missing ({gap}), so Add must be Unsupported"
    )
    try:
        found = place.driver.find(noun)
    except InvalidRequest:
        return
    assert found is None, f"a gap that works ({gap}): {found}"


def remove(place: HasDriver, *nouns: Noun) -> None:
    do(place, *map(Remove, nouns))


def do(place: HasDriver, *operations: Operation) -> Outcome:
    """Apply the operations; all must succeed."""
    outcome = place.driver.apply(operations)
    assert outcome.error is None, outcome.error
    assert outcome.done == set(range(len(operations)))
    return outcome


def refused(place: HasDriver, operation: Operation) -> type[Exception]:
    """Return the class of the error that the driver refuses with; nothing may change."""
    kinds = (Link, type(operation.noun))
    before = place.driver.snapshot(kinds)
    outcome = place.driver.apply([operation])
    assert outcome.error is not None, f"should have been refused: {operation}"
    assert outcome.done == set()
    assert outcome.fds == {}
    assert place.driver.snapshot(kinds) == before
    return type(outcome.error)


def within_patience(holds: Callable[[], bool]) -> bool:
    """Whether the condition becomes true within ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True
