"""What suites do with a driver: add or prove the gap, carry out, be refused."""

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
"""Seconds within which the kernel does what it does by itself."""


class HasDriver(Protocol):
    """Where a driver is open: a place, a LAN."""

    driver: Driver


def add(place: HasDriver, *nouns: Noun) -> Outcome:
    """Add them all, or prove that the driver cannot, as it says, and end the test."""
    need(place, *nouns)
    return do(place, *map(Add, nouns))


def need(place: HasDriver, *nouns: Noun) -> None:
    """End the test as an expected failure where the driver declares one of these missing.

    That has to be true: it is a failure if what is said to be missing works.
    """
    for noun in nouns:
        if (gap := place.driver.missing(noun)) is not None:
            prove_gap(place, noun, gap)
            pytest.xfail(f"declared gap: {gap}")


def as_stranger(place: Place, command: str) -> None:
    """Run an ``ip`` command behind the driver's back; end the test where there is no ``ip``."""
    if not place.ip(command):
        pytest.xfail("declared gap: this place has no ip")


def prove_gap(place: HasDriver, noun: Noun, gap: str) -> None:
    """What is declared missing, ``gap`` being why, is refused as ``Unsupported`` and not found."""
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
    """Carry out the operations, all of which must succeed."""
    outcome = place.driver.apply(operations)
    assert outcome.error is None, outcome.error
    assert outcome.done == set(range(len(operations)))
    return outcome


def refused(place: HasDriver, operation: Operation) -> type[Exception]:
    """The class of the error with which the driver refuses; nothing may change."""
    kinds = (Link, type(operation.noun))
    before = place.driver.snapshot(kinds)
    outcome = place.driver.apply([operation])
    assert outcome.error is not None, f"should have been refused: {operation}"
    assert outcome.done == set()
    assert outcome.fds == {}
    assert place.driver.snapshot(kinds) == before
    return type(outcome.error)


def within_patience(holds: Callable[[], bool]) -> bool:
    """Whether it comes true before our patience ends."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True
