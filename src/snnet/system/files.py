"""Safe small files: a private directory, file locks, JSON documents.

Nothing here follows a symbolic link in the last component of a path, or trusts a
directory that other users can write to.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from snnet.contract import Conflict, SnnetError
from snnet.contract.translating import translating

_POLL = 0.02
"""Seconds between two attempts to get a lock: flock(2) has no time limit."""

_PRIVATE = 0o600


def private_directory(path: Path, mode: int) -> Path:
    """Make the directory if it is missing, and check that only we can write to it.

    Raise ``SnnetError`` if it belongs to another user, if others can write to it, or if it
    is not a directory.  Its parent must exist.
    """
    with translating(f"use the runtime directory {path}"):
        return _private_directory(path, mode)


def _private_directory(path: Path, mode: int) -> Path:
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)  # whatever the umask removed
    except FileExistsError:
        pass
    except OSError as error:
        raise SnnetError(
            f"cannot create the runtime directory {path}: {error.strerror}; "
            "create its parent, or run as a user who may write there"
        ) from error
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise SnnetError(f"{path} is not a directory; remove it: it is snnet's runtime directory")
    if status.st_uid != os.geteuid():
        raise SnnetError(
            f"the runtime directory {path} belongs to uid {status.st_uid}, not to "
            f"{os.geteuid()}; remove it, or run as that user"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SnnetError(
            f"other users can write to the runtime directory {path} "
            f"(mode {stat.S_IMODE(status.st_mode):04o}); check its content, then chmod go-w"
        )
    return path


@contextlib.contextmanager
def locked(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, against other threads and other processes.

    Wait up to ``timeout`` seconds, then raise ``Conflict`` with the pid of the holder.
    The file is removed at the end.  A child that is forked meanwhile neither keeps the
    lock nor can release it.
    """
    deadline = time.monotonic() + timeout
    while (fd := _try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise Conflict(
                f"{what} is in use by {_holder(path)} (lock {path}); stop it, or wait for it"
            )
        time.sleep(_POLL)
    lock = _Lock(fd)
    try:
        with contextlib.suppress(OSError):  # a full disk: then a message cannot name us
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        lock.release(path)


class _Lock:
    """A locked descriptor that is closed in forked children.

    flock(2) binds the lock to the open file, which a fork shares.  A child would keep the
    lock after its parent was killed, or release it while its parent still needs it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        close_in_children(self)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def release(self, path: Path) -> None:
        if self._fd < 0:  # a forked child
            return
        try:
            # Removed while still locked: a process that then locks the old file
            # finds another file, or none, under the name, and tries again.
            with contextlib.suppress(OSError):  # a file that stays is in nobody's way
                path.unlink()
            # Explicitly, because a process that is being forked may have the file open too.
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self.close()


class _Closes(Protocol):
    def close(self) -> None: ...


def close_in_children(thing: _Closes) -> None:
    """Close it in every forked child, for as long as it lives in this process."""
    _closed_in_children().add(thing)


@functools.cache
def _closed_in_children() -> weakref.WeakSet[_Closes]:
    """Return the one set of all such objects: os.register_at_fork cannot be undone."""
    things: weakref.WeakSet[_Closes] = weakref.WeakSet()

    def close_all() -> None:
        for thing in list(things):
            thing.close()

    os.register_at_fork(after_in_child=close_all)
    return things


def _try_lock(path: Path) -> int | None:
    """Return the descriptor of the lock, or None if it is held elsewhere."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            fd = os.open(path, flags, _PRIVATE)
        except OSError as error:
            raise SnnetError(f"cannot open the lock {path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                return fd
            os.close(fd)  # the last holder removed it, or another process recreated it
        except FileNotFoundError:
            os.close(fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise SnnetError(f"cannot lock {path}: {error.strerror}") from error


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"process {int(path.read_text())}"
    return "another process"


def read_document(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file, or an empty one if there is no file.

    A file with anything else is renamed to NAME.damaged, as if it were missing.
    """
    with translating(f"read {path}"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return {}
        with _file(fd, "r") as file:
            try:
                document = json.load(file)
            except (ValueError, RecursionError):
                document = None
        if not isinstance(document, dict):
            put_aside(path)
            return {}
        return document


def glance(path: Path) -> object:
    """Return what the JSON in the file is, whatever it is, and leave the file alone.

    Raises ``OSError``, or ``ValueError`` or ``RecursionError`` for what is not JSON.
    """
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        return json.loads(file.read())


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Replace the file in one step: after a crash it is the old file or the new one.

    The caller holds the lock on it.  An empty document removes the file.
    """
    with translating(f"write {path}"):
        if not document:
            path.unlink(missing_ok=True)
            return
        text = json.dumps(document, indent=1, sort_keys=True)
        draft = path.with_name(f"{path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with _file(os.open(draft, flags, _PRIVATE), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def put_aside(path: Path) -> None:
    """Rename a file with unexpected content, for people to look at."""
    with translating(f"put {path} aside"):
        path.replace(path.with_name(f"{path.name}.damaged"))


def _file(fd: int, mode: str) -> IO[str]:
    """Return the descriptor as a file of text, which owns it; closes it if it cannot."""
    try:
        return open(fd, mode, encoding="utf-8")
    except BaseException:
        os.close(fd)
        raise
