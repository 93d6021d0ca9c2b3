"""A driver that passes everything on to another, for tests to break in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from snnet.contract import (
    Check,
    Driver,
    Key,
    Noun,
    Operation,
    Outcome,
    SnnetError,
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

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
    ) -> Outcome:
        outcome = Outcome()
        for position, operation in enumerate(operations):
            try:
                self.look(check, position)
            except SnnetError as error:
                outcome.errors[position] = error
                break
            done = self.carry_out(operation)
            outcome.fds.update(done.fds)
            if done.error is None:
                outcome.done.add(position)
                continue
            outcome.errors[position] = done.error
            if not keep_going:
                break
        return outcome

    def look(self, check: Check | None, position: int) -> None:
        if check is not None:
            check()

    def carry_out(self, operation: Operation) -> Outcome:
        return self.inner.apply([operation])

    def watch(self) -> Watch:
        return self.inner.watch()

    def close(self) -> None:
        self.inner.close()
