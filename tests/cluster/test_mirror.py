"""The copy of a part of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from snnet import Unavailable, open_registry
from snnet.cluster.mirror import Mirror
from snnet.contract import Compacted, Delete, Put, Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("memory:") as registry:
        registry.commit([Put("a/1", {"n": 1}), Put("b/1", {"n": 1}), Put("c/1", {})])
        yield registry


def documents(mirror: Mirror) -> dict[str, object]:
    return {key: dict(entry.document) for key, entry in mirror.reading().entries.items()}


def test_it_has_what_is_under_its_prefixes(registry: Registry) -> None:
    mirror = Mirror(registry)
    assert mirror.follow("a/", "b/")
    assert not mirror.follow("a/", "b/")
    assert documents(mirror) == {"a/1": {"n": 1}, "b/1": {"n": 1}}
    assert [entry.key for entry in mirror.under("b/")] == ["b/1"]
    registry.commit([Put("a/2", {}), Delete("b/1"), Put("c/2", {})])
    assert mirror.refresh(5) == {"a/2", "b/1"}
    assert documents(mirror) == {"a/1": {"n": 1}, "a/2": {}}
    assert mirror.revision == registry.read().revision
    assert mirror.refresh(0) == set()


def test_other_prefixes_are_a_new_reading(registry: Registry) -> None:
    mirror = Mirror(registry)
    mirror.follow("a/")
    assert mirror.follow("c/")
    assert documents(mirror) == {"c/1": {}}


def test_what_is_apart_and_what_is_read_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(registry)
    reading = mirror.follow("a/", apart=("b/",), once=("c/",))
    assert reading is not None
    assert list(reading.entries) == ["a/1", "b/1", "c/1"]
    assert list(documents(mirror)) == ["a/1", "b/1"]
    assert mirror.follow("a/", apart=("b/",), once=("c/",)) is None
    registry.commit([Put("a/2", {}), Put("b/2", {}), Put("c/2", {})])
    assert mirror.refresh(5) == {"a/2", "b/2"}
    assert mirror.refresh(0) == set()
    monkeypatch.setattr(mirror._watch, "next", Mock(side_effect=Compacted("too old")))
    assert mirror.refresh(0) == {"a/1", "a/2", "b/1", "b/2"}
    registry.commit([Put("b/3", {}), Put("c/3", {})])
    assert mirror.refresh(5) == {"b/3"}
    assert mirror.follow("a/", "b/") is not None, "that is another question"


def test_lost_changes_are_read_anew(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``Compacted`` all is read again, and every document counts as changed."""
    mirror = Mirror(registry)
    mirror.follow("a/")
    registry.commit([Delete("a/1"), Put("a/2", {})])

    def compacted(timeout: float | None = None) -> list[object]:
        monkeypatch.undo()
        raise Compacted("too old")

    monkeypatch.setattr(mirror._watch, "next", compacted)
    assert mirror.refresh(0) == {"a/1", "a/2"}
    assert documents(mirror) == {"a/2": {}}
    registry.commit([Put("a/3", {})])
    assert mirror.refresh(5) == {"a/3"}


def test_without_an_answer_the_copy_stays(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that fails, also in the middle of a change of prefixes, changes nothing."""
    mirror = Mirror(registry)
    mirror.follow("a/")
    before = documents(mirror)

    def unavailable(*arguments: object, **keywords: object) -> None:
        raise Unavailable("no quorum")

    for method in ("read", "watch"):
        with monkeypatch.context() as patch:
            patch.setattr(registry, method, unavailable)
            with pytest.raises(Unavailable):
                mirror.follow("b/")
        assert documents(mirror) == before
    assert mirror.follow("b/")


def test_a_reading_is_in_order_and_stays(registry: Registry) -> None:
    """As one of the registry itself: what comes later is in the next reading, at its place."""
    mirror = Mirror(registry)
    mirror.follow("a/", "b/")
    before = mirror.reading()
    registry.commit([Put("a/0", {}), Put("b/0", {}), Delete("b/1")])
    mirror.refresh(5)
    assert list(before.entries) == ["a/1", "b/1"]
    after = mirror.reading()
    assert after == registry.read("a/", "b/")
    assert list(after.entries) == ["a/0", "a/1", "b/0"]
    assert mirror.reading() is after, "nothing has changed"
