"""A driver that passes everything on to another, for tests to break in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from snnet.contract import (
    Driver,
    Key,
    Noun,
    Operation,
    Outcome,
    Watch,
)


class Passing(Driver):
    """Does what the inner driver does; operations one by one, through ``carry_out``."""

    name: ClassVar[str] = "passing"

    def __init__(self, inner: Driver) -> None:
        self.inner = inner
        self.host = inner.host
        self.carries = inner.carries  # type: ignore[misc]

    def missing(self, noun: Noun) -> str | None:
        return self.inner.missing(noun)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return self.inner.snapshot(types)

    def find(self, noun: Noun) -> Noun | None:
        return self.inner.find(noun)

    def perform(self, operation: Operation) -> Sequence[int] | None:
        outcome = self.carry_out(operation)
        if outcome.error is not None:
            raise outcome.error
        return next(iter(outcome.fds.values()), None)

    def carry_out(self, operation: Operation) -> Outcome:
        return self.inner.apply([operation])

    def watch(self) -> Watch:
        return self.inner.watch()

    def close(self) -> None:
        self.inner.close()
