"""Journals: files of lines that a node appends to, bound to one network namespace."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from snnet.contract import Journal, SnnetError

_PRIVATE = 0o600


class FileJournal(Journal):
    """A journal in a file.  Its first line says to which namespace of which boot it belongs.

    ``path`` is asked for again where the file is gone, so that a removed runtime directory is
    made again.
    """

    def __init__(self, path: Callable[[], Path], header: str) -> None:
        self._path = path
        self._header = header
        self._written: Path | None = None
        """The file, while it is there and known to be of this namespace."""

    def read(self) -> list[str]:
        try:
            with open(_open(self._path(), os.O_RDONLY), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failed("read", self._path(), error) from error
        header, *lines = text.split("\n")
        if header != self._header:
            return []  # of another namespace, which had the same number
        return lines if lines and lines[-1] else lines[:-1]

    def append(self, lines: Sequence[str]) -> bool:
        path = self._written or self._path()
        try:
            fd = _open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            self._written = None
            return False
        except OSError as error:
            raise _failed("write", path, error) from error
        try:
            if self._written is None and not self._is_of_this_namespace(fd):
                return False
            data = "".join(f"{line}\n" for line in lines).encode()
            if os.write(fd, data) != len(data):
                raise SnnetError(f"cannot write {path}: no space is left; free some")
        except OSError as error:
            raise _failed("write", path, error) from error
        finally:
            os.close(fd)
        self._written = path
        return True

    def _is_of_this_namespace(self, fd: int) -> bool:
        header = f"{self._header}\n".encode()
        return os.pread(fd, len(header), 0) == header

    def replace(self, lines: Sequence[str]) -> None:
        path = self._path()
        try:
            if not lines:
                path.unlink(missing_ok=True)
                return
            draft = path.with_name(f"{path.name}.new")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with open(_open(draft, flags), "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in (self._header, *lines))
            draft.replace(path)
        except OSError as error:
            raise _failed("write", path, error) from error


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE)


def _failed(verb: str, path: Path, error: OSError) -> SnnetError:
    return SnnetError(f"cannot {verb} {path}: {error.strerror}; make it possible, then try again")
