"""Link events of a fake kernel as a bounded stream."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable

from snnet.contract import Alarm, LinkEvent, Watch, error_for

_CAPACITY = 10_000
"""Most unread events; a netlink socket's buffer is limited too."""


class FakeWatch(Watch):
    """Events since it was opened, in order; raises ``Exhausted`` if unread events were lost."""

    def __init__(self, closed: Callable[[FakeWatch], None]) -> None:
        self._closed = closed
        self._events: deque[LinkEvent] = deque()
        self._overrun = False
        self._arrived = threading.Condition()

    def put(self, event: LinkEvent) -> None:
        with self._arrived:
            if len(self._events) < _CAPACITY:
                self._events.append(event)
            else:
                self._overrun = True
            self._arrived.notify_all()

    def read(self, timeout: float) -> list[LinkEvent]:
        deadline = time.monotonic() + timeout
        with self._arrived:
            while not self._events and not self._overrun:
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            events = list(self._events)
            self._events.clear()
            if self._overrun:
                self._overrun = False
                raise error_for(errno.ENOBUFS, "read link events", detail="events were lost")
            return events

    def close(self) -> None:
        self._closed(self)


class Changes:
    """A counter of changes, which several states may share."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class FakeAlarm(Alarm):
    """Tells of every change of a fake host, in whichever namespace."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen = changes.count

    def noticed(self) -> bool:
        seen, self._seen = self._seen, self._changes.count
        return seen != self._seen

    def extend(self) -> bool:
        """See :meth:`snnet.contract.Alarm.extend`.  It tells of the whole host anyway."""
        return True

    def close(self) -> None:
        """Does nothing."""
