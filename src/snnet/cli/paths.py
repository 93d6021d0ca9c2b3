"""Files and folders that options name: looked at before the work, and written whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from snnet.contract import SnnetError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""The path is right, and the disk is at fault."""


class _Output(click.Path, ABC):
    """What a command writes.  What a look can tell is said before it does anything."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        name = param.name if param is not None else None
        if ctx and name and ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            return path  # another option may say that it is not used
        if reason := self.wrong(path):
            self.fail(reason, param, ctx)
        return path

    @abstractmethod
    def wrong(self, path: Path) -> str | None:
        """Return why the command cannot write there, and what to do; None if it can."""


class OutputFile(_Output):
    """A file to write.  Its folder must be there; with ``new`` the file must not be."""

    def __init__(self, *, new: bool = False) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)
        self._new = new

    def wrong(self, path: Path) -> str | None:
        if os.path.lexists(path):
            there = f"{path} is there already: remove it, or name another file"
            return there if self._new else None
        if not os.path.exists(path.parent):
            return f"there is no folder {path.parent}: create it, or name another one"
        return _wrong_folder(path.parent)


class OutputFolder(_Output):
    """A folder that the command makes if it is missing, with those above it."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def wrong(self, path: Path) -> str | None:
        places = (path, *path.absolute().parents)
        return _wrong_folder(next(place for place in places if os.path.exists(place)))


def _wrong_folder(folder: Path) -> str | None:
    """Return why no file can be created in what is there, or None."""
    if not os.path.isdir(folder):
        return f"{folder} is not a folder: name another one"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"you may not create files in {folder}: name another folder"
    return None


def write_file(path: Path, data: bytes, option: str, *, private: bool = False) -> None:
    """Write a file whole, or leave what was there as it is.

    A pipe or a device is written to.  A ``private`` file is new, and only its owner can read it.
    Wrong usage that names the option if there can be no such file; a failure if the disk is full.
    """
    with _naming(path, option):
        if private:
            _write_new(path, data, 0o600)
        # In a folder where we may not create files, the file itself may be ours.
        elif path.exists() and (not path.is_file() or not os.access(path.parent, os.W_OK)):
            path.write_bytes(data)
        else:
            target = Path(os.path.realpath(path))
            draft = target.with_name(f".snnet-{secrets.token_hex(6)}")
            _write_new(draft, data, 0o666)
            try:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copymode(target, draft)
                draft.replace(target)
            except BaseException:
                draft.unlink()
                raise


def _write_new(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except BaseException:
        path.unlink()
        raise


@contextlib.contextmanager
def _naming(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"cannot write {path}: {error.strerror}"
        if error.errno in _DISK:
            raise SnnetError(f"{option}: {why}; free some space, or name another disk") from error
        raise click.BadParameter(f"{why}; name another file", param_hint=f"'{option}'") from error
