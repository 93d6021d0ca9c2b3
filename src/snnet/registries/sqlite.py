"""The registry of one host: an SQLite file that any number of processes use."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from sqlite3 import Connection

from snnet.contract import (
    EncodedWrite,
    InvalidRequest,
    Reading,
    Registry,
    RegistryWatch,
    Session,
    SessionLost,
    Stale,
    Unavailable,
    Write,
    check_commit,
    check_prefixes,
    check_revision,
    check_ttl,
)
from snnet.system.host import boot_id

from . import file, history
from .database import Database
from .feeds import FedWatch
from .follower import LOOK, Follower
from .history import History

_log = logging.getLogger("snnet.registries.sqlite")


class SqliteRegistry(Registry):
    """Documents in one file, in write-ahead mode; every commit is on the disk when it returns.

    ``url`` is "///ABSOLUTE/PATH" or "RELATIVE/PATH".  A missing file is made, for root and
    the group ``snnet`` (mode 0660), and its folder too if only that is missing.  Raises
    ``Denied`` if the user may not use the file, and ``Unavailable`` for a file that is no
    registry, has a newer schema, or is on a full or read-only disk.

    Sessions run on CLOCK_BOOTTIME and end with the boot.  A session that ran out is ended
    by the process that looks first, and somebody looks in time wherever a watch is open.
    A file that was restored from a backup goes on with much higher revisions; all watches
    must read again.  The disk must be local: NFS has no shared memory for the log.
    """

    def __init__(self, url: str) -> None:
        self._path = file.path_of(url)
        file.ensure(self._path)
        self._history = History()
        self._reader = Database(self._path)
        self._writer = Database(self._path, self._reopen)
        self._follower = Follower(self._path, self._history, self._begin_again, self._sweep)
        self._pid = os.getpid()
        self._closed = False
        self._refused = ""
        self._sweep_again = 0.0
        try:
            self.read()
        except BaseException:
            self.close()
            raise

    @classmethod
    def missing(cls, url: str) -> str | None:
        """See :meth:`snnet.contract.Registry.missing`."""
        path = file.path_of(url)
        return None if file.is_there(path) else f"there is no file {path}"

    def read(self, *prefixes: str) -> Reading:
        """See :meth:`snnet.contract.Registry.read`."""
        self._check()
        wanted = check_prefixes(prefixes)
        swept = False
        while True:
            seen = self._history.seen
            with self._reader.reading() as connection:
                restored = self._history.restored(connection, seen)
                if not restored and (swept or not _ended(connection, self._boot)):
                    found = history.documents(connection, wanted)
                    revision = history.newest(connection)
                    break
            if restored:
                self._begin_again()
            else:
                self._sweep()
                swept = True
        return Reading(revision, {row.key: row.entry() for row in found})

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        """See :meth:`snnet.contract.Registry.commit`."""
        self._check()
        encoded, conditions = check_commit(writes, expected)
        seen = self._history.seen
        with self._writer.writing() as connection:
            if self._history.restored(connection, seen):
                history.begin_again(connection, seen)
            _end(connection, _ended(connection, self._boot))
            _check_revisions(connection, conditions)
            _check_sessions(connection, encoded, self._boot)
            history.write(connection, encoded)
            point = history.point(connection)
        self._history.remember(point)
        self._follower.wake()
        return point[0]

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch`."""
        self.read()
        wanted, after = check_prefixes(prefixes), check_revision(after)
        watch = FedWatch(wanted, after, self._follower.feed.remove)
        with self._follower.paused(), self._reader.reading() as connection:
            # A revision that is not there yet is one from before a restore.
            if after > history.newest(connection):
                watch.lose(after + 1)
            watch.lose(history.compacted(connection))
            watch.put(history.changes(connection, wanted, after))
            self._follower.feed.add(watch)
        return watch

    def session(self, ttl: float) -> Session:
        """See :meth:`snnet.contract.Registry.session`."""
        self._check()
        return SqliteSession(self, check_ttl(ttl))

    def _reopen(self) -> None:
        """Let the next calls open the file again.

        SQLite shares what it opened for reading alone among the connections of a process,
        so that none could write when the disk can be written again.
        """
        for database in (self._reader, self._writer, self._follower.database):
            database.reopen()

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision; watches that start before it are refused."""
        self._check()
        with self._writer.writing() as connection:
            history.compact(connection, check_revision(revision, "revision"))

    def close(self) -> None:
        """See :meth:`snnet.contract.Registry.close`.  In a forked child it changes nothing."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._follower.close()
        self._reader.close()
        self._writer.close()

    def open_session(self, ttl: float) -> str:
        self._check()
        identity = secrets.token_hex(8)
        with self._writer.writing(synced=False) as connection:
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)",
                (identity, ttl, _now() + ttl, self._boot),
            )
        return identity

    def renew_session(self, identity: str, ttl: float) -> None:
        # Not synced: no session outlives the boot anyway.
        self._check()
        with self._writer.writing(synced=False) as connection:
            renewed = connection.execute(
                "UPDATE sessions SET ends = ? WHERE id = ? AND boot = ? AND ends > ?",
                (_now() + ttl, identity, self._boot, _now()),
            ).rowcount
        if not renewed:
            raise SessionLost(f"session {identity} has ended: open another")

    def end_session(self, identity: str) -> None:
        if self._closed or self._pid != os.getpid():
            return
        with self._writer.writing() as connection:
            _end(connection, [identity])
            point = history.point(connection)
        self._history.remember(point)
        self._follower.wake()

    @cached_property
    def _boot(self) -> str:
        return boot_id()

    def _sweep(self) -> float | None:
        """End sessions that ran out; return when to do so next, if there is a session.

        If the disk is full or read-only their documents stay until it is not.  A refused write
        touches the file like any other, which calls everybody who follows it to look, and so
        to sweep: the next attempt is a second later.
        """
        with self._reader.reading() as connection:
            ended = _ended(connection, self._boot)
        if ended and _now() < self._sweep_again:
            return self._sweep_again
        if ended:
            try:
                with self._writer.writing() as connection:
                    _end(connection, _ended(connection, self._boot))
            except Unavailable as error:
                self._sweep_again = _now() + LOOK
                if str(error) != self._refused:
                    self._refused = str(error)
                    _log.warning("sessions that ran out cannot be ended: %s", error)
                return self._sweep_again
            self._refused = ""
            self._follower.wake()
        with self._reader.reading() as connection:
            (ends,) = connection.execute("SELECT min(ends) FROM sessions").fetchone()
        return None if ends is None else float(ends)

    def _begin_again(self) -> None:
        """Go on after a restore, unless another process did."""
        seen = self._history.seen
        with self._writer.writing() as connection:
            if self._history.restored(connection, seen):
                _log.warning("%s was restored from a backup: watches read again", self._path)
                point = history.begin_again(connection, seen)
            else:
                point = history.point(connection)
        self._history.remember(point)
        self._follower.wake()

    def _check(self) -> None:
        if self._closed:
            raise InvalidRequest("this registry is closed: open it again")
        if self._pid != os.getpid():
            raise InvalidRequest("this registry was opened before a fork: open it again here")


