"""The tests that every store must pass, for its author to inherit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnet.contract import SnnetError, Store, Write

_TEXT = 'a "quoted"\nline, ünïcödé, and an escaped NUL: \\0'


class StoreSuite:
    """Subclass it and give it a fixture ``open_store``, which opens a store in a folder::

        class TestMine(StoreSuite):
            @pytest.fixture
            def open_store(self):
                return MyStore

    ``outlives`` says whether documents are still there when the folder is opened again.
    """

    outlives = True

    @pytest.fixture
    def open_store(self) -> Callable[[Path], Store]:
        raise NotImplementedError("give your class a fixture 'open_store'")

    @pytest.fixture
    def store(self, open_store: Callable[[Path], Store], tmp_path: Path) -> Iterator[Store]:
        store = open_store(tmp_path)
        yield store
        store.close()

    def test_an_unknown_table_is_empty(self, store: Store) -> None:
        """A table can be read before anything was written to it."""
        assert store.read("t") == {}

    @pytest.mark.parametrize("document", [{}, {"a": {"b": [1, 2.5, None, True, _TEXT]}}])
    def test_documents_come_back_as_they_were(
        self, store: Store, document: dict[str, object]
    ) -> None:
        """Any JSON object is stored unchanged, under any key."""
        store.write([Write("t", _TEXT, document)])
        assert store.read("t") == {_TEXT: document}

    def test_tables_are_apart(self, store: Store) -> None:
        """The same key in two tables is two documents."""
        store.write([Write("t", "k", {"n": 1}), Write("u", "k", {"n": 2})])
        store.write([Write("t", "k", None)])
        assert store.read("t") == {}
        assert store.read("u") == {"k": {"n": 2}}

    def test_the_last_write_wins(self, store: Store) -> None:
        """The last write wins; the writes of one call are carried out in order."""
        store.write([Write("t", "k", {"n": 1})])
        store.write([Write("t", "k", None), Write("t", "k", {"n": 2}), Write("t", "k", {"n": 3})])
        assert store.read("t") == {"k": {"n": 3}}

    def test_removing_what_is_not_there(self, store: Store) -> None:
        """Removing a missing document is no error; neither is an empty call."""
        store.write([Write("t", "k", None)])
        store.write([])
        assert store.read("t") == {}

    def test_all_or_none(self, store: Store) -> None:
        """If one document cannot be stored, no write of the same call takes effect."""
        store.write([Write("t", "k", {"n": 1})])
        with pytest.raises((SnnetError, TypeError)):
            store.write([Write("t", "k", None), Write("t", "l", {"n": object()})])
        assert store.read("t") == {"k": {"n": 1}}

    def test_what_was_read_is_a_copy(self, store: Store) -> None:
        """Changing what ``read`` returned does not change the store."""
        store.write([Write("t", "k", {"list": [1]})])
        store.read("t")["k"]["list"].append(2)
        store.read("t").clear()
        assert store.read("t") == {"k": {"list": [1]}}

    def test_many_threads(self, store: Store) -> None:
        """Any number of threads may write and read."""

        def work(name: str) -> None:
            for number in range(20):
                store.write([Write("t", f"{name}{number}", {"n": number})])
                store.read("t")

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.read("t")) == 80

    def test_closed_and_opened_again(
        self, open_store: Callable[[Path], Store], tmp_path: Path
    ) -> None:
        """Documents survive closing; a store may be closed more than once."""
        first = open_store(tmp_path)
        first.write([Write("t", "k", {"n": 1})])
        first.close()
        first.close()
        second = open_store(tmp_path)
        assert second.read("t") == ({"k": {"n": 1}} if self.outlives else {})
        second.close()
