"""A watcher that remembers, and a way to stop a lab at any moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from snnet.lab import Matrix, Place, Visit, Welcome


class Memory:
    """A watcher that notes what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.places: Sequence[Place] = ()
        self.matrix: Matrix = {}
        self.welcomes: Sequence[Welcome | None] = ()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.steps.append(what)
        yield

    def built(self, places: Sequence[Place]) -> None:
        self.places = places

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        self.matrix = matrix

    def visited(self, visits: Sequence[Visit], welcomes: Sequence[Welcome | None]) -> None:
        self.welcomes = welcomes


class StopAt:
    """A cancel token that is set from the ``number``-th look at it on; 0 is never."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return 0 < self.number <= self.looks


@pytest.fixture
def memory() -> Memory:
    return Memory()
