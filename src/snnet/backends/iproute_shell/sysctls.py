"""Kernel parameters of the namespace (sysctl(8), proc_sys_net(5))."""

from __future__ import annotations

import errno
import re

from snnet.backends.iproute2.commands import commands
from snnet.contract import Change, Sysctl, Unsupported
from snnet.contract.network import FORWARDING, sysctl_path

from .errors import Refused
from .shell import Shell

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Sysctls:
    """The parameters of one network namespace.

    /proc/sys/net shows the namespace of the process that opens it.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def change(self, new: Sysctl, old: Sysctl) -> None:
        _check_name(new.name)
        if self.find(new) is None:
            raise Refused(errno.ENOENT)
        if not new.value:  # nothing would be written
            raise Refused(errno.EINVAL, "the value of a parameter is empty")
        self._shell.carry_out(commands(Change(new, old)))

    def find(self, noun: Sysctl) -> Sysctl | None:
        name = noun.name
        try:
            _check_name(name)
        except (Refused, Unsupported):
            return None
        try:
            # With its name: for a folder sysctl prints all parameters in it.
            line = self._shell.ask(["sysctl", name])
        except Refused as error:
            if error.number not in _ABSENT:
                raise
            return None
        shown, _, value = line.partition("=")
        return Sysctl(name=name, value=" ".join(value.split())) if shown.strip() == name else None

    def snapshot(self) -> list[Sysctl]:
        found = (self.find(Sysctl(name=name)) for name in FORWARDING.values())
        return [noun for noun in found if noun is not None]


def _check_name(name: str) -> None:
    sysctl_path(name)
    if re.search(r"[=\s\0*?\[]", name):  # these have a meaning for sysctl(8)
        raise Refused(errno.ENOENT, f"there is no parameter {name!r}")
