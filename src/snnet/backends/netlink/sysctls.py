"""Kernel parameters of the namespace: files under /proc/sys/net (proc_sys_net(5))."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path

from snnet.contract import Sysctl, Unsupported
from snnet.contract.network import FORWARDING, sysctl_path
from snnet.system.netlink import NetlinkError
from snnet.system.netns import in_netns

_ROOT = Path("/proc/sys")


class Sysctls:
    """The parameters of one network namespace.

    /proc/sys/net shows the namespace of the task that opens it.
    """

    def __init__(self, netns: int) -> None:
        self._netns = netns

    def change(self, new: Sysctl, old: Sysctl) -> None:
        try:
            write_sysctls(self._netns, {new.name: new.value})
        except NotADirectoryError as error:
            raise NetlinkError(errno.ENOENT, "no such kernel parameter") from error

    def find(self, noun: Sysctl) -> Sysctl | None:
        try:
            text = in_netns(self._netns, _path(noun.name).read_text)
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


def write_sysctls(
    netns: int, values: Mapping[str, str], where_there: Mapping[str, str] | None = None
) -> None:
    """Set parameters of the namespace, in this order; raises ``OSError``.

    Those of ``where_there`` may be missing, as those of IPv6 are without it.
    """

    def write() -> None:
        for name, value in (where_there or {}).items():
            with contextlib.suppress(FileNotFoundError), open(_path(name), "r+") as file:
                file.write(value)
        for name, value in values.items():
            with open(_path(name), "r+") as file:  # never creates one
                if not value:  # nothing would be written
                    raise NetlinkError(errno.EINVAL, "the value of a parameter is empty")
                file.write(value)

    in_netns(netns, write)


def _path(name: str) -> Path:
    return _ROOT.joinpath(*sysctl_path(name))
