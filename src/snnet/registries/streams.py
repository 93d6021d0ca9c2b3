"""The watches of the etcd registry: a thread and a stream each, which outlive members."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from snnet.contract import ApiError, Compacted, Unavailable

from .feeds import Change, FedWatch
from .gateway import Gateway, Json, Stream

PULSE = 3.0
"""Seconds between two questions to a member whether it is still there."""

_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class Written:
    """What was written under a prefix, and how many keys there are."""

    changes: Sequence[Change]
    count: int


class Source(Protocol):
    """What the watches need of the registry."""

    def range(self, prefix: str) -> Json: ...
    def change(self, pair: Json, *, removed: bool = False) -> Change: ...
    def keys(self, prefixes: Sequence[str], at: int = 0) -> tuple[int, set[str]]: ...
    def written(
        self, prefixes: Sequence[str], after: int, seen: int = 0
    ) -> tuple[int, list[Written]]: ...


class Streams:
    """The watches of one registry, and the pulse of the members that serve them."""

    def __init__(self, gateway: Gateway, source: Source) -> None:
        self._gateway = gateway
        self._source = source
        self._lock = threading.Lock()
        self._followers: dict[FedWatch, list[_Follower]] = {}
        self._closed = threading.Event()
        self._pulse: threading.Thread | None = None

    def watch(self, groups: Sequence[Sequence[str]], after: int) -> FedWatch:
        """A watch of groups of prefixes, which do not cover each other."""
        watch = _Watch(list(chain.from_iterable(groups)), after, self._forget)
        followers: list[_Follower] = [
            (_OfOne if len(group) == 1 else _OfSeveral)(
                self._gateway, self._source, watch, group, after
            )
            for group in groups
            if group
        ]
        if followers:
            with self._lock:
                self._followers[watch] = followers
                if self._pulse is None:
                    self._pulse = threading.Thread(
                        target=self._check_members, name="snnet-etcd-pulse", daemon=True
                    )
                    self._pulse.start()
            for follower in followers:
                follower.start()
        return watch

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            watches = dict(self._followers)
        for watch in watches:
            watch.close()
        for follower in chain.from_iterable(watches.values()):
            follower.join()
        if self._pulse is not None:
            self._pulse.join()

    def _forget(self, watch: FedWatch) -> None:
        with self._lock:
            followers = self._followers.pop(watch, [])
        for follower in followers:
            follower.stop()

    def _check_members(self) -> None:
        """Break streams of members that no longer answer: nothing else would."""
        while not self._closed.wait(PULSE):
            with self._lock:
                followers = list(chain.from_iterable(self._followers.values()))
            alive: dict[int, bool] = {}
            for follower in followers:
                stream = follower.stream
                if stream is not None:
                    if stream.member not in alive:
                        alive[stream.member] = stream.alive()
                    if not alive[stream.member]:
                        stream.close()


class _Watch(FedWatch):
    """Is fed by followers that repeat nothing, each of which is at a revision of its own."""

    def is_new(self, change: Change) -> bool:
        return True


class _Follower(threading.Thread):
    """Hands what etcd reports of a group of prefixes to one watch."""

    def __init__(
        self,
        gateway: Gateway,
        source: Source,
        watch: FedWatch,
        prefixes: Sequence[str],
        after: int,
    ) -> None:
        super().__init__(name="snnet-etcd-watch", daemon=True)
        self.stream: Stream | None = None
        """The pulse checks it from its first moment on."""
        self._served = False
        """Whether etcd follows the prefixes in that stream: it answered, and not with a refusal."""
        self._gateway = gateway
        self._source = source
        self._watch = watch
        self._prefixes = prefixes
        self._position = after
        """What was changed up to this revision was handed out."""
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        stream = self.stream
        if stream is not None:
            stream.close()

    def run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                self._begin()
                self._follow()
            except Compacted as error:
                self._watch.end(str(error))
                return
            except ApiError as error:
                failures = 0 if self._served else failures + 1
                self.stream, self._served = None, False
                # The first failure is that of the member; the next one may do.
                if failures > 1 and not self._stopped.is_set():
                    self._watch.fail(Unavailable(str(error)))
                    self._stopped.wait(_RETRY)

    def _begin(self) -> None:
        """Prepare for a stream from the position on."""
        raise NotImplementedError

    def _hand_out(self, changes: Sequence[Change]) -> None:
        """Hand out changes that the stream reports, in the order of their commits."""
        raise NotImplementedError

    def _follow(self) -> None:
        """Hand out what the stream reports until it breaks.  Raises ``ApiError``."""
        start = str(self._position + 1)
        requests = [
            {"create_request": {**self._source.range(prefix), "start_revision": start}}
            for prefix in self._prefixes
        ]
        self.stream = stream = self._gateway.stream("/v3/watch", requests)
        try:
            if self._stopped.is_set():
                return
            for answer in stream:
                if self._stopped.is_set():
                    return
                if answer.get("canceled"):
                    self._canceled(answer)
                self._served = True
                self._hand_out([_event(self._source, event) for event in answer.get("events", [])])
            raise Unavailable("etcd ended the stream of a watch")
        finally:
            stream.close()

    def _canceled(self, answer: Json) -> None:
        oldest = answer.get("compact_revision")
        if oldest:
            raise Compacted(
                f"changes after revision {self._position} are no longer kept, only those after "
                f"{oldest}: read again, and watch from that revision"
            )
        raise Unavailable(f"etcd ended a watch: {answer.get('cancel_reason', '')}")


class _OfOne(_Follower):
    """Follows one prefix: its stream has whole commits, in order, from any revision on."""

    def _begin(self) -> None:
        now, _ = self._source.keys([])
        if now < self._position:
            raise Compacted(
                f"etcd is at revision {now}, not {self._position}: it was restored from a "
                "backup; read again"
            )

    def _hand_out(self, changes: Sequence[Change]) -> None:
        if changes:
            self._watch.put(changes)
            self._position = changes[-1].revision


class _OfSeveral(_Follower):
    """Follows several prefixes.

    Each has a stream of its own, and no one knows how far the others are.  So the streams
    only tell that something has changed; what it is comes from a reading of one revision:
    what was written since the last one, and the number of keys, which tells whether any are
    gone that no stream has told of yet.
    """

    def __init__(
        self,
        gateway: Gateway,
        source: Source,
        watch: FedWatch,
        prefixes: Sequence[str],
        after: int,
    ) -> None:
        super().__init__(gateway, source, watch, prefixes, after)
        self._known: dict[str, set[str]] | None = None
        self._removed: dict[str, int] = {}

    def _begin(self) -> None:
        if self._known is None:
            self._known = self._keys(self._position) if self._position else self._sorted(())
        self._compare()

    def _hand_out(self, changes: Sequence[Change]) -> None:
        new = [change for change in changes if change.revision > self._position]
        self._removed |= {change.key: change.revision for change in new if change.text is None}
        if new:
            self._compare(max(change.revision for change in new))

    def _compare(self, seen: int = 0) -> None:
        """Hand out how the documents differ from what was known.

        ``seen`` is a revision that a member has reached by now, 0 if that is not known.
        """
        assert self._known is not None
        now, found = self._source.written(self._prefixes, self._position, seen)
        if now < self._position:
            raise Compacted(f"etcd was restored from a backup of revision {now}: read again")
        changes = [change for written in found for change in written.changes]
        there = self._sorted(change.key for change in changes)
        gone = set[str]()
        for prefix, written in zip(self._prefixes, found, strict=True):
            kept = self._known[prefix] - self._removed.keys() | there[prefix]
            if len(kept) != written.count:
                kept = self._keys(now, prefix)[prefix]
            gone |= self._known[prefix] - kept
            self._known[prefix] = kept
        changes += [Change(key, None, self._removed.get(key, now)) for key in gone]
        self._watch.put(sorted(changes, key=lambda change: change.revision))
        self._position = now
        self._removed.clear()

    def _keys(self, at: int, *prefixes: str) -> dict[str, set[str]]:
        """The keys that were there at a revision, by prefix."""
        _, keys = self._source.keys(prefixes or self._prefixes, at)
        return self._sorted(keys)

    def _sorted(self, keys: Iterable[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {prefix: set() for prefix in self._prefixes}
        for key in keys:
            # No prefix is the beginning of another.
            found[next(prefix for prefix in found if key.startswith(prefix))].add(key)
        return found


def _event(source: Source, event: Json) -> Change:
    return source.change(event["kv"], removed=event.get("type") == "DELETE")
