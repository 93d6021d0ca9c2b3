"""Watches: no gap, no repeat, in order, and ``Compacted`` when something is lost."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from snnet.contract import Changed, Compacted, Delete, InvalidRequest, Put, Reading, Registry

from .base import QUIET, SOON, Base, collect
from .place import RegistryPlace


def shape(changes: list[Changed]) -> list[tuple[str, object, int]]:
    """Key, document and revision of each change; checks that they agree."""
    for change in changes:
        if change.entry is not None:
            assert (change.entry.key, change.entry.revision) == (change.key, change.revision)
    return [(c.key, c.entry and c.entry.document, c.revision) for c in changes]


class Watches(Base):
    def test_changes_since_a_reading(self, registry: Registry) -> None:
        """A watch reports what was committed after its revision, before and after it began."""
        registry.commit([Put("k", {"n": 1})])
        reading = registry.read("")
        second = registry.commit([Put("k", {"n": 2}), Put("l", {})])
        watch = registry.watch("", after=reading.revision)
        assert sorted(shape(watch.next(SOON))) == [("k", {"n": 2}, second), ("l", {}, second)]
        third = registry.commit([Delete("k")])
        assert shape(watch.next(SOON)) == [("k", None, third)]
        assert watch.next(0) == []
        watch.close()

    def test_what_was_before_the_watch(self, registry: Registry) -> None:
        """A watch may start long ago; a document that came and went is reported as removed."""
        after = registry.read().revision
        registry.commit([Put("k", {"n": 1})])
        registry.commit([Delete("k")])
        registry.commit([Put("l", {"n": 2})])
        watch = registry.watch("", after=after)
        changes = collect(watch, lambda changes: any(c.key == "l" for c in changes))
        assert [(change.key, change.entry is None) for change in changes][-2:] == [
            ("k", True),
            ("l", False),
        ]

    def test_only_its_prefixes(self, registry: Registry) -> None:
        """Other documents are not reported; one under several prefixes is reported once."""
        watch = registry.watch("a/", "a/b", "c", after=registry.read().revision)
        none = registry.watch(after=registry.read().revision)
        registry.commit([Put("a", {}), Put("b", {}), Put("d", {})])
        revision = registry.commit([Put("a/b/1", {}), Put("c", {}), Put("a/c", {}), Put("b", {})])
        expected: list[tuple[str, object, int]] = [
            (key, {}, revision) for key in ("a/b/1", "a/c", "c")
        ]
        assert sorted(shape(watch.next(SOON))) == expected
        assert watch.next(QUIET) == []
        assert none.next(0) == []

    def test_prefixes_are_exact(self, registry: Registry) -> None:
        """No character of a prefix is a wildcard."""
        after = registry.read().revision
        watches = {
            prefix: registry.watch(prefix, after=after) for prefix in ("%", "_", "*", "é", "🦆")
        }
        registry.commit([Put("a", {}), Put("é1", {}), Put("🦆1", {}), Put("E", {})])
        end = registry.commit([Put(f"{prefix}end", {}) for prefix in watches])
        for prefix, watch in watches.items():
            changes = collect(watch, lambda found: any(c.revision == end for c in found))
            assert all(change.key.startswith(prefix) for change in changes)
            watch.close()

    def test_the_changes_of_a_commit_come_together(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """One call returns all changes of a commit that the watch reports."""
        watch = place.open().watch("k", after=registry.read().revision)
        for _ in range(20):
            revision = registry.commit([Put(f"k{number}", {}) for number in range(30)])
            assert [change.revision for change in watch.next(SOON)] == [revision] * 30

    def test_groups_of_prefixes(self, place: RegistryPlace, registry: Registry) -> None:
        """Of each group whole commits are reported, without a gap, once, and in order."""
        watch = place.open().watch_groups(
            [["a", "b", "a/"], ["c"], []], after=registry.read().revision
        )
        wanted = []
        for number in range(20):
            wanted.append(registry.commit([Put(f"{name}/{number}", {}) for name in "abcd"]))
        found: dict[str, list[list[int]]] = {"ab": [], "c": []}
        while any(sum(map(len, calls)) < 20 * len(group) for group, calls in found.items()):
            changes = watch.next(SOON)
            assert changes, f"the watch reported only {found}"
            for group, calls in found.items():
                calls.append([one.revision for one in changes if one.key[0] in group])
        for group, calls in found.items():
            assert [one for call in calls for one in call] == [
                revision for revision in wanted for _ in group
            ]
            for call in calls:
                assert all(call.count(revision) == len(group) for revision in call), "in parts"
        assert watch.next(QUIET) == []
        watch.close()

    def test_a_time_limit(self, registry: Registry) -> None:
        """``next`` returns an empty list when its time is over, not before."""
        watch = registry.watch("k", after=registry.read().revision)
        began = time.monotonic()
        assert watch.next(QUIET) == []
        assert QUIET - 0.05 <= time.monotonic() - began < QUIET + SOON
        assert watch.next(0) == []

    def test_closing_wakes_what_waits(self, registry: Registry) -> None:
        """Closing the watch or its registry ends a ``next`` without a time limit."""
        for close in ("watch", "registry"):
            watch = registry.watch("", after=registry.read().revision)
            results: list[object] = []
            thread = threading.Thread(target=_wait, args=(watch, results))
            thread.start()
            time.sleep(0.05)
            if close == "watch":
                watch.close()
            else:
                registry.close()
            thread.join(SOON)
            assert not thread.is_alive()
            assert results == [[]]
            watch.close()
            assert watch.next(SOON) == []

    def test_a_closed_watch_reports_nothing(self, registry: Registry) -> None:
        """Neither what is new nor what it had not reported yet."""
        watch = registry.watch("", after=registry.read().revision)
        registry.commit([Put("k", {})])
        watch.close()
        registry.commit([Put("k", {})])
        assert watch.next(0) == []

    def test_what_was_reported_is_a_copy(self, registry: Registry) -> None:
        """Two watches get documents of their own."""
        after = registry.read().revision
        first, second = registry.watch("", after=after), registry.watch("", after=after)
        registry.commit([Put("k", {"list": [1]})])
        for watch in (first, second):
            (change,) = watch.next(SOON)
            assert change.entry is not None
            document: Any = change.entry.document
            assert document == {"list": [1]}
            document["list"].append(2)
        assert registry.read("").entries["k"].document == {"list": [1]}

    @pytest.mark.parametrize("after", [-1, None, "1", 1.0, True])
    def test_a_watch_starts_at_a_revision(self, registry: Registry, after: Any) -> None:
        """Anything else is ``InvalidRequest``."""
        with pytest.raises(InvalidRequest):
            registry.watch("", after=after)

    def test_compaction(self, place: RegistryPlace, registry: Registry) -> None:
        """A watch from before it raises ``Compacted``; a reading and those from then on work."""
        first = registry.commit([Put("k", {"n": 1}), Put("gone", {})])
        registry.commit([Delete("gone")])
        second = registry.commit([Put("k", {"n": 2})])
        place.compact(registry, second)
        watch = registry.watch("", after=first)
        with pytest.raises(Compacted):
            watch.next(SOON)
        watch.close()
        reading = registry.read("")
        assert (reading.revision, reading.entries["k"].document) == (second, {"n": 2})
        watch = registry.watch("", after=second)
        third = registry.commit([Put("k", {"n": 3})], {"k": second})
        assert shape(watch.next(SOON)) == [("k", {"n": 3}, third)]
        assert registry.watch("", after=third).next(0) == []

    def test_compaction_does_not_end_watches_that_have_everything(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """An idle watch goes on, though its own prefix has not changed for long."""
        watch = registry.watch("mine", after=registry.read().revision)
        other = place.open()
        for number in range(20):
            revision = other.commit([Put(f"others/{number}", {})])
        assert watch.next(QUIET) == []
        place.compact(registry, revision)
        revision = other.commit([Put("mine", {})])
        assert shape(watch.next(SOON)) == [("mine", {}, revision)]

    def test_no_gap_and_no_repeat_beside_many_writers(self, place: RegistryPlace) -> None:
        """A reading and all that its watch reports give the final state, in order.

        Every commit writes a pair of equal documents, so a part of a commit would show.
        """
        registry = place.open()
        writers = [
            threading.Thread(target=_write_pairs, args=(place.open(), seed)) for seed in range(4)
        ]
        for writer in writers[:2]:
            writer.start()
        followers = []
        for number in range(3):
            opened = registry if number == 0 else place.open()
            reading = opened.read("pair/", "end")
            state = _state(reading)
            followers.append((opened, reading.revision, state))
        for writer in writers[2:]:
            writer.start()
        watches = [opened.watch("pair/", "end", after=at) for opened, at, _ in followers]
        for writer in writers:
            writer.join()
        registry.commit([Put("end", {})])
        final = registry.read("pair/", "end")
        for (_, after, state), watch in zip(followers, watches, strict=True):
            _replay(watch, after, state)
            assert state == _state(final)
        place.close()


def _state(reading: Reading) -> dict[str, Any]:
    return {key: (entry.document, entry.revision) for key, entry in reading.entries.items()}


def _wait(watch: Any, results: list[object]) -> None:
    results.append(watch.next())


def _write_pairs(registry: Registry, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(60):
        pair = dice.randrange(8)
        keys = (f"pair/{pair}/a", f"pair/{pair}/b")
        if dice.random() < 0.25:
            registry.commit([Delete(key) for key in keys])
        else:
            registry.commit([Put(key, {"n": number, "by": seed}) for key in keys])


def _replay(watch: Any, after: int, state: dict[str, Any]) -> None:
    """Apply what the watch reports to a reading until its end mark comes."""
    last, seen = after, set()
    while "end" not in state:
        changes = watch.next(SOON)
        assert changes, "the watch stopped before the end"
        for change in changes:
            assert change.revision >= last, "changes of commits out of order"
            assert change.revision > after
            assert (change.key, change.revision) not in seen, "reported twice"
            seen.add((change.key, change.revision))
            last = change.revision
            if change.entry is None:
                state.pop(change.key, None)
            else:
                state[change.key] = (change.entry.document, change.entry.revision)
        for pair in range(8):
            assert state.get(f"pair/{pair}/a") == state.get(f"pair/{pair}/b"), "half a commit"
