"""The loop over operations: written once, used by every driver."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from .errors import ApiError, FatalError, SnnetError
from .operations import Check, Operation, Outcome
from .translating import as_error

NO_SESSION: AbstractContextManager[object] = contextlib.nullcontext()
"""What ``session`` returns for a driver that holds nothing during an ``apply``."""


class Performer(Protocol):
    """What the loop needs of a driver; :class:`snnet.contract.Driver` documents each method."""

    batching: ClassVar[bool]

    def session(self, operations: Sequence[Operation]) -> AbstractContextManager[object]: ...

    def batch(self, operation: Operation) -> Hashable | None: ...

    def perform(self, operation: Operation) -> Sequence[int] | None: ...

    def perform_all(self, operations: Sequence[Operation]) -> None: ...


class Applying:
    """One ``apply`` in progress.

    Consecutive operations for which the driver returns the same ``batch`` value form a
    batch; ``check`` is called for each operation that joins.  If a batch fails, its halves
    are tried again, down to single operations: the outcome says which of them failed.
    The first operation has the position ``first`` in the outcome.
    """

    __slots__ = ("_first", "_keep_going", "_operations", "_outcome", "_performer")

    def __init__(
        self,
        performer: Performer,
        operations: Sequence[Operation],
        outcome: Outcome,
        *,
        keep_going: bool,
        first: int = 0,
    ) -> None:
        self._performer = performer
        self._operations = operations
        self._outcome = outcome
        self._keep_going = keep_going
        self._first = first

    def run(self, check: Check | None) -> None:
        """Carry out the operations.  The outcome is complete even if this raises."""
        if not self._operations:
            return
        session = self._performer.session(self._operations)
        loop = self._loop if self._performer.batching else self._one_by_one
        if session is NO_SESSION:  # the common case, and the hottest loop of snnet
            loop(check)
            return
        entered = False
        refused: list[Exception] = []

        def asked() -> None:
            try:
                if check is not None:
                    check()
            except Exception as error:
                refused.append(error)
                raise

        try:
            with session:
                entered = True
                loop(asked)
        except Exception as error:
            if error in refused:  # the caller's own, not the driver's
                raise
            # What leaves the session at its end comes after the last operation.
            position = len(self._operations) - 1 if entered else 0
            operation = self._operations[position]
            translated = as_error(error, f"finish {operation}" if entered else str(operation))
            number = self._first + position
            self._outcome.errors.setdefault(number, _about(translated, operation))

    def _one_by_one(self, check: Check | None) -> None:
        for position in range(len(self._operations)):
            try:
                if check is not None:
                    check()
            except SnnetError as error:
                self._outcome.errors[self._first + position] = error
                return
            if not self._carry_out_one(position):
                return

    def _loop(self, check: Check | None) -> None:
        first = 0  # the first operation that is in the batch and not yet carried out
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
                    self._outcome.errors[self._first + position] = error
                return
        self._carry_out(first, len(self._operations))

    def _carry_out(self, start: int, end: int) -> bool:
        """Carry out operations ``start`` to ``end`` - 1; return False to stop after an error."""
        if start == end:
            return True
        if end - start == 1:
            return self._carry_out_one(start)
        outcome, positions = self._outcome, range(self._first + start, self._first + end)
        # From here on, an interrupt may arrive at any instruction.
        outcome.unsure.update(positions)
        try:
            self._performer.perform_all(self._operations[start:end])
        except FatalError as error:  # a part took effect: tried again, it would exist
            outcome.errors.update(dict.fromkeys(positions, error))
            return self._keep_going
        except SnnetError:
            outcome.unsure.difference_update(positions)
            half = (start + end) // 2
            return self._carry_out(start, half) and self._carry_out(half, end)
        except Exception as error:
            unexpected = _unexpected(error, self._operations[start])
            outcome.errors.update(dict.fromkeys(positions, unexpected))
            return self._keep_going
        outcome.done.update(positions)
        outcome.unsure.difference_update(positions)
        return True

    def _carry_out_one(self, position: int) -> bool:
        """Carry out one operation; return False to stop after an error."""
        outcome, operation, number = (
            self._outcome,
            self._operations[position],
            self._first + position,
        )
        try:
            fds = self._performer.perform(operation)
            if fds:
                outcome.fds[operation.noun.key[1]] = tuple(fds)
            outcome.done.add(number)
        except SnnetError as error:
            if isinstance(error, FatalError):
                outcome.unsure.add(number)
            outcome.errors[number] = _about(error, operation)
            return self._keep_going
        except BaseException as error:
            # An interrupt may arrive at any instruction.
            outcome.unsure.add(number)
            if not isinstance(error, Exception):
                raise
            outcome.errors[number] = _unexpected(error, operation)
            return self._keep_going
        return True


def _unexpected(error: Exception, operation: Operation) -> SnnetError:
    """The error of an operation that may have been carried out or not."""
    translated = as_error(error, str(operation), operation=operation)
    translated.__cause__ = error
    return translated


def _about(error: SnnetError, operation: Operation) -> SnnetError:
    if isinstance(error, ApiError) and error.operation is None:
        error.operation = operation
    return error
