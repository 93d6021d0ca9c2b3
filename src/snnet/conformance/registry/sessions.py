"""Sessions: their documents go with them, once, and not before."""

from __future__ import annotations

import time
from typing import Any

import pytest

from snnet.contract import Delete, InvalidRequest, Put, Registry, SessionLost, Stale

from .base import QUIET, SOON, Base, collect, documents
from .place import RegistryPlace


class Sessions(Base):
    def test_closing_a_session_removes_its_documents(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """All go in one commit that watches see; documents of others stay.  May be repeated."""
        session, other = registry.session(60), registry.session(60)
        revision = registry.commit(
            [Put("a", {}, session.id), Put("b", {}, session.id), Put("c", {}, other.id)]
        )
        registry.commit([Put("d", {})])
        watch = place.open().watch("", after=registry.read().revision)
        session.close()
        changes = watch.next(SOON)
        assert sorted((change.key, change.entry) for change in changes) == [
            ("a", None),
            ("b", None),
        ]
        assert {change.revision for change in changes} == {registry.read().revision}
        assert registry.read().revision > revision
        assert list(documents(registry, "")) == ["c", "d"]
        session.close()
        other.close()
        assert list(documents(registry, "")) == ["d"]

    def test_a_session_without_documents(self, registry: Registry) -> None:
        """Opening and ending it changes no document and no revision."""
        revision = registry.commit([Put("k", {})])
        session = registry.session(60)
        session.renew()
        session.close()
        assert registry.read().revision == revision

    def test_ids_are_different(self, registry: Registry) -> None:
        """No two sessions share an id."""
        sessions = [registry.session(60) for _ in range(20)]
        assert len({session.id for session in sessions}) == 20
        for session in sessions:
            session.close()

    def test_a_session_that_nobody_renews_ends(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """Not before its time, soon after it; watches see one removal, at a revision."""
        session = registry.session(place.ttl)
        began = time.monotonic()
        before = registry.commit([Put("k", {}, session.id), Put("l", {}, session.id)])
        watches = [registry.watch("", after=before), place.open().watch("", after=before)]
        for watch in watches:
            changes = collect(watch, lambda changes: len(changes) >= 2, place.ttl + SOON)
            assert time.monotonic() - began > place.ttl - 0.1
            assert sorted((change.key, change.entry) for change in changes) == [
                ("k", None),
                ("l", None),
            ]
            assert len({change.revision for change in changes}) == 1
            assert changes[0].revision > before
            assert watch.next(QUIET) == []
        assert documents(registry, "") == {}
        with pytest.raises(SessionLost):
            session.renew()
        with pytest.raises(SessionLost):
            registry.commit([Put("k", {}, session.id)])
        session.close()
        assert documents(registry, "") == {}

    def test_an_ended_session_is_ended_for_the_next_reader(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """Without any watch, too: neither reads nor conditions see its documents."""
        session = registry.session(place.ttl)
        revision = registry.commit([Put("k", {}, session.id)])
        time.sleep(place.ttl + 1.5)
        with pytest.raises(Stale):
            registry.commit([Delete("k")], {"k": revision})
        assert registry.commit([Put("k", {"n": 2})], {"k": 0}) > revision
        assert documents(registry, "") == {"k": {"n": 2}}

    def test_renewing_keeps_it(self, place: RegistryPlace, registry: Registry) -> None:
        """A session lives as long as it is renewed in time."""
        session = registry.session(place.ttl)
        registry.commit([Put("k", {}, session.id)])
        other = place.open()
        for _ in range(6):
            time.sleep(place.ttl / 4)
            session.renew()
            assert documents(other, "k") == {"k": {}}
        session.close()
        with pytest.raises(SessionLost):
            session.renew()

    def test_what_ends_a_document_is_its_last_write(self, registry: Registry) -> None:
        """A document written without the session, or with another one, is no longer its own."""
        first, second = registry.session(60), registry.session(60)
        registry.commit([Put(key, {}, first.id) for key in ("a", "b", "c", "d")])
        registry.commit([Put("a", {}), Put("b", {}, second.id), Delete("c")])
        registry.commit([Put("c", {})])
        first.close()
        assert list(documents(registry, "")) == ["a", "b", "c"]
        second.close()
        assert list(documents(registry, "")) == ["a", "c"]

    def test_a_session_can_be_used_by_others(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """Its id is enough."""
        session = registry.session(60)
        other = place.open()
        other.commit([Put("k", {}, session.id)])
        session.close()
        assert documents(other, "") == {}

    def test_an_unknown_session(self, registry: Registry) -> None:
        """``SessionLost``, and nothing of the commit is stored."""
        session = registry.session(60)
        session.close()
        with pytest.raises(SessionLost):
            registry.commit([Put("j", {}), Put("k", {}, session.id)])
        assert documents(registry, "") == {}

    def test_closing_the_registry_does_not_end_it(self, place: RegistryPlace) -> None:
        """It runs out, so that a short restart is not seen by anybody."""
        first, second = place.open(), place.open()
        session = first.session(place.ttl)
        first.commit([Put("k", {}, session.id)])
        first.close()
        assert documents(second, "") == {"k": {}}
        watch = second.watch("", after=second.read().revision)
        assert [change.entry for change in watch.next(place.ttl + SOON)] == [None]
        assert documents(second, "") == {}
        place.close()

    @pytest.mark.parametrize("ttl", [0, -1, 0.5, float("nan"), float("inf"), None, "5", True])
    def test_times_to_live(self, registry: Registry, ttl: Any) -> None:
        """A second at least, and a number."""
        with pytest.raises(InvalidRequest):
            registry.session(ttl)
