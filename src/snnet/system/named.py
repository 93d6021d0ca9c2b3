"""Network namespaces with a name, as ip-netns(8) makes, finds and removes them.

A name is a file in /run/netns on which the namespace is mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snnet.contract import InvalidRequest, Missing

from .netns import CURRENT, NAMED, open_netns

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000  # linux/mount.h
_MNT_DETACH = 2  # umount2(2)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def named(prefix: str = "") -> list[str]:
    """Return the names of all named namespaces that begin with ``prefix``."""
    with contextlib.suppress(FileNotFoundError):
        there = os.listdir(NAMED)
        return sorted(name for name in there if name.startswith(prefix) and exists(name))
    return []


def exists(name: str) -> bool:
    """Whether the name is that of a network namespace, not only of a file that is left.

    Raises ``OSError`` where that cannot be found out.
    """
    with contextlib.suppress(Missing):
        os.close(open_named(name))
        return True
    return False


def open_named(name: str) -> int:
    """Return a descriptor of the namespace; raise ``Missing`` if there is none.

    Raises ``OSError`` if the process has no descriptor or memory left.
    """
    try:
        check_name(name)
        return open_netns(name)
    except (InvalidRequest, OSError) as error:
        refusal = error if isinstance(error, OSError) else error.__cause__
        if isinstance(refusal, OSError) and refusal.errno in _EXHAUSTED:
            raise refusal from None
        raise Missing(f"there is no namespace {name}", errno=errno.ENOENT) from error


def check_name(name: str) -> None:
    """Raise ``OSError`` (EINVAL) for what cannot be the name of a namespace."""
    encoded = name.encode(errors="replace")
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(encoded) > 255:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)


def create(name: str, prepare: Callable[[], None]) -> None:
    """Create a namespace, have ``prepare`` run in it, and give it its name as the last step.

    So a process that is killed leaves no namespace that is not prepared.  Raises
    ``OSError``: EEXIST if the name is taken.
    """
    check_name(name)
    with _folder():
        path = Path(NAMED, name)
        _make_file(path)
        try:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(_populate, path, prepare).result()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def remove(name: str) -> None:
    """Remove the name; the namespace ends with the last process and descriptor in it.

    Raises ``OSError``: ENOENT if there is no such name.
    """
    check_name(name)
    path = f"{NAMED}/{name}"
    if not exists(name):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    _call("umount2", path.encode(), _MNT_DETACH)
    os.unlink(path)


def _make_file(path: Path) -> None:
    """Create the file for the mount; one that a killed process left without a mount serves."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0))
    except FileExistsError:
        # With the lock of the folder, nobody is in the middle of this now.
        if exists(path.name) or not path.is_file() or path.stat().st_size:
            raise


def _populate(path: Path, prepare: Callable[[], None]) -> None:
    """Move the calling thread, which ends soon, into a new namespace, and name that."""
    _call("unshare", _CLONE_NEWNET)
    prepare()
    _call("mount", CURRENT.encode(), os.fsencode(path), b"none", _MS_BIND, None)


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """Hold the lock of the folder of names, which is a shared mount (create_netns_dir).

    As ``ip netns add`` does: else a name that is removed in one mount namespace would
    keep its namespace alive in others.
    """
    os.makedirs(NAMED, 0o755, exist_ok=True)
    folder = os.open(NAMED, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        name = NAMED.encode()
        try:
            _call("mount", b"", name, b"none", _MS_SHARED | _MS_REC, None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: it is not a mount yet
                raise
            _call("mount", name, name, b"none", _MS_BIND | _MS_REC, None)
            _call("mount", b"", name, b"none", _MS_SHARED | _MS_REC, None)
        yield
    finally:
        os.close(folder)


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if function == "mount":
        libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
