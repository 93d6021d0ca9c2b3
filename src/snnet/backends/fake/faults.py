"""Injected failures."""

from __future__ import annotations

import errno

from snnet.contract import InvalidRequest
from snnet.contract.errors import shown

from .refusal import Refusal


class Faults:
    """Counts the operations of a kernel and refuses the chosen ones."""

    def __init__(self) -> None:
        self._counted = 0
        self._pending: dict[int, str] = {}

    def fail(self, at: int, error: str) -> None:
        if not isinstance(at, int) or isinstance(at, bool) or not 1 <= at < 2**31:
            raise InvalidRequest(f"{shown(at)} is no number of operations from 1", field="at")
        if not isinstance(error, str) or not hasattr(errno, error):
            raise InvalidRequest(f"{shown(error)} is not the name of an errno", field="error")
        self._pending[self._counted + at] = error

    @property
    def pending(self) -> tuple[str, ...]:
        """The failures that have not happened yet, a line each."""
        return tuple(
            f"{error} at operation {number}, of which {self._counted} were counted so far"
            for number, error in sorted(self._pending.items())
        )

    def count(self) -> None:
        """Count one operation; refuse it if it was chosen to fail."""
        self._counted += 1
        if self._pending and (error := self._pending.pop(self._counted, None)):
            raise Refusal(error, "injected failure")
