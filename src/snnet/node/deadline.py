"""The deadline and the cancellation of one call."""

from __future__ import annotations

import time
from typing import Protocol

from snnet.checks import check_callable, check_seconds, shown
from snnet.contract import Cancelled, InvalidRequest, Timeout


class CancelToken(Protocol):
    """Anything with ``is_set()``, such as ``threading.Event``; if set, the call stops."""

    def is_set(self) -> bool: ...


class Deadline:
    """When a call must be done; with ``seconds`` None there is no limit."""

    __slots__ = ("_cancel", "_end", "_seconds", "_what")

    def __init__(self, what: str, seconds: float | None, cancel: CancelToken | None) -> None:
        if seconds is not None:
            check_seconds(seconds, "timeout")
        if cancel is not None:
            is_set = getattr(cancel, "is_set", None)
            if not callable(is_set) or isinstance(cancel, type):
                raise InvalidRequest(f"{shown(cancel)} has no is_set()", field="cancel")
            check_callable(is_set, "cancel")
        self._what = what
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self._cancel = cancel

    def check(self) -> None:
        """Raise Cancelled or Timeout if the call must stop now."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled(f"{self._what} was cancelled")
        if self._end is not None and time.monotonic() >= self._end:
            raise Timeout(f"{self._what} was not done within {self._seconds:g} s")

    def within(self, seconds: float) -> float:
        """Return the seconds until the call must be done, ``seconds`` where it has no limit."""
        return seconds if self._end is None else max(0.0, self._end - time.monotonic())

    def patience(self) -> float | None:
        """Return the seconds to wait before the next ``check``; below 0 after the end."""
        left = None if self._end is None else self._end - time.monotonic()
        if self._cancel is None:
            return left
        return 0.05 if left is None else min(left, 0.05)


NO_LIMIT = Deadline("look", None, None)
"""For work that may take any time."""
