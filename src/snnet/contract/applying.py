"""The loop over operations: written once, used by every driver."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from .errors import ApiError, SnnetError
from .operations import Check, Operation, Outcome


class Performer(Protocol):
    """What the loop asks of a driver; :class:`snnet.contract.Driver` says what each promises."""

    def session(self, operations: Sequence[Operation]) -> AbstractContextManager[object]: ...

    def batch(self, operation: Operation) -> Hashable | None: ...

    def perform(self, operation: Operation) -> Sequence[int] | None: ...

    def perform_all(self, operations: Sequence[Operation]) -> None: ...


class Applying:
    """One ``apply`` under way.

    Operations gather in a batch for as long as the driver says that they go together;
    ``check`` is called as each joins.  A batch that is refused is tried again in halves,
    down to single operations, so that the outcome says which of them failed.
    """

    def __init__(
        self,
        performer: Performer,
        operations: Sequence[Operation],
        outcome: Outcome,
        *,
        keep_going: bool,
    ) -> None:
        self._performer = performer
        self._operations = operations
        self._outcome = outcome
        self._keep_going = keep_going

    def run(self, check: Check | None) -> None:
        """Carry the operations out; what became of them is in the outcome, always."""
        if not self._operations:
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._performer.session(self._operations))
            except SnnetError as error:
                self._outcome.errors[0] = _about(error, self._operations[0])
                return
            self._loop(check)

    def _loop(self, check: Check | None) -> None:
        first = 0  # of the operations that are gathered and not yet carried out
        gathered: Hashable | None = None
        for position, operation in enumerate(self._operations):
            batch = self._performer.batch(operation)
            if position > first and (batch is None or batch != gathered):
                if not self._carry_out(first, position):
                    return
                first = position
            gathered = batch
            try:
                if check is not None:
                    check()
            except SnnetError as error:
                if self._carry_out(first, position):
                    self._outcome.errors[position] = error
                return
        self._carry_out(first, len(self._operations))

    def _carry_out(self, start: int, end: int) -> bool:
        """The operations from ``start`` up to ``end``; False when an error ends the work."""
        if start == end:
            return True
        outcome, operation = self._outcome, self._operations[start]
        # From here on an interrupt may come at any instruction.
        outcome.unsure.update(range(start, end))
        try:
            if end - start == 1:
                if fds := self._performer.perform(operation):
                    outcome.fds[operation.noun.key[1]] = tuple(fds)
            else:
                self._performer.perform_all(self._operations[start:end])
        except SnnetError as error:
            outcome.unsure.difference_update(range(start, end))
            if end - start > 1:
                half = (start + end) // 2
                return self._carry_out(start, half) and self._carry_out(half, end)
            outcome.errors[start] = _about(error, operation)
            return self._keep_going
        except Exception as error:
            outcome.errors[start] = _unexpected(error, operation)
            return self._keep_going
        outcome.done.update(range(start, end))
        outcome.unsure.difference_update(range(start, end))
        return True


def _about(error: SnnetError, operation: Operation) -> SnnetError:
    if isinstance(error, ApiError) and error.operation is None:
        error.operation = operation
    return error


def _unexpected(error: Exception, operation: Operation) -> ApiError:
    said = ApiError(
        f"cannot {operation}: the driver raised {error!r}, which is a defect of the driver: "
        "report it to its authors",
        operation=operation,
    )
    said.__cause__ = error
    return said
