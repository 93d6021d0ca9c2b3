"""What this host and its kernel can create, found out without creating anything."""

from __future__ import annotations

import errno

from snnet.backends.iproute2.commands import probe
from snnet.backends.kinds import no_kind
from snnet.backends.linux import is_routed, no_tun
from snnet.contract import Fdb, Link, Noun, Sysctl, Tap
from snnet.system.process import find_program, missing_program

from .checks import NO_QUEUES
from .errors import Refused
from .shell import Shell


class Support:
    """Which programs are installed and which kinds of link the kernel has.

    What was found is remembered.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._there: set[str] = set()

    def missing(self, noun: Noun) -> str | None:
        """Return why a noun of this class and kind cannot be created, or None if it can."""
        for program in _programs(noun):
            reason = self._no_program(program)
            if reason is not None:
                return reason
        if not isinstance(noun, Link):
            return None
        if noun.unmakeable:
            return noun.unmakeable
        if isinstance(noun, Tap) and noun.queues > 1:
            return NO_QUEUES
        if noun.kind in self._there:
            return None
        reason = no_tun() if isinstance(noun, Tap) else self._no_kind(noun)
        if reason is None:
            self._there.add(noun.kind)
        return reason

    def _no_program(self, name: str) -> str | None:
        if name in self._there:
            return None
        if find_program(name) is None:
            return missing_program(name)
        # The ``ip`` of Busybox supports little of this and no JSON.
        if name == "ip" and "iproute2" not in self._version():
            return f"{find_program(name)} is not from iproute2: apt-get install iproute2"
        self._there.add(name)
        return None

    def _version(self) -> str:
        try:
            return self._shell.ask(["ip", "-Version"])
        except Refused:
            return ""

    def _no_kind(self, link: Link) -> str | None:
        try:
            self._shell.carry_out([probe(link)])
        except Refused as error:
            if error.number != errno.EOPNOTSUPP:
                return None
        return no_kind(link)


def _programs(noun: Noun) -> tuple[str, ...]:
    """Return the programs that a noun needs."""
    if isinstance(noun, Sysctl):
        return ("sysctl",)
    if isinstance(noun, Fdb):
        return ("ip", "bridge")
    return ("ip", "sysctl") if isinstance(noun, Link) and is_routed(noun) else ("ip",)
