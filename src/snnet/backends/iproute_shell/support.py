"""What this host and its kernel can create, found out without creating anything."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from snnet.backends.iproute2.commands import commands, probe
from snnet.backends.kinds import NO_REDIRECTS, NO_SHAPERS, no_kind
from snnet.backends.linux import no_tun
from snnet.contract import Add, Change, Link, Noun, Redirect, Shaper, Sysctl, Tap
from snnet.system.process import find_program, missing_program

from .checks import NO_QUEUES
from .errors import Refused
from .shaping import can_redirect, can_shape
from .shell import Shell


class Support:
    """Which programs are installed and which kinds of link the kernel has.

    What was found is remembered.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._there: set[str] = set()
        self._installed: set[str] = set()

    def missing(self, noun: Noun) -> str | None:
        """Return why a noun of this class and kind cannot be created, or None if it can."""
        for program in _programs(noun):
            reason = self._no_program(program)
            if reason is not None:
                return reason
        if isinstance(noun, Shaper):
            return self._traffic("shapers", can_shape, NO_SHAPERS)
        if isinstance(noun, Redirect):
            return self._traffic("redirects", can_redirect, NO_REDIRECTS)
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
        if name in self._installed:
            return None
        if find_program(name) is None:
            return missing_program(name)
        # The ``ip`` of Busybox supports little of this and no JSON.
        if name == "ip" and "iproute2" not in self._version():
            return f"{find_program(name)} is not from iproute2: apt-get install iproute2"
        self._installed.add(name)
        return None

    def _version(self) -> str:
        try:
            return self._shell.ask(["ip", "-Version"])
        except Refused:
            return ""

    def _traffic(self, name: str, can: Callable[[Shell], bool], reason: str) -> str | None:
        if name not in self._there:
            if not can(self._shell):
                return reason
            self._there.add(name)
        return None

    def _no_kind(self, link: Link) -> str | None:
        try:
            self._shell.carry_out([probe(link)])
        except Refused as error:
            if error.number != errno.EOPNOTSUPP:
                return None
        return no_kind(link)


def _programs(noun: Noun) -> Iterable[str]:
    """Return the programs that a noun needs."""
    made = Change(noun, noun) if isinstance(noun, Sysctl) else Add(noun)
    needed = dict.fromkeys(words[0] for words in commands(made) if words[0] != "#")
    return needed if isinstance(noun, Sysctl) else {"ip": None, **needed}  # ip looks links up
