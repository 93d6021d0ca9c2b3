"""The registry in memory, for tests and simulations: gone with its last user."""

from __future__ import annotations

import bisect
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snnet.contract import (
    EncodedWrite,
    InvalidRequest,
    Reading,
    Registry,
    RegistryWatch,
    Session,
    SessionLost,
    Stale,
    Write,
    check_commit,
    check_prefixes,
    check_revision,
    check_ttl,
)

from .feeds import Change, FedWatch, Feed
from .ranges import after_prefix

COMMITS_KEPT = 10_000
"""A watch may start this many commits ago."""

_LOOK = 60.0
"""Seconds between looks for sessions that ended: a sleeping host does not count them."""

_named: weakref.WeakValueDictionary[str, Documents] = weakref.WeakValueDictionary()
_naming = threading.Lock()


def now() -> float:
    """Seconds since boot, time asleep included; no clock step changes it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class MemoryRegistry(Registry):
    """Documents in this process.

    All that open "memory:NAME" share one set of documents, which lives until the last of
    them is closed.  "memory:" alone shares with nobody.  Durable means: for that long.
    """

    def __init__(self, url: str = "") -> None:
        with _naming:
            documents = _named.get(url) if url else None
            if documents is None:
                documents = Documents()
                if url:
                    _named[url] = documents
            documents.users += 1
        self._url = url
        self._documents: Documents | None = documents
        self._feed = documents.open_feed()
        self._pid = os.getpid()

    def read(self, *prefixes: str) -> Reading:
        """See :meth:`snnet.contract.Registry.read`."""
        return self.documents().read(check_prefixes(prefixes))

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        """See :meth:`snnet.contract.Registry.commit`."""
        documents = self.documents()
        return documents.commit(*check_commit(writes, expected))

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch`."""
        documents = self.documents()
        return documents.watch(check_prefixes(prefixes), check_revision(after), self._feed)

    def session(self, ttl: float) -> Session:
        """See :meth:`snnet.contract.Registry.session`."""
        return MemorySession(self, check_ttl(ttl))

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision; watches that start before it are refused."""
        self.documents().compact(check_revision(revision, "revision"))

    def close(self) -> None:
        """See :meth:`snnet.contract.Registry.close`."""
        with _naming:
            documents, self._documents = self._documents, None
            if documents is None:
                return
            documents.users -= 1
            if not documents.users and self._url:
                # The thread that ends sessions can have them a moment longer.
                del _named[self._url]
        documents.close_feed(self._feed)

    @property
    def closed(self) -> bool:
        return self._documents is None

    def documents(self) -> Documents:
        """Return the documents.  Raise ``InvalidRequest`` after ``close`` or a fork."""
        if self._documents is None:
            raise InvalidRequest("this registry is closed: open it again")
        if self._pid != os.getpid():
            raise InvalidRequest("a registry in memory is not shared with forked processes")
        return self._documents


@dataclass(slots=True)
class _Stored:
    text: str
    revision: int
    session: str | None


@dataclass(slots=True)
class _Lease:
    ttl: float
    ends: float
    keys: set[str]


class Documents:
    """One set of documents, with its watches and sessions."""

    def __init__(self) -> None:
        self.users = 0
        self._changed = threading.Condition(threading.RLock())
        self._revision = 0
        self._stored: dict[str, _Stored] = {}
        self._keys: list[str] = []  # sorted
        self._log: deque[tuple[int, str]] = deque()  # the key of each change
        self._compacted = 0
        self._leases: dict[str, _Lease] = {}
        self._next_end = float("inf")  # no session ends before this
        self._feeds: list[Feed] = []
        self._sweeper: threading.Thread | None = None

    def open_feed(self) -> Feed:
        with self._changed:
            feed = Feed()
            self._feeds.append(feed)
            return feed

    def close_feed(self, feed: Feed) -> None:
        with self._changed:
            self._feeds.remove(feed)
            self._changed.notify_all()
        feed.close()

    def read(self, prefixes: Sequence[str]) -> Reading:
        with self._changed:
            self._sweep()
            revision = self._revision
            found = [
                Change(key, self._stored[key].text, self._stored[key].revision)
                for prefix in prefixes
                for key in self._under(prefix)
            ]
        return Reading(revision, {row.key: row.entry() for row in found})

    def commit(self, writes: Sequence[EncodedWrite], expected: Mapping[str, int]) -> int:
        with self._changed:
            self._sweep()
            stale = [key for key, revision in expected.items() if revision != self._at(key)]
            if stale:
                raise Stale(f"changed by somebody else: {', '.join(stale)}", keys=stale)
            for write in writes:
                if write.session is not None and write.session not in self._leases:
                    raise SessionLost(f"{write.key}: session {write.session} has ended")
            self._carry_out(writes)
            return self._revision

    def watch(self, prefixes: Sequence[str], after: int, feed: Feed) -> RegistryWatch:
        watch = FedWatch(prefixes, after, feed.remove)
        with self._changed:
            self._sweep()
            watch.lose(self._compacted)
            watch.put(self._since(after, prefixes))
            feed.add(watch)
        return watch

    def compact(self, revision: int) -> None:
        with self._changed:
            self._compacted = max(self._compacted, min(revision, self._revision))
            while self._log and self._log[0][0] <= self._compacted:
                self._log.popleft()

    def open_session(self, ttl: float) -> str:
        with self._changed:
            identity = secrets.token_hex(8)
            lease = self._leases[identity] = _Lease(ttl, now() + ttl, set())
            self._next_end = min(self._next_end, lease.ends)
            if self._sweeper is None:
                self._sweeper = threading.Thread(
                    target=self._end_sessions, name="snnet-memory-sessions", daemon=True
                )
                self._sweeper.start()
            self._changed.notify_all()
            return identity

    def renew_session(self, identity: str) -> None:
        with self._changed:
            self._sweep()
            lease = self._leases.get(identity)
            if lease is None:
                raise SessionLost(f"session {identity} has ended: open another")
            lease.ends = now() + lease.ttl

    def end_session(self, identity: str) -> None:
        """Remove the session and its documents.  An unknown one is not an error."""
        with self._changed:
            if identity in self._leases:
                self._carry_out([EncodedWrite(key, None) for key in self._leases[identity].keys])
                del self._leases[identity]

    def _carry_out(self, writes: Sequence[EncodedWrite]) -> None:
        """Write everything as one commit, if it changes something."""
        changing = [write for write in writes if write.text or write.key in self._stored]
        if not changing:
            return
        self._revision += 1
        changes = []
        for write in changing:
            self._put(write)
            self._log.append((self._revision, write.key))
            changes.append(Change(write.key, write.text, self._revision))
        self.compact(self._revision - COMMITS_KEPT)
        for feed in self._feeds:
            feed.publish(changes)

    def _put(self, write: EncodedWrite) -> None:
        old = self._stored.pop(write.key, None)
        if old is None:
            bisect.insort(self._keys, write.key)
        elif old.session is not None:
            self._leases[old.session].keys.discard(write.key)
        if write.text is None:
            del self._keys[bisect.bisect_left(self._keys, write.key)]
            return
        self._stored[write.key] = _Stored(write.text, self._revision, write.session)
        if write.session is not None:
            self._leases[write.session].keys.add(write.key)

    def _since(self, after: int, prefixes: Sequence[str]) -> list[Change]:
        """The last change of each key that was written after a revision."""
        latest: dict[str, int] = {}
        for revision, key in reversed(self._log):
            if revision <= after:
                break
            if key.startswith(tuple(prefixes)):
                latest.setdefault(key, revision)
        changes = []
        for key, revision in reversed(latest.items()):
            stored = self._stored.get(key)
            changes.append(Change(key, stored.text if stored else None, revision))
        return changes

    def _under(self, prefix: str) -> list[str]:
        start = bisect.bisect_left(self._keys, prefix)
        end = after_prefix(prefix)
        return self._keys[start : None if end is None else bisect.bisect_left(self._keys, end)]

    def _at(self, key: str) -> int:
        stored = self._stored.get(key)
        return stored.revision if stored else 0

    def _sweep(self) -> None:
        """End the sessions whose time has passed, each with a commit of its own."""
        time_now = now()
        if time_now < self._next_end:
            return
        for identity in [key for key, lease in self._leases.items() if lease.ends <= time_now]:
            self.end_session(identity)
        self._next_end = min((lease.ends for lease in self._leases.values()), default=float("inf"))

    def _end_sessions(self) -> None:
        """Wait for sessions to run out, while there are sessions and somebody who could see it."""
        with self._changed:
            while self._leases and self._feeds:
                self._changed.wait(min(max(0.0, self._next_end - now()), _LOOK))
                self._sweep()
            self._sweeper = None


class MemorySession(Session):
    def __init__(self, registry: MemoryRegistry, ttl: float) -> None:
        self._registry = registry
        self.id = registry.documents().open_session(ttl)

    def renew(self) -> None:
        """See :meth:`snnet.contract.Session.renew`."""
        self._registry.documents().renew_session(self.id)

    def close(self) -> None:
        """See :meth:`snnet.contract.Session.close`."""
        if not self._registry.closed:
            self._registry.documents().end_session(self.id)
