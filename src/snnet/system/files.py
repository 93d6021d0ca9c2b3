"""Safe small files: a private directory, file locks, JSON documents.

Nothing here follows a symbolic link in the last component of a path or
trusts a directory that somebody else could write to.
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
from typing import Any, Protocol

from snnet.contract import Conflict, SnnetError

_POLL = 0.02
"""Seconds between two tries to get a lock: flock(2) itself knows no time limit."""

_PRIVATE = 0o600


def private_directory(path: Path, mode: int) -> Path:
    """Make the directory if it is missing, and make sure that it is ours alone.

    Raises ``SnnetError`` where it belongs to another user, or others may write
    to it, or it is no directory.  Its parent must exist.
    """
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)  # whatever the umask took away
    except FileExistsError:
        pass
    except OSError as error:
        raise SnnetError(
            f"cannot make the runtime directory {path}: {error.strerror}; "
            "create its parent, or run as a user who may write there"
        ) from error
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise SnnetError(f"{path} is no directory; remove it, it is snnet's runtime directory")
    if status.st_uid != os.geteuid():
        raise SnnetError(
            f"the runtime directory {path} belongs to uid {status.st_uid}, not to "
            f"{os.geteuid()}; remove it, or run as that user"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SnnetError(
            f"others may write to the runtime directory {path} "
            f"(mode {stat.S_IMODE(status.st_mode):04o}); chmod go-w it after a look inside"
        )
    return path


@contextlib.contextmanager
def locked(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, against other threads and processes alike.

    Waits up to ``timeout`` seconds, then raises ``Conflict`` naming the pid of
    the holder.  The file is removed at the end.  A child forked meanwhile
    neither keeps the lock nor can release it.
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
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        lock.release(path)


class _Lock:
    """A locked descriptor which does not survive in a forked child.

    flock(2) binds the lock to the open file, which a fork shares: a child
    would hold on to it after its parent was killed, and its exit handlers
    would release it under the parent's feet.
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
        # Removed while it is still locked: whoever locks the old file next
        # finds that its name no longer leads to it, and starts again.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        # Said outright, for a process being forked may have the file open too.
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.close()


class _Closes(Protocol):
    def close(self) -> None: ...


def close_in_children(thing: _Closes) -> None:
    """Have every child close it as soon as it is forked, while it lives here."""
    _closed_in_children().add(thing)


@functools.cache
def _closed_in_children() -> weakref.WeakSet[_Closes]:
    """One set for all, since os.register_at_fork has no way back."""
    things: weakref.WeakSet[_Closes] = weakref.WeakSet()

    def close_all() -> None:
        for thing in list(things):
            thing.close()

    os.register_at_fork(after_in_child=close_all)
    return things


def _try_lock(path: Path) -> int | None:
    """The descriptor of the lock, or None while somebody else has it."""
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
            os.close(fd)  # the last holder removed it, or another one made it anew
        except FileNotFoundError:
            os.close(fd)
        except BlockingIOError:
            os.close(fd)
            return None


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"process {int(path.read_text())}"
    return "another process"


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object in the file; empty if there is no file.

    Raises ``SnnetError`` if it holds anything else.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    with open(fd, encoding="utf-8") as file:
        try:
            document = json.load(file)
        except ValueError as error:
            raise corrupt(path, str(error)) from error
    if not isinstance(document, dict):
        raise corrupt(path, f"a {type(document).__name__}, not an object")
    return document


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Replace the file in one step; after a crash it is the old one or the new one.

    The caller holds a lock on it.  An empty document removes the file.
    """
    if not document:
        path.unlink(missing_ok=True)
        return
    text = json.dumps(document, indent=1, sort_keys=True)
    draft = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(draft, flags, _PRIVATE), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def corrupt(path: Path, reason: str) -> SnnetError:
    """The error for a document that is not what it should be."""
    return SnnetError(
        f"{path} is not a record of snnet ({reason}); remove it once no node runs in its namespace"
    )
