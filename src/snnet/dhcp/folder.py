"""One folder of small files, opened by descriptor and never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from snnet.contract import ApiError

_MODE = 0o750
_FILE_MODE = 0o640
FileState = tuple[int, int, int]
"""Inode, size in bytes and time of the last change in nanoseconds."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """An open folder below the runtime directory that only we can write to.

    It belongs to us and to the group that may read it, with mode 0750; its files have mode
    0640.  A context manager; leaving it closes the descriptor.  A symbolic link in place of
    a folder or file is an ``ApiError``.  Other refusals of the system are ``OSError``.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder.  Raise ``FileNotFoundError`` if there is none.

        Raise ``ApiError`` if other users could have put files into it.
        """
        self.path = path
        self._fd = _open(path, _DIRECTORY)
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            self.close()
            raise ApiError(f"other users can write to {path}: check its content, then remove it")

    @classmethod
    def make(cls, path: Path, gid: int) -> Folder:
        """Open the folder, and make it first if it is missing; ``gid`` may read it."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, _MODE)
        folder = cls(path)
        os.fchown(folder._fd, -1, gid)
        os.fchmod(folder._fd, _MODE)  # whatever the umask removed
        return folder

    def is_readable(self, gid: int) -> bool:
        """Whether the group may look for files in it."""
        status = os.fstat(self._fd)
        return status.st_gid == gid and status.st_mode & _MODE == _MODE

    def is_readable_file(self, name: str) -> bool:
        """Whether the group of the folder may read the file."""
        status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        mine = status.st_gid == os.fstat(self._fd).st_gid
        return mine and status.st_mode & _FILE_MODE == _FILE_MODE

    def read(self, name: str) -> str | None:
        """Return the text of a file, or None if there is none."""
        try:
            fd = _open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, self._fd)
        except FileNotFoundError:
            return None
        with open(fd, encoding="utf-8", errors="replace") as file:
            return file.read()

    def write(self, name: str, text: str) -> None:
        """Replace a file in one step; its readers are those of the folder."""
        draft = f"{name}.new"
        self.remove(draft)  # from a process that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(draft, flags, _FILE_MODE, dir_fd=self._fd)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchown(fd, -1, os.fstat(self._fd).st_gid)
            os.fchmod(fd, _FILE_MODE)
            file.write(text)
        os.rename(draft, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def append(self, name: str, text: str) -> None:
        """Add to the end of a file that there is; raise ``FileNotFoundError`` if there is none."""
        fd = _open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, self._fd)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)

    def state(self, name: str) -> FileState | None:
        """Return what changes with every change of the file, or None if there is none."""
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def remove(self, name: str) -> None:
        """Delete a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def delete(self) -> None:
        """Delete the folder and all its files."""
        for name in os.listdir(self._fd):
            self.remove(name)
        os.rmdir(self.path)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: str | Path, flags: int, dir_fd: int | None = None) -> int:
    try:
        return os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        # ELOOP: a link; with O_DIRECTORY that is ENOTDIR.
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ApiError(
                f"{path} was not created by snnet: check its content, then remove it"
            ) from error
        raise