class SqliteSession(Session):
    def __init__(self, registry: SqliteRegistry, ttl: float) -> None:
        self._registry = registry
        self._ttl = ttl
        self.id = registry.open_session(ttl)

    def renew(self) -> None:
        """See :meth:`snnet.contract.Session.renew`."""
        self._registry.renew_session(self.id, self._ttl)

    def close(self) -> None:
        """See :meth:`snnet.contract.Session.close`."""
        self._registry.end_session(self.id)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _check_revisions(connection: Connection, expected: Mapping[str, int]) -> None:
    found = history.revisions(connection, list(expected))
    stale = [key for key, revision in expected.items() if found.get(key, 0) != revision]
    if stale:
        raise Stale(f"changed by somebody else: {', '.join(stale)}", keys=stale)


def _check_sessions(connection: Connection, writes: Sequence[EncodedWrite], boot: str) -> None:
    for write in writes:
        if write.session is not None:
            row = connection.execute(
                "SELECT 1 FROM sessions WHERE id = ? AND boot = ? AND ends > ?",
                (write.session, boot, _now()),
            ).fetchone()
            if row is None:
                raise SessionLost(f"{write.key}: session {write.session} has ended")


def _ended(connection: Connection, boot: str) -> list[str]:
    rows = connection.execute(
        "SELECT id FROM sessions WHERE ends <= ? OR boot != ?", (_now(), boot)
    ).fetchall()
    return [row[0] for row in rows]


def _end(connection: Connection, sessions: Sequence[str]) -> None:
    """Remove sessions; the documents of each go in one commit."""
    for session in sessions:
        keys = connection.execute("SELECT key FROM documents WHERE session = ?", (session,))
        history.write(connection, [EncodedWrite(key, None) for (key,) in keys.fetchall()])
        connection.execute("DELETE FROM sessions WHERE id = ?", (session,))
