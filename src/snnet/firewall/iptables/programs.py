"""The programs: which of them are in use, and running them in the namespace."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from snnet.contract import ApiError, InvalidRequest, error_for
from snnet.system.netns import in_netns
from snnet.system.process import (
    Completed,
    errno_in,
    failure,
    find_program,
    run,
)

from .sections import ARP, BRIDGE, IP, IP6

NFT, LEGACY = "nft", "legacy"

_TOOLS = {IP: "iptables", IP6: "ip6tables", ARP: "arptables", BRIDGE: "ebtables"}
_PROBES = {ARP: ("-L", "INPUT"), BRIDGE: ("-t", "nat", "-L", "PREROUTING")}
_NAMES_FILES = {IP: "ip_tables_names", IP6: "ip6_tables_names"}
_LOCK_PATIENCE = "5"
"""Seconds to wait for the lock that iptables-legacy takes, /run/xtables.lock."""


class Programs:
    """iptables, ip6tables, arptables and ebtables in one network namespace.

    ``variant`` None takes what the host calls ``iptables``, "nft" or "legacy" the
    programs of that name.  ebtables and arptables are of the same variant if the
    kernel has what it takes, else of whichever works: they share nothing.
    """

    def __init__(self, netns: Callable[[], int], variant: str | None) -> None:
        if variant not in (None, NFT, LEGACY):
            raise InvalidRequest(f"{variant!r} is neither 'nft' nor 'legacy'", field="variant")
        self._netns = netns
        self._wanted = variant
        self._variant = variant
        self._others: dict[str, str] = {}

    @property
    def variant(self) -> str:
        """Which iptables it is: "nft" or "legacy"; raises where there is none."""
        if self._variant is None:
            said = self._run(["iptables", "-V"]).stdout
            self._variant = NFT if "nf_tables" in said else LEGACY
        return self._variant

    @property
    def other_variant(self) -> str:
        return LEGACY if self.variant == NFT else NFT

    def missing(self, family: str) -> str | None:
        """What is not installed for a family, and what to do; None if it works."""
        if family in (IP, IP6):
            program = self.name(family, "restore")
            hint = f"the program {program!r} is not installed: apt-get install iptables"
            return None if find_program(program) else hint
        if self._find_other(family):
            return None
        tool = _TOOLS[family]
        return (
            f"no {tool} works here: apt-get install iptables (it brings {tool}-nft), "
            f"and load the kernel's modules for it (nft_compat or {tool[:-1]}_filter)"
        )

    def name(self, family: str, verb: str = "", variant: str | None = None) -> str:
        """The program that does this for a family."""
        variant = variant or self._wanted
        if family in (IP, IP6):
            base = f"{_TOOLS[family]}-{variant}" if variant else _TOOLS[family]
        else:
            base = self._find_other(family) or _TOOLS[family]
        return f"{base}-{verb}" if verb else base

    def ask(self, family: str, *args: str) -> Completed:
        """Run the family's program, whatever its exit code is."""
        return self._run([self.name(family), *self._wait(family), *args], check=False)

    def do(self, family: str, *args: str) -> None:
        """Run the family's program; raises what its exit code and words stand for."""
        argv = [self.name(family), *self._wait(family), *args]
        self._raise_for(argv, self._run(argv, check=False))

    def restore(self, family: str, text: str) -> None:
        """Hand a set of changes to the kernel, each table's as one transaction."""
        argv = [self.name(family, "restore"), "--noflush", *self._wait(family)]
        self._raise_for(argv, self._run(argv, input=text, check=False))

    def listed(self, family: str, text: str) -> Completed:
        """The same for a text that only lists, whatever its exit code is."""
        argv = [self.name(family, "restore"), "--noflush", *self._wait(family)]
        return self._run(argv, input=text, check=False)

    def save(self, family: str, variant: str | None = None) -> str:
        """All that the namespace has for a family, others' rules too."""
        if family in (ARP, BRIDGE) and not self._find_other(family):
            return ""
        if variant and not find_program(self.name(family, "save", variant)):
            return ""
        return self._run([self.name(family, "save", variant)], check=False).stdout

    def has_table(self, family: str, table: str) -> bool:
        """Whether to look into a table at all: iptables-legacy makes what it looks at."""
        if family not in _NAMES_FILES or self.variant == NFT:
            return True
        path = f"/proc/thread-self/net/{_NAMES_FILES[family]}"
        return table in in_netns(self._netns(), lambda: _read(path)).split()

    @functools.cached_property
    def has_ip6(self) -> bool:
        """Whether the kernel speaks IPv6; where it does not, nothing is to be kept apart."""
        return bool(in_netns(self._netns(), lambda: _read("/proc/thread-self/net/snmp6")))

    def _find_other(self, family: str) -> str | None:
        """The ebtables or arptables that works; found once, asked for again until then."""
        if family not in self._others:
            tool = _TOOLS[family]
            first = [f"{tool}-{self._wanted}"] if self._wanted else []
            for name in dict.fromkeys([*first, tool, f"{tool}-{NFT}", f"{tool}-{LEGACY}"]):
                if not find_program(name):
                    continue
                if self._run([name, *_PROBES[family]], check=False).returncode == 0:
                    self._others[family] = name
                    break
        return self._others.get(family)

    @staticmethod
    def _wait(family: str) -> list[str]:
        return ["-w", _LOCK_PATIENCE] if family in (IP, IP6) else []

    def _run(self, argv: list[str], *, input: str | None = None, check: bool = True) -> Completed:
        return run(argv, input=input, netns=self._netns(), check=check)

    @staticmethod
    def _raise_for(argv: list[str], done: Completed) -> None:
        if done.returncode != 0:
            raise _failure(argv, done)


def _failure(argv: list[str], done: Completed) -> ApiError:
    """iptables-nft puts the kernel's words in brackets: "RULE_APPEND failed (No such ...)"."""
    match = re.search(r"failed \(([^)]*)\)", done.stderr)
    number = errno_in(match[1]) if match else None
    if number is None:
        return failure(argv, done)
    return error_for(number, f"run {' '.join(argv)}", detail=done.stderr.strip())


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
