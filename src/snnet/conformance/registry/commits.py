"""Commits: all or nothing, conditions, limits, revisions."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from snnet.contract import COMMIT_MAX, Conflict, Delete, InvalidRequest, Put, Registry, Stale, Write

from .base import Base, documents
from .place import RegistryPlace


class Commits(Base):
    def test_revisions_grow(self, registry: Registry) -> None:
        """Each commit has a greater revision, and its documents have that of their commit."""
        seen = [registry.read("").revision]
        for number in range(5):
            revision = registry.commit([Put("k", {"n": number}), Put(f"k{number}", {})])
            reading = registry.read("")
            assert reading.revision == revision
            assert reading.entries["k"].revision == reading.entries[f"k{number}"].revision
            assert reading.entries["k"].revision == revision
            seen.append(revision)
        assert seen == sorted(set(seen))
        assert seen[1] >= 1
        assert [registry.read("").entries[f"k{n}"].revision for n in range(5)] == seen[1:]

    def test_a_commit_that_changes_nothing(self, registry: Registry) -> None:
        """It stores nothing and returns the present revision."""
        revision = registry.commit([Put("k", {})])
        assert registry.commit([]) == revision
        assert registry.commit([], {"k": revision, "l": 0}) == revision
        assert registry.commit([Delete("l"), Delete("m")]) == revision
        assert registry.read("").revision == revision

    def test_writing_the_same_document_is_a_change(self, registry: Registry) -> None:
        """The document has a new revision, so that a condition on the old one fails."""
        first = registry.commit([Put("k", {"n": 1})])
        second = registry.commit([Put("k", {"n": 1})])
        assert second > first
        assert registry.read("").entries["k"].revision == second

    def test_put_replaces_and_delete_removes(self, registry: Registry) -> None:
        """A document is replaced as a whole; removing a missing one is no error."""
        registry.commit([Put("k", {"a": 1}), Put("l", {"a": 1})])
        registry.commit([Put("k", {"b": 2}), Delete("l"), Delete("m")])
        assert documents(registry, "") == {"k": {"b": 2}}

    def test_writes_that_expect_revisions(self, registry: Registry) -> None:
        """A commit whose conditions hold is carried out; 0 means "not there"."""
        first = registry.commit([Put("k", {"n": 1})], {"k": 0})
        second = registry.commit([Put("k", {"n": 2}), Put("l", {})], {"k": first, "l": 0})
        third = registry.commit([Delete("k")], {"k": second, "l": second})
        fourth = registry.commit([Put("k", {"n": 4})], {"k": 0})
        assert first < second < third < fourth
        assert documents(registry, "") == {"k": {"n": 4}, "l": {}}

    def test_stale_commits_change_nothing(self, registry: Registry) -> None:
        """``Stale`` names the keys whose revision is another one, and no write is done."""
        first = registry.commit([Put("k", {"n": 1}), Put("l", {"n": 1}), Put("m", {})])
        second = registry.commit([Put("k", {"n": 2}), Delete("m")])
        before = registry.read("")
        for expected, stale in (
            ({"k": first, "l": first}, ("k",)),
            ({"k": 0, "l": first, "n": 0}, ("k",)),
            ({"k": second, "l": second}, ("l",)),
            ({"m": first}, ("m",)),
            ({"n": 1}, ("n",)),
            ({"k": second + 7}, ("k",)),
            ({"k": first, "m": first, "l": first}, ("k", "m")),
        ):
            with pytest.raises(Stale) as raised:
                registry.commit([Put("k", {"n": 3}), Delete("l"), Put("x", {})], expected)
            assert sorted(raised.value.keys) == sorted(stale)
            assert isinstance(raised.value, Conflict)
            with pytest.raises(Stale):
                registry.commit([], expected)
        assert registry.read("") == before

    def test_a_removed_document_never_has_its_revision_again(self, registry: Registry) -> None:
        """What was removed and written again is another document."""
        first = registry.commit([Put("k", {"n": 1})])
        registry.commit([Delete("k")])
        registry.commit([Put("k", {"n": 1})])
        with pytest.raises(Stale):
            registry.commit([Delete("k")], {"k": first})

    def test_the_largest_commits(self, registry: Registry) -> None:
        """``COMMIT_MAX`` writes and conditions together, not one more."""
        keys = [f"k{number:03}" for number in range(COMMIT_MAX)]
        registry.commit([Put(key, {}) for key in keys])
        assert list(registry.read("").entries) == keys
        registry.commit([Delete(key) for key in keys])
        half = keys[: COMMIT_MAX // 2]
        registry.commit([Put(key, {}) for key in half], dict.fromkeys(half, 0))
        with pytest.raises(Stale) as raised:
            registry.commit([], dict.fromkeys(keys, 0))
        assert sorted(raised.value.keys) == half
        before = registry.read("")
        too_large: list[tuple[list[Write], dict[str, int]]] = [
            ([Put(f"x{number}", {}) for number in range(COMMIT_MAX + 1)], {}),
            ([Delete(f"x{number}") for number in range(COMMIT_MAX + 1)], {}),
            ([Put(f"x{number}", {}) for number in range(51)], dict.fromkeys(keys[50:], 0)),
            ([], dict.fromkeys([*keys, "x"], 0)),
        ]
        for writes, expected in too_large:
            with pytest.raises(InvalidRequest):
                registry.commit(writes, expected)
        assert registry.read("") == before

    def test_a_key_is_written_once(self, registry: Registry) -> None:
        """Two writes of one key in a commit are refused."""
        put, delete = Put("k", {}), Delete("k")
        twice: list[list[Write]] = [[put, put], [put, delete], [delete, put], [delete, delete]]
        for writes in twice:
            with pytest.raises(InvalidRequest):
                registry.commit(writes)
        assert documents(registry, "") == {}

    @pytest.mark.parametrize(
        ("writes", "expected"),
        [
            (None, None),
            ("ab", None),
            ([None], None),
            ([("k", {})], None),
            ([{"key": "k"}], None),
            ([Put("k", {}, session="")], None),
            ([Put("k", {}, session=3)], None),  # type: ignore[arg-type]
            ([], ["k"]),
            ([], {"k": -1}),
            ([], {"k": None}),
            ([], {"k": "1"}),
            ([], {"k": True}),
            ([], {"k": 1.0}),
        ],
    )
    def test_requests_of_a_wrong_shape(
        self, registry: Registry, writes: Any, expected: Any
    ) -> None:
        """``InvalidRequest``, never an error of Python or of a library."""
        with pytest.raises(InvalidRequest):
            registry.commit(writes, expected)

    def test_many_openers_see_each_other(self, place: RegistryPlace, registry: Registry) -> None:
        """A commit that returned is seen by every read that begins afterwards."""
        others = [place.open() for _ in range(3)]
        for number in range(20):
            writer = (registry, *others)[number % 4]
            revision = writer.commit([Put("k", {"n": number})])
            for reader in (registry, *others):
                reading = reader.read("k")
                assert reading.revision >= revision
                assert reading.entries["k"].document == {"n": number}

    def test_many_threads(self, registry: Registry) -> None:
        """Any number of threads may use one registry; none loses a write."""
        threads = [threading.Thread(target=add, args=(registry, "k", 25)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert documents(registry, "") == {"k": {"n": 200}}

    def test_readings_are_of_one_revision(self, place: RegistryPlace, registry: Registry) -> None:
        """A reader never sees a part of a commit."""
        done = threading.Event()

        def write() -> None:
            writer = place.open()
            for number in range(200):
                writer.commit([Put("a", {"n": number}), Put("m/x", {}), Put("z", {"n": number})])
            done.set()

        registry.commit([Put("a", {"n": -1}), Put("z", {"n": -1})])
        thread = threading.Thread(target=write)
        thread.start()
        while not done.is_set():
            reading = registry.read("a", "z")
            assert reading.entries["a"].document == reading.entries["z"].document
            assert reading.entries["a"].revision == reading.entries["z"].revision
        thread.join()


def add(registry: Registry, key: str, times: int) -> None:
    """Count up by compare-and-swap."""
    for _ in range(times):
        while True:
            entry = registry.read(key).entries.get(key)
            number, revision = (entry.document["n"], entry.revision) if entry else (0, 0)
            try:
                registry.commit([Put(key, {"n": number + 1})], {key: revision})
                break
            except Stale:
                continue
