"""Reading: keys, prefixes, documents."""

from __future__ import annotations

from typing import Any

import pytest

from snnet.contract import (
    COMMIT_BYTES_MAX,
    DEPTH_MAX,
    KEY_MAX,
    Delete,
    Document,
    InvalidRequest,
    Put,
    Registry,
)

from .base import Base, documents
from .place import RegistryPlace

TEXT = 'a "quoted"\nline, ünïcödé, 🦆, \u2028, a NUL: \0, and an escaped one: \\0'
# In the order of their UTF-8 bytes, which is not that of UTF-16.
KEYS = ("%", "*", "A", "B", "[a]", "_", "a", "a b", "a/b", "a\\b", "ab", "z", "é", "\uffee", "🦆")


def nested(levels: int) -> Document:
    document: dict[str, Any] = {}
    for level in range(levels - 1):
        document = {"in": [document]} if level % 2 else {"in": document}
    return document


class Documents(Base):
    def test_a_registry_is_empty_at_first(self, registry: Registry) -> None:
        """There is nothing to read, and the revision is one from which a watch can start."""
        reading = registry.read("")
        assert dict(reading.entries) == {}
        registry.watch("", after=reading.revision).close()

    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"": TEXT, "ü": {"deep": [[], {}, [{}]]}},
            {"numbers": [0, -1, 2**53 + 1, 10**30, 1.5, -0.0, 1e-300, 1e300]},
            {"constants": [None, True, False, "", "null"]},
            {"a": 1, "b": 2, "__proto__": 3},
        ],
    )
    def test_documents_come_back_as_they_were(self, registry: Registry, document: Document) -> None:
        """Any JSON object is stored unchanged, with its types."""
        revision = registry.commit([Put("k", document)])
        (entry,) = registry.read("").entries.values()
        assert (entry.key, entry.revision) == ("k", revision)
        assert repr(dict(entry.document)) == repr(dict(document))

    def test_tuples_and_mappings_are_lists_and_objects(self, registry: Registry) -> None:
        """What JSON can say is stored, whatever Python calls it."""
        from types import MappingProxyType

        registry.commit([Put("k", MappingProxyType({"a": (1, MappingProxyType({"b": ()}))}))])
        assert documents(registry, "") == {"k": {"a": [1, {"b": []}]}}

    def test_deep_documents(self, registry: Registry) -> None:
        """``DEPTH_MAX`` levels are stored, one more is refused; no depth breaks anything."""
        deepest = nested(DEPTH_MAX // 2)
        registry.commit([Put("k", deepest)])
        assert documents(registry, "") == {"k": deepest}
        levels: list[Any] = []
        for _ in range(DEPTH_MAX - 2):
            levels = [levels]
        registry.commit([Put("l", {"l": levels})])
        assert documents(registry, "l") == {"l": {"l": levels}}
        for bad in ({"l": [levels]}, nested(DEPTH_MAX * 50)):
            with pytest.raises(InvalidRequest):
                registry.commit([Put("m", bad)])

    @pytest.mark.parametrize(
        "document",
        [
            {"a": object()},
            {"a": b"bytes"},
            {"a": {1, 2}},
            {"a": float("nan")},
            {"a": float("inf")},
            {1: "a"},
            {"a": {None: "b"}},
            {"a": "\ud800"},
            {"\udfff": "a"},
            {"a": 10**5000},
            ["a"],
            "a",
            None,
            3,
        ],
    )
    def test_what_is_no_json_object_is_refused(self, registry: Registry, document: Any) -> None:
        """``InvalidRequest``, and nothing of the commit is stored."""
        with pytest.raises(InvalidRequest):
            registry.commit([Put("j", {}), Put("k", document)])
        assert documents(registry, "") == {}

    @pytest.mark.parametrize(
        "key",
        [
            *("", "a\0", "a\nb", "\x1b[0m", "\x7f", "a\x85", "\ud800"),
            *("k" * (KEY_MAX + 1), "é" * (KEY_MAX // 2) + "x", None, 3, b"k", ("k",)),
        ],
    )
    def test_bad_keys_are_refused(self, registry: Registry, key: Any) -> None:
        """``InvalidRequest`` in writes, conditions and (but for "") prefixes."""
        with pytest.raises(InvalidRequest):
            registry.commit([Put(key, {})])
        with pytest.raises(InvalidRequest):
            registry.commit([Delete(key)])
        with pytest.raises(InvalidRequest):
            registry.commit([], {key: 0})
        if key != "":
            with pytest.raises(InvalidRequest):
                registry.read(key)
            with pytest.raises(InvalidRequest):
                registry.watch(key, after=0)

    @pytest.mark.parametrize("key", ["k" * KEY_MAX, "é" * (KEY_MAX // 2), "🦆" * (KEY_MAX // 4)])
    def test_the_longest_keys(self, registry: Registry, key: str) -> None:
        """``KEY_MAX`` counts bytes of UTF-8."""
        registry.commit([Put(key, {"n": 1})])
        assert documents(registry, key[:-1]) == {key: {"n": 1}}
        assert documents(registry, key) == {key: {"n": 1}}

    def test_keys_come_in_the_order_of_their_bytes(self, registry: Registry) -> None:
        """Whatever the order of writing, and of the prefixes."""
        registry.commit([Put(key, {}) for key in reversed(KEYS)])
        assert sorted(KEYS, key=str.encode) == list(KEYS)
        assert list(registry.read("").entries) == list(KEYS)
        assert list(registry.read("é", "a", "%").entries) == [
            *("%", "a", "a b", "a/b", "a\\b", "ab", "é")
        ]

    @pytest.mark.parametrize(
        ("prefix", "found"),
        [
            ("a", ["a", "a b", "a/b", "a\\b", "ab"]),
            ("a/", ["a/b"]),
            ("A", ["A"]),
            ("%", ["%"]),
            ("_", ["_"]),
            ("*", ["*"]),
            ("[", ["[a]"]),
            ("é", ["é"]),
            ("🦆", ["🦆"]),
            ("ac", []),
            ("a/b/", []),
        ],
    )
    def test_a_prefix_is_the_beginning_of_a_key(
        self, registry: Registry, prefix: str, found: list[str]
    ) -> None:
        """It is compared exactly: nothing in it is a wildcard, and case counts."""
        registry.commit([Put(key, {}) for key in KEYS])
        assert list(registry.read(prefix).entries) == found

    def test_prefixes_at_the_end_of_all_texts(self, registry: Registry) -> None:
        """The last characters of Unicode and of a block are prefixes like any other."""
        keys = ["\ud7ff", "\ud7ffa", "\ue000", "\U0010ffff", "\U0010ffffz", "\U0010ffff\U0010ffff"]
        registry.commit([Put(key, {}) for key in keys])
        assert list(registry.read("\ud7ff").entries) == keys[:2]
        assert set(registry.read("\U0010ffff").entries) == set(keys[3:])
        assert list(registry.read("\U0010ffff\U0010ffff").entries) == keys[5:]

    def test_several_prefixes_are_read_at_once(self, registry: Registry) -> None:
        """A document under several of them comes once; without a prefix nothing is read."""
        revision = registry.commit([Put(key, {}) for key in ("a", "ab", "b", "c")])
        assert list(registry.read("ab", "a", "a", "c").entries) == ["a", "ab", "c"]
        reading = registry.read()
        assert (reading.revision, dict(reading.entries)) == (revision, {})

    def test_what_was_read_is_a_copy(self, registry: Registry) -> None:
        """Changing a document that was read or written does not change the registry."""
        written = {"list": [1]}
        registry.commit([Put("k", written)])
        written["list"].append(2)
        for _ in range(2):
            read: Any = registry.read("").entries["k"].document
            assert read == {"list": [1]}
            read["list"].append(3)

    def test_large_documents(self, registry: Registry) -> None:
        """A commit of ``COMMIT_BYTES_MAX`` is stored and read; one byte more is refused."""
        room = COMMIT_BYTES_MAX - len('{"t":""}')
        registry.commit([Put("k", {"t": "x" * room})])
        assert documents(registry, "k") == {"k": {"t": "x" * room}}
        with pytest.raises(InvalidRequest):
            registry.commit([Put("l", {"t": "x" * (room + 1)})])
        with pytest.raises(InvalidRequest):
            registry.commit([Put("l", {"t": "é" * (room // 2)}), Put("m", {})])
        assert list(registry.read("").entries) == ["k"]

    def test_documents_are_still_there_when_it_is_opened_again(self, place: RegistryPlace) -> None:
        """Documents and revisions outlive closing.  Closing may be repeated."""
        first = place.open()
        revision = first.commit([Put("k", {"n": 1})])
        if not place.outlives:
            place.open()
        first.close()
        first.close()
        second = place.open()
        assert second.read("").revision >= revision
        assert documents(second, "") == {"k": {"n": 1}}
        assert second.read("").entries["k"].revision == revision
        assert second.commit([Put("l", {})]) > revision
        place.close()

    def test_a_closed_registry_says_so(self, registry: Registry) -> None:
        """``InvalidRequest``, whatever is called."""
        session = registry.session(60)
        registry.close()
        for call in (
            lambda: registry.read(""),
            lambda: registry.commit([Put("k", {})]),
            lambda: registry.watch("", after=0),
            lambda: registry.session(60),
            session.renew,
        ):
            with pytest.raises(InvalidRequest):
                call()
        session.close()
