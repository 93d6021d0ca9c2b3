"""The embedded database: its file, its versions, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from snnet import plugins
from snnet.contract import DriverLoadError, DriverNotFound, SnnetError, Write
from snnet.stores.sqlite import SqliteStore


def test_its_file_is_its_owners_alone(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "snnet.db").stat().st_mode) == 0o600


def test_writes_are_synced_before_they_return(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    settings = [
        store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "user_version")
    ]
    assert settings == ["wal", 2, 1]
    store.close()


def test_a_killed_process_has_written_all_that_it_said(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        store = SqliteStore(tmp_path)
        number = 0
        while True:
            store.write([Write("t", str(number), {"n": number})])
            os.write(writer, b".")
            number += 1
    said = 0
    while said < 20:
        said += len(os.read(reader, 1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)
    said += len(os.read(reader, 1 << 20))
    os.close(reader)
    store = SqliteStore(tmp_path)
    assert len(store.read("t")) in (said, said + 1)
    store.close()


def test_a_newer_file_is_refused_and_let_be(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    database = sqlite3.connect(tmp_path / "snnet.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SnnetError, match=r"newer snnet .schema 99, this one knows 1."):
        SqliteStore(tmp_path)
    database = sqlite3.connect(tmp_path / "snnet.db")
    assert database.execute("PRAGMA user_version").fetchone() == (99,)
    database.close()


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "snnet.db").write_text("no database at all, but long enough to be looked at")
    with pytest.raises(SnnetError, match=r"cannot open the database .*not a database"):
        SqliteStore(tmp_path)
    with pytest.raises(SnnetError, match="cannot open the database"):
        SqliteStore(tmp_path / "nowhere")


@pytest.mark.parametrize("value", ["{", b"\xff"])
def test_a_damaged_document_is_named(tmp_path: Path, value: object) -> None:
    store = SqliteStore(tmp_path)
    store.write([Write("t", "k", {})])
    other = sqlite3.connect(tmp_path / "snnet.db", isolation_level=None)
    other.execute("UPDATE documents SET document = ?", (value,))
    other.close()
    with pytest.raises(SnnetError, match="is damaged: t 'k' is not JSON"):
        store.read("t")
    store.close()


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.write([Write("t", "k", {"n": 1})])
    other = sqlite3.connect(tmp_path / "snnet.db", isolation_level=None)
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON documents BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    with pytest.raises(SnnetError, match=r"cannot write .*full.* check its folder .* its disk"):
        store.write([Write("t", "k", None), Write("t", "l", {"n": 2})])
    assert store.read("t") == {"k": {"n": 1}}
    other.execute("DROP TRIGGER full")
    other.close()
    store.write([Write("t", "k", None)])
    assert store.read("t") == {}
    store.close()


def test_opened_by_name(tmp_path: Path) -> None:
    plugins.open_store("sqlite", tmp_path).close()
    with pytest.raises(DriverNotFound, match="no store 'etcd' is installed; installed: memory"):
        plugins.open_store("etcd", tmp_path)
    with pytest.raises(DriverLoadError, match="store 'sqlite' cannot be opened: TypeError"):
        plugins.open_store("sqlite", None)  # type: ignore[arg-type]
