"""One connection to the file of the sqlite registry, and its transactions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from snnet.contract import InvalidRequest, Unavailable

from . import file

PATIENCE = 5.0
"""Seconds to wait for another process that writes."""

_WAL_KEPT = 16 << 20
"""Bytes to which the write-ahead log is cut after a burst of writes."""


class Database:
    """A connection that one thread uses at a time; others wait.

    It is opened when first needed, and again when another file has taken the path.
    ``refused`` is called when the file cannot be written because it was opened on a
    read-only disk.
    """

    def __init__(self, path: Path, refused: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._refused = refused
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._opened = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See one state of the file: that of the last commit before this began."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """Write everything or nothing; on the disk at the end, if ``synced``.

        ``Unavailable`` is ``unwritten`` unless the error came while the transaction was
        being completed.
        """
        try:
            with self._transaction("BEGIN IMMEDIATE", synced=synced) as connection:
                yield connection
        except Unavailable as error:
            code = getattr(error.__cause__, "sqlite_errorcode", 0)
            if code & 0xFF == sqlite3.SQLITE_READONLY:
                self._refused()
            raise
        # Commits that only change memory shared by processes are not seen by inotify, and
        # those that it sees are not visible to others yet.
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def version(self) -> tuple[int, int]:
        """A value that is another one after other connections committed something."""
        with self._lock:
            try:
                connection = self._connected()
                return self._opened, connection.execute("PRAGMA data_version").fetchone()[0]
            except (sqlite3.Error, OSError) as error:
                raise file.unavailable(self.path, error, committing=False) from error

    def reopen(self) -> None:
        """Open the file again when it is needed next."""
        with self._lock:
            self._disconnect()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._disconnect()

    @contextlib.contextmanager
    def _transaction(self, begin: str, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        committing = False
        with self._lock:
            try:
                connection = self._connected()
                if not synced:
                    connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(begin)
                file.check_schema(self.path, connection)
                yield connection
                committing = True
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                raise file.unavailable(self.path, error, committing=committing) from error
            finally:
                self._clean_up(synced)

    def _clean_up(self, synced: bool) -> None:
        """End a transaction that failed, and restore the settings."""
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if not synced:
                self._connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise InvalidRequest("this registry is closed: open it again")
        status = os.stat(self.path)
        identity = (status.st_dev, status.st_ino)
        if self._connection is not None and identity == self._identity:
            return self._connection
        self._disconnect()
        connection = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT}")
            file.check_contents(self.path, connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity
        self._opened += 1
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
