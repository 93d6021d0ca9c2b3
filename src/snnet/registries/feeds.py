"""The watches of one registry: each change goes to the watches that it concerns."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snnet.contract import (
    Changed,
    Compacted,
    Entry,
    InvalidRequest,
    NoDocument,
    RegistryWatch,
    SnnetError,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A document was written, or removed (``text`` is None), by the commit ``revision``."""

    key: str
    text: str | None
    revision: int

    def decoded(self) -> Changed:
        """Return the change with a document of its own, which the caller may alter."""
        return Changed(self.key, None if self.text is None else self.entry(), self.revision)

    def entry(self) -> Entry:
        """Return the written document, or ``NoDocument`` if it is no JSON object."""
        try:
            document = json.loads(self.text or "")
        except (TypeError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            document = NoDocument()
        return Entry(self.key, document, self.revision)


class Feed:
    """Hands changes to watches.

    Finding the watches of a key takes as many steps as there are lengths of prefixes,
    whatever the number of watches.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, set[FedWatch]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, watch: FedWatch) -> None:
        """Send the watch the changes of its prefixes from now on."""
        with self._lock:
            for prefix in watch.prefixes:
                self._watches.setdefault(prefix, set()).add(watch)
            self._measure()

    def remove(self, watch: FedWatch) -> None:
        """Send the watch nothing more.  An unknown watch is not an error."""
        with self._lock:
            for prefix in watch.prefixes:
                watches = self._watches.get(prefix, set())
                watches.discard(watch)
                if not watches:
                    self._watches.pop(prefix, None)
            self._measure()

    def publish(self, changes: Iterable[Change]) -> None:
        """Hand the changes of whole commits, in their order, to the watches they concern.

        One thread calls this at a time.
        """
        concerned: dict[FedWatch, list[Change]] = {}
        with self._lock:
            for change in changes:
                for length in self._lengths:
                    if length <= len(change.key):
                        for watch in self._watches.get(change.key[:length], ()):
                            concerned.setdefault(watch, []).append(change)
        for watch, of_watch in concerned.items():
            watch.put(of_watch)

    def fail(self, error: Callable[[], SnnetError]) -> None:
        """Have every watch raise an error of its own from its next ``next``, once."""
        for watch in self._all():
            watch.fail(error())

    def lose(self, revision: int) -> None:
        """End every watch that has not yet received what was committed up to ``revision``."""
        for watch in self._all():
            watch.lose(revision)

    def close(self) -> None:
        """Close all watches."""
        for watch in self._all():
            watch.close()

    def __bool__(self) -> bool:
        return bool(self._watches)

    def _all(self) -> set[FedWatch]:
        with self._lock:
            return {watch for watches in self._watches.values() for watch in watches}

    def _measure(self) -> None:
        self._lengths = tuple(sorted({len(prefix) for prefix in self._watches}))


class FedWatch(RegistryWatch):
    """A watch that a feed fills.

    What is not yet taken is kept by key, in its last state: a watch that nobody reads
    grows to the number of keys and no further.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        after: int,
        closed: Callable[[FedWatch], None],
    ) -> None:
        """``prefixes`` do not cover each other (``check_prefixes``).

        ``closed`` is called when the watch is closed.
        """
        self.prefixes = tuple(prefixes)
        self._position = after
        self._on_close = closed
        self._changed = threading.Condition(threading.Lock())
        self._pending: dict[str, Change] = {}
        self._failure: SnnetError | None = None
        self._lost: str | None = None
        self._closed = False
        self._pid = os.getpid()

    def put(self, changes: Sequence[Change]) -> None:
        """Add changes in the order of their commits.  Ignores those that it already has."""
        with self._changed:
            for change in changes:
                if self.is_new(change):
                    self._pending.pop(change.key, None)
                    self._pending[change.key] = change
            if changes:
                self._position = max(self._position, changes[-1].revision)
            self._changed.notify_all()

    def is_new(self, change: Change) -> bool:
        """Whether the watch does not have this change yet."""
        return change.revision > self._position

    def fail(self, error: SnnetError) -> None:
        """Raise the error from the next ``next``."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def lose(self, revision: int) -> None:
        """Raise ``Compacted`` from now on, if changes up to ``revision`` are missing here."""
        if self._position < revision:
            self.end(
                f"changes after revision {self._position} are no longer kept, only those "
                f"after {revision}: read again, and watch from that revision"
            )

    def end(self, reason: str) -> None:
        """Raise ``Compacted`` from now on."""
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def next(self, timeout: float | None = None) -> list[Changed]:
        """See :meth:`snnet.contract.RegistryWatch.next`."""
        if self._pid != os.getpid():
            raise InvalidRequest("this watch was opened before a fork: open another here")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not (self._closed or self._pending or self._failure or self._lost):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return []
                self._changed.wait(left)
            if self._closed:
                return []
            if self._lost:
                raise Compacted(self._lost)
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            taken, self._pending = self._pending, {}
        return [change.decoded() for change in taken.values()]

    def close(self) -> None:
        """See :meth:`snnet.contract.RegistryWatch.close`.  In a forked child it does nothing."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            self._pending.clear()
            self._changed.notify_all()
        self._on_close(self)
