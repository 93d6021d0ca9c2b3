"""Follows the file of the sqlite registry and hands what others commit to the watches."""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from snnet.contract import ApiError, SnnetError
from snnet.system.inotify import FolderEvents

from . import history
from .database import Database
from .feeds import Feed
from .history import History

LOOK = 1.0
"""Seconds between two looks where the kernel does not report changes, or the file fails."""

_AGAIN = (0.001, 0.004, 0.016, 0.064, 0.256, 1.0)
"""Seconds until the next looks after an event.

A writer's events come before others can see its commit.  It touches the file once they
can; these looks are for writers that do not, such as sqlite3(1), or were killed before.
"""


class Follower:
    """One thread for all watches of a registry; it starts with the first watch.

    It sleeps until the file changes or a session runs out.
    """

    def __init__(
        self,
        path: Path,
        known: History,
        begin_again: Callable[[], None],
        sweep: Callable[[], float | None],
    ) -> None:
        self.feed = Feed()
        self._path = path
        self._history = known
        self._begin_again = begin_again
        self._sweep = sweep
        self.database = Database(path)
        self._lock = threading.Lock()
        self._position = 0
        self._version: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._waking = threading.Lock()
        self._events: FolderEvents | None = None
        self._closed = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hand out no change meanwhile; start following if nobody did yet."""
        with self._lock:
            if self._thread is None:
                with self.database.reading() as connection:
                    self._position = history.newest(connection)
                self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._thread = threading.Thread(
                    target=self._run, name="snnet-sqlite-watches", daemon=True
                )
                self._thread.start()
            yield

    def wake(self) -> None:
        """Look now, where the kernel does not report what this process commits either."""
        if self._events is None:
            self._interrupt()

    def close(self) -> None:
        """Close all watches and end the thread."""
        self._closed = True
        self.feed.close()
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._interrupt()
            thread.join()
            with self._waking:
                wake, self._wake = self._wake, -1
                os.close(wake)
        self.database.close()

    def _interrupt(self) -> None:
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        looks: list[float] = []
        try:
            while not self._closed:
                if self._events is None:
                    self._watch_folder()
                if self._wait(self._look(looks)):
                    looks = list(_AGAIN)
        finally:
            self._unwatch_folder()

    def _look(self, looks: list[float]) -> float | None:
        """Hand out what is new; return the seconds until the next look, None for no limit."""
        try:
            version = self.database.version()
            if version != self._version:
                self._publish()
                self._version = version
                looks.clear()
            ends = self._sweep()
        except SnnetError as error:
            if not self._closed:
                self._report(error)
            return LOOK
        pause = looks.pop(0) if looks else None
        if ends is not None:
            left = max(0.0, ends - time.clock_gettime(time.CLOCK_BOOTTIME)) + 0.001
            pause = left if pause is None else min(pause, left)
        return pause

    def _publish(self) -> None:
        """Hand the commits since the last look to the watches."""
        while True:
            seen = self._history.seen
            with self._lock, self.database.reading() as connection:
                if not self._history.restored(connection, seen):
                    oldest = history.compacted(connection)
                    if self._position < oldest:
                        self.feed.lose(oldest)
                        self._position = oldest
                    changes = history.changes(connection, [""], self._position)
                    self._position = history.newest(connection)
                    self.feed.publish(changes)
                    return
            self._begin_again()

    def _report(self, error: SnnetError) -> None:
        kind = type(error)
        self.feed.fail(lambda: kind(str(error)) if issubclass(kind, ApiError) else error)

    def _wait(self, pause: float | None) -> bool:
        """Wait for an event or the time; return whether something happened to the file."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if self._events is None:
            pause = LOOK if pause is None else min(pause, LOOK)
        else:
            poller.register(self._events.fileno(), select.POLLIN)
        poller.poll(None if pause is None else math.ceil(pause * 1000))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._events is None:
            return False
        names = self._events.read()
        if names is None:
            self._unwatch_folder()
            return True
        return any(name.startswith(self._path.name) for name in names)

    def _watch_folder(self) -> None:
        with contextlib.suppress(ApiError):
            self._events = FolderEvents(self._path.parent)

    def _unwatch_folder(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.close()
