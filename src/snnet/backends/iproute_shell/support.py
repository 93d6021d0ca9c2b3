"""What this host and its kernel can make, found without making anything."""

from __future__ import annotations

import errno
import os

from snnet.backends.iproute2.commands import probe
from snnet.contract import Fdb, Geneve, Gre, Gretap, Link, Noun, Other, Sysctl, Tap, Veth
from snnet.system.process import find_program, missing_program

from .checks import NO_QUEUES
from .errors import Refused
from .shell import Shell

_DEVICE = "/dev/net/tun"
_MODULES = {"gretap": "ip_gre", "gre": "ip_gre", "ip6gretap": "ip6_gre"}


class Support:
    """Which programs are there and which kinds of links the kernel has.

    Remembers those it has found.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._there: set[str] = set()

    def missing(self, noun: Noun) -> str | None:
        """Why a noun of this class and kind cannot be made, or None if it can."""
        for program in _programs(noun):
            reason = self._no_program(program)
            if reason is not None:
                return reason
        if not isinstance(noun, Link):
            return None
        if isinstance(noun, Other):
            return f"links of kind {noun.kind} are read, never made"
        if isinstance(noun, Gre) and noun.local.version == 6:
            return "no kernel has multipoint gre over IPv6: set tunnel 'vxlan'"
        if isinstance(noun, Tap) and noun.queues > 1:
            return NO_QUEUES
        if noun.kind in self._there:
            return None
        reason = _no_tun() if isinstance(noun, Tap) else self._no_kind(noun)
        if reason is None:
            self._there.add(noun.kind)
        return reason

    def _no_program(self, name: str) -> str | None:
        if name in self._there:
            return None
        if find_program(name) is None:
            return missing_program(name)
        # Busybox has an ``ip`` of its own, which knows little of this and no JSON.
        if name == "ip" and "iproute2" not in self._version():
            return f"{find_program(name)} is not that of iproute2: apt-get install iproute2"
        self._there.add(name)
        return None

    def _version(self) -> str:
        try:
            return self._shell.ask(["ip", "-Version"])
        except Refused:
            return ""

    def _no_kind(self, link: Link) -> str | None:
        kind = link.kind
        try:
            self._shell.carry_out([probe(link)])
        except Refused as error:
            if error.number != errno.EOPNOTSUPP:
                return None
        hint = " or set tunnel 'vxlan'" if isinstance(link, (Gretap, Gre, Geneve)) else ""
        return f"this kernel has no {kind}: load {_MODULES.get(kind, kind)}{hint}"


def _programs(noun: Noun) -> tuple[str, ...]:
    """The programs that carry a noun."""
    if isinstance(noun, Sysctl):
        return ("sysctl",)
    if isinstance(noun, Fdb):
        return ("ip", "bridge")
    routed = isinstance(noun, (Tap, Veth)) and noun.proxy_arp
    return ("ip", "sysctl") if routed else ("ip",)


def _no_tun() -> str | None:
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"no taps here: {_DEVICE}: {os.strerror(error.errno or 0)}; load tun, run as root"
    return None
