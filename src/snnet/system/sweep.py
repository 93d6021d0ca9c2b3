"""Removing what the runtime directory has about network namespaces that are gone.

A file names its namespace by device and inode.  A namespace is gone if no process is in it, and
none has it open or mounted.  Only a process of the first PID namespace sees all others, so that
the rest remove nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .users import has_capability

_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h
_CAP_SYS_PTRACE = 19  # linux/capability.h
_AGE = 3600.0
"""Seconds for which a file must not have changed: a namespace may be on its way to a process."""

_MARK = "swept"
"""The file that was changed by the last look at all processes."""

_NAMED = re.compile(
    r"(?:(?:record|journal|claim)-.+-|dhcp@)[0-9]+\.(?P<inode>[0-9]+)"
    r"(?:\.(?:json|jsonl|lock)|@.+)"
)
_OPEN = re.compile(r"^ino:\t(?P<inode>[0-9]+)$", re.MULTILINE)
"""The inode of an open file, of any file system: too many are taken for alive, not too few."""

_NAMESPACE = re.compile(r"net:\[(?P<inode>[0-9]+)\]")


def sweep(runtime: Path, *, age: float = _AGE) -> list[str]:
    """Remove these files and folders; return their names.  Nothing where it cannot be sure.

    ``age`` is the number of seconds for which they must not have changed.  After a look at
    all processes, there is no other one for so long: it takes longer than all else of a start.
    """
    latest = time.time() - age
    old = list(_old(runtime, latest))
    mark = runtime / _MARK
    if not old or _is_recent(mark, latest) or not _sees_all():
        return []
    mark.touch(0o600)
    alive = namespaces_alive()
    gone = [path for path, inode in old if inode not in alive]
    for path in gone:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in gone]


def _is_recent(mark: Path, latest: float) -> bool:
    """Whether the last look was after this; a look in the future was before the clock was set."""
    with suppress(FileNotFoundError):
        return latest < mark.lstat().st_mtime <= time.time()
    return False


def _old(runtime: Path, latest: float) -> Iterator[tuple[Path, int]]:
    """What has not changed since, and the inode of the namespace that it is about."""
    for path in runtime.iterdir():
        named = _NAMED.fullmatch(path.name)
        with suppress(FileNotFoundError):
            if named and path.lstat().st_mtime <= latest:
                yield path, int(named["inode"])


def _sees_all() -> bool:
    first = os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
    with open("/proc/self/stat", encoding="ascii") as some:
        info = Path(f"/proc/self/fdinfo/{some.fileno()}").read_text(encoding="ascii")
        shown = _OPEN.search(info) is not None  # not before Linux 5.14
    return first and shown and has_capability(_CAP_SYS_PTRACE)


def namespaces_alive() -> set[int]:
    """The inodes of the namespaces that processes are in, or have open or mounted.

    Other open files are among them: their inodes, of whatever file system.
    """
    return set(_inodes())


def _inodes() -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):
            for task in (process / "task").iterdir():
                yield (task / "ns/net").stat().st_ino
        with suppress(OSError):
            mounts = (process / "mountinfo").read_text(errors="replace")
            yield from (int(found["inode"]) for found in _NAMESPACE.finditer(mounts))
        with suppress(OSError):
            # Not by stat(2) of the files themselves, which may be on a server that is gone.
            for fd in (process / "fdinfo").iterdir():
                with suppress(OSError):
                    found = _OPEN.search(fd.read_text(errors="replace"))
                    if found:
                        yield int(found["inode"])
