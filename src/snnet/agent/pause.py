"""The pause after a round that failed as a whole."""

from __future__ import annotations

import contextlib
import time

from snnet.contract import Alarm, Driver, SnnetError

from .statuses import wait_after


class Pause:
    """When a round that failed as a whole is tried again: after waits that grow.

    A round may have failed for what the host is like, such as an uplink without an address.
    ``cut`` ends the pause soon after the host has changed.
    """

    def __init__(self, backend: Driver) -> None:
        self._backend = backend
        self._failures = 0
        self._earliest = 0.0
        self._alarm: Alarm | None = None

    def begin(self) -> float:
        """Note a failed round; return when the next one is due (time.monotonic)."""
        now = time.monotonic()
        self._earliest = now + wait_after(0)
        due = now + wait_after(self._failures)
        self._failures += 1
        with contextlib.suppress(SnnetError, OSError):  # then the wait alone ends the pause
            if self._alarm is None:
                self._alarm = self._backend.alarm()
            if self._alarm is not None:
                self._alarm.noticed()  # the failed round itself may have changed the host
        return due

    def cut(self, due: float) -> float:
        """Return ``due``, or an earlier time if the host has changed since the last failure.

        Never earlier than the shortest wait after that failure: a busy host changes all the time.
        """
        try:
            if self._alarm is not None and self._alarm.noticed():
                return min(due, self._earliest)
        except (SnnetError, OSError):
            self._close_alarm()
        return due

    def over(self) -> None:
        """Note a round that succeeded: the next wait is the shortest again.  May be repeated."""
        self._failures = 0
        self._close_alarm()

    def _close_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
