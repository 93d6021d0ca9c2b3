"""The embedded store: one SQLite file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snnet.contract import SnnetError, Store, Write

_SCHEMA = (
    """CREATE TABLE documents (
        bucket TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID""",
)
"""One statement for each version: a file of version n needs those from index n on."""

_PATIENCE = 5.0
"""Seconds to wait for another process that blocks a write, sqlite3(1) for example."""


class SqliteStore(Store):
    """Documents in the file ``snnet.db`` of a folder, in write-ahead mode.

    Every write is one transaction and on disk when it returns (``synchronous=FULL``,
    sqlite.org/pragma.html#pragma_synchronous).  The file's ``user_version`` is the version
    of the schema.  An older file is upgraded; a newer one raises ``SnnetError``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "snnet.db"
        self._lock = threading.Lock()
        with self._errors("open"):
            self._connection = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                self._path.chmod(0o600)
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._migrate()
            except BaseException:
                self._connection.close()
                raise

    def _migrate(self) -> None:
        with self._transaction():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version > len(_SCHEMA):
                raise SnnetError(
                    f"{self._path} was written by a newer snnet (schema {version}, this one "
                    f"knows {len(_SCHEMA)}): upgrade snnet, or move the file away"
                )
            for statement in _SCHEMA[version:]:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={len(_SCHEMA)}")

    def read(self, table: str) -> dict[str, dict[str, Any]]:
        """See :meth:`snnet.contract.Store.read`."""
        with self._errors("read"), self._lock:
            rows = self._connection.execute(
                "SELECT key, document FROM documents WHERE bucket = ?", (table,)
            ).fetchall()
        found = {}
        for key, document in rows:
            try:
                found[key] = json.loads(document)
            except (TypeError, ValueError) as error:
                raise SnnetError(
                    f"the database {self._path} is damaged: {table} {key!r} is not JSON ({error})"
                ) from error
        return found

    def write(self, writes: Sequence[Write]) -> None:
        """See :meth:`snnet.contract.Store.write`."""
        with self._errors("write"), self._lock, self._transaction():
            for write in writes:
                if write.document is None:
                    self._connection.execute(
                        "DELETE FROM documents WHERE bucket = ? AND key = ?",
                        (write.table, write.key),
                    )
                else:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
                        (write.table, write.key, json.dumps(write.document)),
                    )

    def close(self) -> None:
        """See :meth:`snnet.contract.Store.close`."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise SnnetError(
                f"cannot {verb} the database {self._path}: {error}; check its folder and the "
                "free space on its disk"
            ) from error
