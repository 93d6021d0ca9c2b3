"""The file of the sqlite registry: where it is, who may use it, what is in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from snnet.contract import ApiError, Denied, InvalidRequest, Unavailable
from snnet.system.users import gid_of, user_name

GROUP = "snnet"
"""Its members may use the registry."""

APPLICATION = 0x736E6E74
"""PRAGMA application_id of our files: "snnt"."""

SCHEMA = 1
"""PRAGMA user_version: the newest schema that this version reads and writes."""

_FILE_MODE, _FOLDER_MODE = 0o660, 0o2770

_STATEMENTS = """
PRAGMA application_id = {application};
PRAGMA user_version = {schema};
CREATE TABLE documents (
    key TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    document TEXT, -- NULL: removed at this revision
    session TEXT
);
CREATE INDEX documents_revision ON documents (revision);
CREATE INDEX documents_session ON documents (session) WHERE session IS NOT NULL;
CREATE TABLE commits (revision INTEGER NOT NULL PRIMARY KEY, mark BLOB NOT NULL);
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    ttl REAL NOT NULL,
    ends REAL NOT NULL, -- CLOCK_BOOTTIME
    boot TEXT NOT NULL
);
CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value NOT NULL);
INSERT INTO facts VALUES ('compacted', 0), ('snnet', '{version}');
"""


def path_of(url: str) -> Path:
    """Return the absolute path in "///ABSOLUTE/PATH" or "RELATIVE/PATH"."""
    if url.startswith("//") and not url.startswith("///"):
        raise InvalidRequest(
            f"'sqlite:{url}' names a host: write sqlite:///ABSOLUTE/PATH or sqlite:RELATIVE/PATH",
            field="registry",
        )
    if not url or url.endswith("/") or "\0" in url or url.startswith(":"):
        raise InvalidRequest(
            f"'sqlite:{url}' names no file: write sqlite:///ABSOLUTE/PATH or sqlite:RELATIVE/PATH",
            field="registry",
        )
    path = Path(os.path.realpath("/" + url.lstrip("/") if url.startswith("/") else url))
    if os.path.isdir(path):
        raise InvalidRequest(
            f"'sqlite:{url}' is a folder: name a file in it, as sqlite://{path}/registry.db",
            field="registry",
        )
    return path


def is_there(path: Path) -> bool:
    """Whether the file is there, or may be: its folder cannot be looked into."""
    try:
        return path.exists()
    except OSError:
        return True


def ensure(path: Path) -> None:
    """Create the file with its tables, and its folder, where they are missing.

    The file appears complete: it is made under another name first.  Raises ``Denied`` if
    the user may not use it, and ``Unavailable`` if it cannot be made.
    """
    try:
        if not path.parent.exists():
            _make_folder(path.parent)
        if not path.exists():
            _make_file(path)
    except (sqlite3.Error, OSError) as error:
        raise unavailable(path, error, committing=False) from error
    if not os.access(path, os.R_OK | os.W_OK) and not _read_only_disk(path):
        raise denied(path)


def denied(path: Path) -> Denied:
    """Say in one sentence what a user without access can do."""
    group = gid_of(GROUP)
    way = "run the command as root"
    if os.access(path, os.R_OK | os.W_OK):
        name = "GROUP" if group is None else GROUP
        way = f"'sudo chgrp {name} {path.parent} && sudo chmod 2770 {path.parent}' gives it"
    elif group is not None and _group_of(path) == group:
        way = f"'sudo usermod -aG {GROUP} {user_name()}' gives it after the next login"
    return Denied(f"user {user_name()!r} has no access to the registry {path}: {way}")


def unavailable(path: Path, error: sqlite3.Error | OSError, *, committing: bool) -> ApiError:
    """Return what an error of the file means to the caller."""
    if isinstance(error, OSError):
        return _of_system(path, error)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            reason = f"the disk of the registry {path} is full: free some space"
            committing = False  # the last page, which completes a commit, was not written
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            reason = f"another process keeps the registry {path} locked: look for a stopped one"
            committing = False
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            committing = False
            if _read_only_disk(path):
                reason = f"the disk of the registry {path} is read-only: remount it for writing"
            elif path.exists() and not _usable(path):
                return denied(path)
            else:
                reason = f"cannot open the registry {path}: {error}"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            reason = f"the registry {path} is damaged ({error}): restore a backup"
        case _:
            reason = f"the registry {path} failed: {error}"
    return Unavailable(reason, unwritten=not committing)


def check_contents(path: Path, connection: sqlite3.Connection) -> None:
    """Raise ``Unavailable`` unless the file is a registry with a schema that we know."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise Unavailable(
            f"{path} is not a snnet registry: move it away, or name another file", unwritten=True
        )
    check_schema(path, connection)


def check_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Raise ``Unavailable`` if a newer snnet has changed the schema."""
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if schema <= SCHEMA:
        return
    (writer,) = connection.execute("SELECT value FROM facts WHERE name = 'snnet'").fetchone() or (
        "unknown",
    )
    raise Unavailable(
        f"the registry {path} has schema {schema}, made by snnet {writer}; this is snnet "
        f"{_version()}, which knows schema {SCHEMA}: upgrade it",
        unwritten=True,
    )


def _of_system(path: Path, error: OSError) -> ApiError:
    if isinstance(error, PermissionError):
        return denied(path)
    reason = f"cannot open the registry {path}: {error.strerror}"
    if not os.path.isdir(path.parent):
        reason += f"; create the folder {path.parent}, or name another file"
    return Unavailable(reason, unwritten=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(_FOLDER_MODE)
        _give(folder, _FOLDER_MODE)
    except FileExistsError:
        pass


def _make_file(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.executescript(
                _STATEMENTS.format(application=APPLICATION, schema=SCHEMA, version=_version())
            )
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        _give(draft, _FILE_MODE)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
        _sync(path.parent)
    finally:
        draft.unlink()


def _give(path: Path, mode: int) -> None:
    """Give the file to the group, if there is one and we may."""
    group = gid_of(GROUP)
    if group is not None:
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, group)
    path.chmod(mode)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _usable(path: Path) -> bool:
    """Whether we may write to the file and make its companions beside it."""
    return os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)


def _read_only_disk(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    return False


def _group_of(path: Path) -> int | None:
    """The group of the file, or of its folder if we may not look into that."""
    for place in (path, path.parent):
        with contextlib.suppress(OSError):
            return place.stat().st_gid
    return None


def _version() -> str:
    try:
        return version("snnet")
    except PackageNotFoundError:
        return "unknown"
