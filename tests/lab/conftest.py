"""A watcher that records what it receives, and a way to cancel a lab at any moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from snnet.lab import Answer, Connection, Matrix, Placement


class Recorder:
    """A watcher that records what it receives."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.placements: Sequence[Placement] = ()
        self.matrix: Matrix = {}
        self.answers: Sequence[Answer | None] = ()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.steps.append(what)
        yield

    def built(self, placements: Sequence[Placement]) -> None:
        self.placements = placements

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        self.matrix = matrix

    def connected(
        self, connections: Sequence[Connection], answers: Sequence[Answer | None]
    ) -> None:
        self.answers = answers


class StopAt:
    """A cancel token that is set from the ``number``-th look on; 0 means never."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return 0 < self.number <= self.looks


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
