"""Changes of the files in a folder, reported by inotify(7)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from snnet.contract import error_for

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
_MASK = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | 0x01000000  # IN_ONLYDIR
)
_EVENT = struct.Struct("iIII")
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # IN_NONBLOCK and IN_CLOEXEC have these values


class FolderEvents:
    """Changes of the files in one folder, as a descriptor that becomes readable."""

    gone = False
    """Whether the folder was removed or moved: nothing more is reported."""

    def __init__(self, folder: Path) -> None:
        """Raise ``ApiError`` if the kernel refuses, for example since a limit is reached."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(_FLAGS)
        if self._fd < 0:
            raise error_for(ctypes.get_errno(), "open an inotify descriptor")
        if libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK) < 0:
            number = ctypes.get_errno()
            self.close()
            raise error_for(number, f"watch the folder {folder}")

    def fileno(self) -> int:
        return self._fd

    def read(self) -> set[str] | None:
        """Return the names of the files that changed since the last call, maybe none.

        None means that events were lost, or that the folder itself is gone.
        """
        names: set[str] = set()
        lost = False
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return None if lost else names
                raise
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                if mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED):
                    self.gone = lost = True
                elif mask & _OVERFLOW:
                    lost = True
                elif name:
                    names.add(os.fsdecode(name))
                data = data[_EVENT.size + length :]

    def close(self) -> None:
        """Close the descriptor.  May be repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
