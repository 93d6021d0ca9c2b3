"""The history in the file of the sqlite registry: commits, what they changed, compaction.

The last change of each document is kept in its row, that of a removed one too.  So the
changes since a revision are the rows with a greater one, as long as no row of a removed
document was deleted: that is what compaction does.

Each commit has a random mark.  A process that remembers a revision with its mark sees
whether the file still has the history that it knows, or was restored from a backup.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Sequence

from snnet.contract import EncodedWrite

from .feeds import Change
from .ranges import after_prefix

COMMITS_KEPT = 10_000
"""A watch may start this many commits ago."""

_COMPACT_EVERY = 1_000

RESTORED_STEP = 10**9
"""After a restore the revisions go on so much higher that none is ever used twice."""

Point = tuple[int, bytes]
"""A revision and the mark of its commit."""


class History:
    """What one process knows of the history.  Any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Point = (0, b"")

    @property
    def seen(self) -> Point:
        """The newest commit that the process has seen."""
        return self._seen

    def remember(self, point: Point) -> None:
        """Note a commit that is in the file."""
        with self._lock:
            if point[0] > self._seen[0]:
                self._seen = point

    def restored(self, connection: sqlite3.Connection, seen: Point) -> bool:
        """Whether the file has another history than was ``seen`` before a transaction began."""
        newest, revision = point(connection), seen[0]
        if newest != seen and revision > compacted(connection):
            found = connection.execute(
                "SELECT mark FROM commits WHERE revision = ?", (revision,)
            ).fetchone()
            if found is None or found[0] != seen[1]:
                return True
        self.remember(newest)
        return False


def begin_again(connection: sqlite3.Connection, seen: Point) -> Point:
    """Give a restored file revisions of its own, and forget its history.

    All watches, in every process, must then read again.  Every document has the new
    revision, so that no condition on an old one holds by chance.
    """
    revision = max(newest(connection), seen[0]) + RESTORED_STEP
    _add_commit(connection, revision)
    compact(connection, revision)
    connection.execute("UPDATE documents SET revision = ?", (revision,))
    return point(connection)


def point(connection: sqlite3.Connection) -> Point:
    """The last commit."""
    row = connection.execute(
        "SELECT revision, mark FROM commits ORDER BY revision DESC LIMIT 1"
    ).fetchone()
    return (0, b"") if row is None else (row[0], row[1])


def newest(connection: sqlite3.Connection) -> int:
    """The revision of the last commit, or 0."""
    return point(connection)[0]


def compacted(connection: sqlite3.Connection) -> int:
    """Watches may start at this revision or later."""
    (revision,) = connection.execute("SELECT value FROM facts WHERE name = 'compacted'").fetchone()
    return int(revision)


def write(connection: sqlite3.Connection, writes: Sequence[EncodedWrite]) -> int:
    """Carry out the writes as one commit, if they change something; return the revision."""
    revision = newest(connection) + 1
    changed = 0
    for item in writes:
        if item.text is None:
            changed += connection.execute(
                "UPDATE documents SET document = NULL, session = NULL, revision = ? "
                "WHERE key = ? AND document IS NOT NULL",
                (revision, item.key),
            ).rowcount
        else:
            changed += connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (item.key, revision, item.text, item.session),
            ).rowcount
    if not changed:
        return revision - 1
    _add_commit(connection, revision)
    if revision % _COMPACT_EVERY == 0:
        compact(connection, revision - COMMITS_KEPT)
    return revision


def compact(connection: sqlite3.Connection, revision: int) -> None:
    """Forget what was changed up to a revision; the present documents stay."""
    revision = min(revision, newest(connection))
    if revision <= compacted(connection):
        return
    connection.execute("UPDATE facts SET value = ? WHERE name = 'compacted'", (revision,))
    connection.execute(
        "DELETE FROM documents WHERE revision <= ? AND document IS NULL", (revision,)
    )
    connection.execute("DELETE FROM commits WHERE revision < ?", (revision,))


def revisions(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, int]:
    """The revision of each of these keys that has a document."""
    found = {}
    for key in keys:
        row = connection.execute(
            "SELECT revision FROM documents WHERE key = ? AND document IS NOT NULL", (key,)
        ).fetchone()
        if row is not None:
            found[key] = int(row[0])
    return found


def documents(connection: sqlite3.Connection, prefixes: Sequence[str]) -> list[Change]:
    """The documents under the prefixes, in the order of their keys."""
    return [Change(*row) for prefix in prefixes for row in _under(connection, prefix)]


def _under(connection: sqlite3.Connection, prefix: str) -> sqlite3.Cursor:
    query = "SELECT key, document, revision FROM documents WHERE document IS NOT NULL AND key >= ?"
    end = after_prefix(prefix)
    if end is None:
        return connection.execute(f"{query} ORDER BY key", (prefix,))
    return connection.execute(f"{query} AND key < ? ORDER BY key", (prefix, end))


def changes(connection: sqlite3.Connection, prefixes: Sequence[str], after: int) -> list[Change]:
    """The last change of each key under the prefixes after a revision, in order."""
    # Few rows are that new.  A condition on keys would have SQLite look at all that fulfil it.
    rows = connection.execute(
        "SELECT key, document, revision FROM documents WHERE revision > ? ORDER BY revision, key",
        (after,),
    )
    concerned = tuple(prefixes)
    return [Change(*row) for row in rows if row[0].startswith(concerned)]


def _add_commit(connection: sqlite3.Connection, revision: int) -> None:
    connection.execute("INSERT INTO commits VALUES (?, ?)", (revision, secrets.token_bytes(8)))
