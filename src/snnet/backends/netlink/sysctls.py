"""Kernel parameters of the namespace: files under /proc/sys/net (proc_sys_net(5))."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from snnet.contract import Sysctl, Unsupported
from snnet.contract.network import FORWARDING, sysctl_path
from snnet.system.netlink import NetlinkError
from snnet.system.netns import in_netns

_ROOT = "/proc/sys/net"
_KEPT = ("ipv4", "ipv6")
"""Folders of ``_ROOT`` that exist as long as the namespace, if they exist."""

T = TypeVar("T")


class Sysctls:
    """The parameters of one network namespace.

    /proc/sys/net shows the namespace of the task that looks into it, and a folder below it
    stays with the namespace in which it was opened (``sysctl_follow_link``,
    fs/proc/proc_sysctl.c).  So a few folders are opened once, and no thread has to enter the
    namespace for each parameter.
    """

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._lock = threading.Lock()
        self._folders: dict[str, int] = {}

    def change(self, new: Sysctl, old: Sysctl) -> None:
        try:
            self.write({new.name: new.value})
        except NotADirectoryError as error:
            raise NetlinkError(errno.ENOENT, "no such kernel parameter") from error

    def find(self, noun: Sysctl) -> Sysctl | None:
        try:
            text = self._using(noun.name, os.O_RDONLY, _read)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, Unsupported):
            return None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return None
        return Sysctl(name=noun.name, value=" ".join(text.split()))

    def snapshot(self) -> list[Sysctl]:
        found = (self.find(Sysctl(name=name)) for name in FORWARDING.values())
        return [noun for noun in found if noun is not None]

    def write(
        self, values: Mapping[str, str], where_there: Mapping[str, str] | None = None
    ) -> None:
        """Set ``where_there``, then ``values``, each in order; raises ``OSError``.

        Those of ``where_there`` may be missing, as those of IPv6 are without it.
        """
        for name, value in (where_there or {}).items():
            try:
                self._set(name, value)
            except FileNotFoundError:
                continue
        for name, value in values.items():
            self._set(name, value)

    def close(self) -> None:
        """Close the folders.  May be called again."""
        with self._lock:
            while self._folders:
                os.close(self._folders.popitem()[1])

    def _set(self, name: str, value: str) -> None:
        def write(fd: int) -> None:
            if not value:  # nothing would be written
                raise NetlinkError(errno.EINVAL, "the value of a parameter is empty")
            os.write(fd, value.encode())

        self._using(name, os.O_WRONLY, write)

    def _using(self, name: str, flags: int, use: Callable[[int], T]) -> T:
        """Return what ``use`` returns for the open file of a parameter."""
        parts = sysctl_path(name)[1:]
        if len(parts) > 1 and parts[0] in _KEPT:
            return _with_file("/".join(parts[1:]), flags, self._folder(parts[0]), use)
        path = "/".join((_ROOT, *parts))
        return in_netns(self._netns, lambda: _with_file(path, flags, None, use))

    def _folder(self, name: str) -> int:
        found = self._folders.get(name)
        if found is not None:
            return found
        with self._lock:
            if name not in self._folders:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                path = f"{_ROOT}/{name}"
                self._folders[name] = in_netns(self._netns, lambda: os.open(path, flags))
            return self._folders[name]


def _with_file(path: str, flags: int, folder: int | None, use: Callable[[int], T]) -> T:
    fd = os.open(path, flags | os.O_CLOEXEC, dir_fd=folder)
    try:
        return use(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> str:
    parts = []
    while part := os.read(fd, 4096):
        parts.append(part)
    return b"".join(parts).decode()
