"""Backups of the registry in a file, and what a restore means to those who use it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.contract import Compacted, Delete, Put, Stale
from snnet.registries import history
from snnet.registries.sqlite import SqliteRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[SqliteRegistry]:
    with SqliteRegistry(f"//{path}") as registry:
        yield registry


def copy(source: Path, target: Path) -> None:
    """What ``sqlite3 SOURCE ".backup TARGET"`` does, and ``.restore`` the other way."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


def test_a_backup_while_it_is_written(path: Path, registry: SqliteRegistry) -> None:
    """It holds whole commits, and opens as a registry."""
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            registry.commit([Put("a", {"n": number}), Put("b", {"n": number})])
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            copy(path, path.with_name(f"backup{number}.db"))
    finally:
        done.set()
        thread.join()
    for number in range(3):
        with SqliteRegistry(f"//{path.with_name(f'backup{number}.db')}") as backup:
            found = backup.read("").entries
            assert len({str(entry.document) for entry in found.values()}) <= 1


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_restore_in_place(path: Path, registry: SqliteRegistry, overtaken: bool) -> None:
    """Those that run notice it: watches read again, and no revision is mistaken for another.

    Also if others have committed so much since that revisions are as high as before.
    """
    backup = path.with_name("backup.db")
    registry.commit([Put("k", {"n": 1})])
    copy(path, backup)
    for number in range(2, 6):
        last = registry.commit([Put("k", {"n": number})])
    watch = registry.watch("", after=last)
    copy(backup, path)
    if overtaken:
        with SqliteRegistry(f"//{path}") as other:
            for number in range(10):
                other.commit([Put("k", {"n": -number})])
    for revision in range(1, last + 1):
        with pytest.raises(Stale):
            registry.commit([Put("k", {"n": 100})], {"k": revision})
    with pytest.raises(Compacted):
        watch.next(5)
    with pytest.raises(Compacted):
        registry.watch("", after=last).next(5)
    reading = registry.read("")
    assert reading.entries["k"].document == ({"n": -9} if overtaken else {"n": 1})
    assert reading.revision >= last + history.RESTORED_STEP
    watch = registry.watch("", after=reading.revision)
    revision = registry.commit([Put("k", {"n": 7})], {"k": reading.entries["k"].revision})
    assert [change.revision for change in watch.next(5)] == [revision]


def test_all_that_run_notice_it_once(path: Path, registry: SqliteRegistry) -> None:
    """The revisions are raised by the first that notices; the others see that it did."""
    backup = path.with_name("backup.db")
    others = [SqliteRegistry(f"//{path}") for _ in range(3)]
    copy(path, backup)
    last = registry.commit([Put("k", {"n": 2})])
    watches = [other.watch("", after=other.read().revision) for other in others]
    copy(backup, path)
    for watch in watches:
        with pytest.raises(Compacted):
            watch.next(5)
    revisions = {opened.read("").revision for opened in (registry, *others)}
    assert len(revisions) == 1
    assert last + history.RESTORED_STEP <= revisions.pop() < last + 2 * history.RESTORED_STEP
    for other in others:
        other.close()


def test_another_file_under_the_same_name(path: Path, registry: SqliteRegistry) -> None:
    """A file that was moved into the place is used from then on, as a restored one."""
    registry.commit([Put("k", {"n": 1})])
    backup = path.with_name("backup.db")
    copy(path, backup)
    last = registry.commit([Put("k", {"n": 2})])
    watch = registry.watch("", after=last)
    path.with_name("registry.db-wal").unlink()
    path.with_name("registry.db-shm").unlink()
    shutil.move(backup, path)
    with pytest.raises(Compacted):
        watch.next(5)
    assert registry.read("").entries["k"].document == {"n": 1}
    revision = registry.commit([Delete("k")])
    with SqliteRegistry(f"//{path}") as other:
        assert dict(other.read("").entries) == {}
        assert other.read("").revision == revision


def test_what_was_compacted_long_ago_is_no_restore(path: Path, registry: SqliteRegistry) -> None:
    """A process that slept through a compaction goes on with the revisions that it knows."""
    first = registry.commit([Put("k", {})])
    with SqliteRegistry(f"//{path}") as other:
        for number in range(5):
            revision = other.commit([Put("l", {"n": number})])
        other.compact(revision)
    assert registry.commit([Put("k", {})], {"k": first}) == revision + 1
