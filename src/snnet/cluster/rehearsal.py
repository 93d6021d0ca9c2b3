"""A registry for dry runs: it says what commits would do, and writes nothing."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from snnet.contract import Delete, Entry, Reading, Registry, Stale, Unsupported, check_commit
from snnet.contract.registries import RegistryWatch, Session, Write

from .drafts import seen


class Rehearsal(Registry):
    """Another registry as it would be after the commits that were made here.

    What a writer says on it is what it would say on the other one, which stays as it is.
    """

    def __init__(self, real: Registry) -> None:
        self._real = real
        self._written: dict[str, Entry | None] = {}
        self._keys: list[str] = []
        """Of what was written, sorted: a file may have thousands of objects."""
        self._revision = 0

    def read(self, *prefixes: str) -> Reading:
        reading = self._real.read(*prefixes)
        found = dict(reading.entries)
        for key in self._under(prefixes):
            entry = self._written[key]
            if entry is None:
                found.pop(key, None)
            else:
                found[key] = entry
        self._revision = max(self._revision, reading.revision)
        return Reading(self._revision, dict(sorted(found.items())))

    def _under(self, prefixes: Sequence[str]) -> Iterator[str]:
        for prefix in prefixes:
            for key in islice(self._keys, bisect_left(self._keys, prefix), None):
                if not key.startswith(prefix):
                    break
                yield key

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        _, expected = check_commit(writes, expected)
        now = seen(self.read(*expected), expected)
        if stale := [key for key, revision in expected.items() if now[key] != revision]:
            raise Stale(f"{', '.join(stale)} changed meanwhile", keys=stale)
        self._revision += 1
        for write in writes:
            if write.key not in self._written:
                insort(self._keys, write.key)
            self._written[write.key] = (
                None
                if isinstance(write, Delete)
                else Entry(write.key, write.document, self._revision)
            )
        return self._revision

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        raise Unsupported("a dry run has no news: watch the registry itself")

    def session(self, ttl: float) -> Session:
        raise Unsupported("a dry run has no sessions: open one of the registry itself")

    def close(self) -> None:
        """Leave the other registry open."""
