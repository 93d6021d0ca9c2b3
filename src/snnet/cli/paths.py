"""Files and folders that options name: looked at before the work, and written whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from snnet.contract import SnnetError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""The path is right, and the disk is at fault."""


class OutputFile(click.Path):
    """A file to write.  Its folder must be there; with ``new`` the file must not be.

    What a look can tell is said before a command does anything, as wrong usage.
    """

    def __init__(self, *, new: bool = False) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)
        self._new = new

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.parent
        if os.path.lexists(path):
            if self._new:
                self.fail(f"{path} is there already: remove it, or name another file", param, ctx)
        elif not os.path.exists(folder):
            self.fail(f"there is no folder {folder}: create it, or name another one", param, ctx)
        elif not os.path.isdir(folder):
            self.fail(f"{folder} is not a folder: name a file in one", param, ctx)
        elif not os.access(folder, os.W_OK | os.X_OK):
            self.fail(f"you may not create files in {folder}: name another folder", param, ctx)
        return path


class OutputFolder(click.Path):
    """A folder that the command makes if it is missing, with those above it.

    The default is not looked at: another option may say that it is not used.
    """

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        name = param.name if param is not None else None
        if ctx and name and ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            return path
        above = next(it for it in (path, *path.absolute().parents) if os.path.exists(it))
        if not os.path.isdir(above):
            self.fail(f"{above} is not a folder: name another one", param, ctx)
        if not os.access(above, os.W_OK | os.X_OK):
            self.fail(f"you may not create files in {above}: name another folder", param, ctx)
        return path


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
