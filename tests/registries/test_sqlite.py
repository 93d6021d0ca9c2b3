"""The registry in a file: what is in it, who may use it, what a crash or a fork leaves."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import snnet
from snnet.contract import (
    ApiError,
    Changed,
    Delete,
    Denied,
    InvalidRequest,
    NoDocument,
    Put,
    Session,
    Unavailable,
)
from snnet.registries import file, follower, history
from snnet.registries.sqlite import SqliteRegistry
from snnet.system.users import gid_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[SqliteRegistry]:
    with SqliteRegistry(f"//{path}") as registry:
        yield registry


def direct(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def in_child(work: Callable[[], object]) -> str:
    """What the work returns or raises in a forked process, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = str(work())
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as result_file:
        return result_file.read()


class TestUrls:
    def test_absolute_and_relative(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with snnet.open_registry(f"sqlite://{tmp_path}/r.db") as absolute:
            absolute.commit([Put("k", {})])
            with snnet.open_registry("sqlite:r.db") as relative:
                monkeypatch.chdir("/")
                assert list(relative.read("").entries) == ["k"]

    @pytest.mark.parametrize("url", ["", "//host/r.db", "///", "folder/", ":memory:", "a\0b"])
    def test_what_names_no_file(self, url: str) -> None:
        with pytest.raises(InvalidRequest, match=r"write sqlite:///ABSOLUTE/PATH or sqlite:REL"):
            snnet.open_registry(f"sqlite:{url}")

    def test_a_missing_folder_is_made_but_not_its_parents(self, tmp_path: Path) -> None:
        with SqliteRegistry(f"//{tmp_path}/new/r.db"):
            assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o2770
        with pytest.raises(Unavailable, match="No such file or directory"):
            SqliteRegistry(f"//{tmp_path}/no/where/r.db")


class TestFile:
    def test_its_mode_and_its_settings(self, path: Path, registry: SqliteRegistry) -> None:
        registry.commit([Put("k", {})])
        for name in ("registry.db", "registry.db-wal", "registry.db-shm"):
            assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o660
        with registry._writer.writing() as connection:
            settings = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "user_version", "application_id")
            ]
        assert settings == ["wal", 2, file.SCHEMA, file.APPLICATION]

    def test_renewals_do_not_change_how_commits_are_synced(self, registry: SqliteRegistry) -> None:
        registry.session(60).renew()
        with registry._writer.writing() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_many_make_it_at_once(self, path: Path) -> None:
        ready = threading.Barrier(8)
        failures = []

        def make(name: str) -> None:
            try:
                ready.wait()
                with SqliteRegistry(f"//{path}") as registry:
                    registry.commit([Put(name, {})])
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=make, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with SqliteRegistry(f"//{path}") as registry:
            assert list(registry.read("").entries) == list("abcdefgh")
        assert [entry.name for entry in path.parent.iterdir()] == ["registry.db"]

    def test_a_newer_schema_is_refused_by_name(self, path: Path, registry: SqliteRegistry) -> None:
        """At once by those that run, and by those that open it; nothing is written."""
        registry.commit([Put("k", {})])
        other = direct(path)
        other.execute("UPDATE facts SET value = '9.9' WHERE name = 'snnet'")
        other.execute("PRAGMA user_version = 7")
        other.close()
        before = path.read_bytes()
        message = r"has schema 7, made by snnet 9\.9; this is snnet .*, which knows schema 1: upgr"
        for call in (
            lambda: registry.read(""),
            lambda: registry.commit([Put("k", {})]),
            lambda: registry.session(5),
            lambda: SqliteRegistry(f"//{path}"),
        ):
            with pytest.raises(Unavailable, match=message):
                call()
        assert path.read_bytes() == before

    def test_what_is_no_registry(self, path: Path) -> None:
        path.write_text("no database at all, but long enough to be looked at by the library")
        with pytest.raises(Unavailable, match=r"is damaged .*not a database.*: restore a backup"):
            SqliteRegistry(f"//{path}")
        path.unlink()
        other = direct(path)
        other.execute("CREATE TABLE documents (mine TEXT)")
        other.close()
        with pytest.raises(Unavailable, match="is not a snnet registry: move it away"):
            SqliteRegistry(f"//{path}")

    @pytest.mark.parametrize("value", ["", "{", "[1]", "[" * 100_000, b"\xff", 3])
    def test_what_is_no_document_hides_no_other(
        self, path: Path, registry: SqliteRegistry, value: object
    ) -> None:
        registry.commit([Put("k", {}), Put("l", {"n": 1})])
        watch = registry.watch("", after=1)
        other = direct(path)
        other.execute("UPDATE documents SET document = ? WHERE key = 'k'", (value,))
        found = registry.read("").entries
        assert isinstance(found["k"].document, NoDocument)
        assert {key: entry.document for key, entry in found.items()} == {"k": {}, "l": {"n": 1}}
        registry.commit([Put("k", {}), Put("l", {"n": 2})])
        other.execute("UPDATE documents SET document = ? WHERE key = 'k'", (value,))
        other.close()
        told = {change.key: change.entry for change in watch.next(5)}
        assert told["l"] is not None
        assert told["l"].document == {"n": 2}
        registry.commit([Delete("k")])
        assert list(registry.read("").entries) == ["l"]

    def test_a_file_that_vanishes(self, path: Path, registry: SqliteRegistry) -> None:
        """Is no empty registry: a caller must not take its documents for removed."""
        registry.commit([Put("k", {})])
        watch = registry.watch("", after=0)
        assert len(watch.next(5)) == 1
        path.unlink()
        with pytest.raises(Unavailable, match="No such file"):
            registry.read("")
        with pytest.raises(Unavailable, match="No such file") as raised:
            registry.commit([Put("k", {})])
        assert raised.value.unwritten
        with pytest.raises(Unavailable, match="No such file"):
            watch.next(5)

    def test_errors_of_the_file_say_whether_something_was_written(
        self, path: Path, registry: SqliteRegistry
    ) -> None:
        registry.commit([Put("k", {"n": 1})])
        other = direct(path)
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON commits BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        with pytest.raises(Unavailable, match="failed: full") as raised:
            registry.commit([Put("k", {"n": 2}), Put("l", {})])
        assert raised.value.unwritten
        assert registry.read("").entries["k"].document == {"n": 1}
        other.execute("DROP TRIGGER full")
        other.close()
        registry.commit([Put("k", {"n": 3})])
        assert list(registry.read("").entries) == ["k"]

    def test_a_lock_that_is_not_released(
        self, path: Path, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reads go on; a commit fails after the patience, unwritten."""
        monkeypatch.setattr("snnet.registries.database.PATIENCE", 0.1)
        other = direct(path)
        with SqliteRegistry(f"//{path}") as impatient:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match=r"keeps the registry .* locked") as raised:
                impatient.commit([Put("k", {})])
            assert raised.value.unwritten
            assert dict(impatient.read("").entries) == {}
            other.execute("ROLLBACK")
            impatient.commit([Put("k", {})])
        other.close()

    def test_compaction_by_itself(
        self, path: Path, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file does not grow with what was removed long ago."""
        monkeypatch.setattr(history, "_COMPACT_EVERY", 10)
        monkeypatch.setattr(history, "COMMITS_KEPT", 20)
        for number in range(45):
            registry.commit([Put(f"k{number}", {})])
            registry.commit([snnet.contract.Delete(f"k{number}")])
        other = direct(path)
        assert other.execute("SELECT count(*) FROM documents").fetchone()[0] <= 15
        assert other.execute("SELECT count(*) FROM commits").fetchone()[0] <= 31
        other.close()
        with pytest.raises(snnet.contract.Compacted):
            registry.watch("", after=60).next(0)
        assert len(registry.watch("", after=85).next(0)) > 0


class TestSessions:
    def test_they_end_with_the_boot(self, path: Path, registry: SqliteRegistry) -> None:
        session = registry.session(3600)
        revision = registry.commit([Put("k", {}, session.id)])
        watch = registry.watch("", after=revision)
        other = direct(path)
        other.execute("UPDATE sessions SET boot = 'of yesterday'")
        other.close()
        assert dict(registry.read("").entries) == {}
        assert shape(watch.next(5)) == [("k", False)]

    def test_they_run_out_once_for_all_processes(
        self, path: Path, registry: SqliteRegistry
    ) -> None:
        """Many that look at the same moment remove its documents in one commit."""
        openers = [SqliteRegistry(f"//{path}") for _ in range(6)]
        session = registry.session(1)
        revision = registry.commit([Put("k", {}, session.id)])
        watches = [opened.watch("", after=revision) for opened in openers]
        assert [shape(watch.next(5)) for watch in watches] == [[("k", False)]] * 6
        assert registry.read("").revision == revision + 1
        for opened in openers:
            opened.close()

    def test_a_clock_step_changes_nothing(
        self, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session: Session = registry.session(60)
        registry.commit([Put("k", {}, session.id)])
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert list(registry.read("").entries) == ["k"]
        session.renew()


class TestWatches:
    def test_other_writers_wake_them_at_once(self, path: Path, registry: SqliteRegistry) -> None:
        """Long before the look each second, whoever writes and however."""
        watch = registry.watch("", after=registry.read().revision)
        with SqliteRegistry(f"//{path}") as other:
            delays = []
            for number in range(20):
                began = time.monotonic()
                other.commit([Put("k", {"n": number})])
                assert len(watch.next(5)) == 1
                delays.append(time.monotonic() - began)
        assert sorted(delays)[10] < follower.LOOK / 4

    def test_a_watch_that_begins_before_others_are_told(
        self, path: Path, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it was given at its beginning is not reported again."""
        gate = threading.Event()
        publish = follower.Follower._publish

        def late(self: follower.Follower) -> None:
            gate.wait(10)
            publish(self)

        registry.watch("", after=0).close()  # starts the thread
        before = registry.read().revision
        monkeypatch.setattr(follower.Follower, "_publish", late)
        registry.commit([Put("k", {})])
        watch = registry.watch("", after=before)
        assert shape(watch.next(5)) == [("k", True)]
        gate.set()
        assert watch.next(0.3) == []
        registry.commit([Put("l", {})])
        assert shape(watch.next(5)) == [("l", True)]

    def test_commits_of_killed_writers_are_seen(self, path: Path, registry: SqliteRegistry) -> None:
        """A writer that died right after its commit has not touched the file any more."""
        watch = registry.watch("", after=registry.read().revision)
        # Not by a fork: the watch's thread may hold locks of SQLite, which a child never gets.
        write = (
            "import os, sys\n"
            "from snnet.contract import Put\n"
            "from snnet.registries.sqlite import SqliteRegistry\n"
            "registry = SqliteRegistry(sys.argv[1])\n"
            "os.utime = lambda *_: os._exit(9)\n"
            "registry.commit([Put('k', {})])\n"
        )
        assert subprocess.run([sys.executable, "-c", write, f"//{path}"]).returncode == 9
        assert shape(watch.next(5)) == [("k", True)]

    def test_without_inotify(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """They look each second; commits of the same process wake them at once."""

        def refuse(_: Path) -> None:
            raise ApiError("no more inotify instances")

        monkeypatch.setattr(follower, "FolderEvents", refuse)
        with SqliteRegistry(f"//{path}") as registry, SqliteRegistry(f"//{path}") as other:
            watch = registry.watch("", after=0)
            registry.commit([Put("k", {})])
            assert shape(watch.next(follower.LOOK / 2)) == [("k", True)]
            other.commit([Put("l", {})])
            assert shape(watch.next(5)) == [("l", True)]

    def test_what_others_commit_costs_what_it_changes(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many documents there are: every process that watches looks at each commit."""
        count, connect, long = 3000, sqlite3.connect, []

        def counting(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_progress_handler(lambda: long.append("a look at each"), count)
            return connection

        SqliteRegistry(f"//{path}").close()
        with contextlib.closing(direct(path)) as there:
            there.execute("BEGIN")
            rows = [(f"k/{number}",) for number in range(count)]
            there.executemany("INSERT INTO documents VALUES (?, 1, '{}', NULL)", rows)
            there.execute("COMMIT")
        monkeypatch.setattr(sqlite3, "connect", counting)
        with SqliteRegistry(f"//{path}") as registry, SqliteRegistry(f"//{path}") as other:
            session = other.session(60)
            after = other.commit([Put("other", {})])
            other.commit([Put("k/new", {}), Put("session", {}, session.id)])
            watch = registry.watch("k", "session", after=after)
            assert shape(watch.next(5)) == [("k/new", True), ("session", True)]
            session.close()
            assert shape(watch.next(5)) == [("session", False)]
        assert long == []

    def test_a_hundred_idle_watches_sleep(self, path: Path) -> None:
        """They take no processor time, and no file descriptors each."""
        with SqliteRegistry(f"//{path}") as registry:
            session = registry.session(3600)
            registry.commit([Put("k", {}, session.id)])
            watches = [registry.watch(f"k{number}", after=0) for number in range(100)]
            before_files = len(os.listdir("/proc/self/fd"))
            threads = [
                threading.Thread(target=watch.next, args=(2,), daemon=True) for watch in watches
            ]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            assert len(os.listdir("/proc/self/fd")) == before_files
            began = time.process_time()
            time.sleep(1)
            assert time.process_time() - began < 0.05
            for thread in threads:
                thread.join()

    def test_closing_leaves_no_thread_and_no_descriptor(self, path: Path) -> None:
        SqliteRegistry(f"//{path}").close()
        files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(3):
            with SqliteRegistry(f"//{path}") as registry:
                registry.watch("", after=0)
                registry.session(60)
                registry.commit([Put("k", {})])
        assert len(os.listdir("/proc/self/fd")) == files
        assert threading.active_count() == threads


def test_a_forked_child_is_refused(path: Path, registry: SqliteRegistry) -> None:
    """And harms nothing: the parent goes on, and its watch still works."""
    watch = registry.watch("", after=0)
    for call in (lambda: registry.read(""), lambda: watch.next(1), lambda: registry.session(5)):
        assert re.match("InvalidRequest: this .* was opened before a fork", in_child(call))

    def close() -> None:
        watch.close()
        registry.close()

    assert in_child(close) == "None"
    registry.commit([Put("k", {})])
    assert shape(watch.next(5)) == [("k", True)]


def test_another_process_opens_it_after_a_fork(path: Path, registry: SqliteRegistry) -> None:
    def count() -> int:
        with SqliteRegistry(f"//{path}") as own:
            own.commit([Put("l", {})])
            return len(own.read("").entries)

    registry.commit([Put("k", {})])
    assert in_child(count) == "2"
    assert list(registry.read("").entries) == ["k", "l"]


@pytest.mark.kernel
class TestAccess:
    NOBODY = 65534

    @pytest.fixture
    def open_path(self, tmp_path: Path) -> Iterator[Path]:
        import tempfile

        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            Path(folder).chmod(0o755)
            yield Path(folder) / "snnet" / "registry.db"

    def as_nobody(self, path: Path, groups: list[int]) -> str:
        def work() -> object:
            os.setgroups(groups)
            os.setgid(self.NOBODY)
            os.setuid(self.NOBODY)
            with SqliteRegistry(f"//{path}") as registry:
                registry.commit([Put("k", {})])
                return list(registry.read("").entries)

        return in_child(work)

    def test_members_of_the_group(self, open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The group has the file, its companions and the folder; others learn the command."""
        monkeypatch.setattr(file, "GROUP", "games")
        games = gid_of("games")
        assert games is not None
        SqliteRegistry(f"//{open_path}").close()
        assert (open_path.stat().st_gid, open_path.parent.stat().st_gid) == (games, games)
        assert self.as_nobody(open_path, [games]) == "['k']"
        with SqliteRegistry(f"//{open_path}"):
            assert self.as_nobody(open_path, [games]) == "['k']"
        for mode in (0o2770, 0o755):
            open_path.parent.chmod(mode)
            assert self.as_nobody(open_path, []) == (
                f"Denied: user 'nobody' has no access to the registry {open_path}: "
                "'sudo usermod -aG games nobody' gives it after the next login"
            )
        assert f"'sudo chgrp games {open_path.parent} && sudo chmod 2770" in self.as_nobody(
            open_path, [games]
        )

    def test_without_the_group(self, open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file, "GROUP", "there-is-no-such-group")
        SqliteRegistry(f"//{open_path}").close()
        open_path.parent.chmod(0o755)
        assert self.as_nobody(open_path, []).endswith(": run the command as root")
        assert issubclass(Denied, ApiError)


def shape(changes: list[Changed]) -> list[tuple[str, bool]]:
    return [(change.key, change.entry is not None) for change in changes]
