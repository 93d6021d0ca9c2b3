"""Running iptables and the programs like it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from snnet.contract import ApiError, Busy, Exhausted, InvalidRequest, error_for
from snnet.firewall.epochs import Within
from snnet.system.netns import in_netns
from snnet.system.process import Completed, errno_in, failure, find_program, run

from .layout import ARP, BRIDGE, IP, IP6

NFT, LEGACY = "nft", "legacy"

_TOOLS = {IP: "iptables", IP6: "ip6tables", ARP: "arptables", BRIDGE: "ebtables"}
_PROBES = {ARP: ("-L", "INPUT"), BRIDGE: ("-t", "nat", "-L", "PREROUTING")}
_NAMES_FILES = {IP: "ip_tables_names", IP6: "ip6_tables_names"}
_LOCK_PATIENCE = "5"
"""Seconds to wait for the lock that iptables-legacy takes, /run/xtables.lock."""


class Programs:
    """iptables, ip6tables, arptables and ebtables in one network namespace.

    With ``variant`` None the host's ``iptables`` is used; "nft" or "legacy" means the programs
    of that name.  ebtables and arptables have the same variant if the kernel supports it,
    else the one that works: they share nothing with iptables.  Changes are made ``within``
    something that counts their transactions.
    """

    def __init__(self, netns: Callable[[], int], variant: str | None, within: Within) -> None:
        if variant not in (None, NFT, LEGACY):
            raise InvalidRequest(f"{variant!r} is neither 'nft' nor 'legacy'", field="variant")
        self._netns = netns
        self._wanted = variant
        self._variant = variant
        self._others: dict[str, str] = {}
        self._in_nft: dict[str, bool] = {}
        self._within = within

    @property
    def variant(self) -> str:
        """Which iptables it is, "nft" or "legacy"; raises where there is none."""
        if self._variant is None:
            said = self._run(["iptables", "-V"]).stdout
            self._variant = NFT if "nf_tables" in said else LEGACY
        return self._variant

    def elsewhere(self, netns: Callable[[], int]) -> Programs:
        """Return the same programs in another network namespace."""
        other = Programs(netns, self._wanted, within=lambda transaction, count=1: transaction())
        other._variant, other._others = self._variant, self._others
        return other

    @property
    def other_variant(self) -> str:
        return LEGACY if self.variant == NFT else NFT

    def is_nft(self, family: str) -> bool:
        """Whether the program of a family keeps its rules in nf_tables."""
        if family in (IP, IP6):
            return self.variant == NFT
        if family not in self._in_nft:
            said = self._run([self.name(family), "-V"], check=False).stdout
            self._in_nft[family] = "nf_tables" in said
        return self._in_nft[family]

    @functools.cached_property
    def all_nft(self) -> bool:
        """Whether all programs that are there keep their rules in nf_tables."""
        if self.variant != NFT:
            return False
        return all(self.is_nft(family) for family in _TOOLS if not self.missing(family))

    def missing(self, family: str) -> str | None:
        """Return what is not installed for a family and what to do; None if it works."""
        if family in (IP, IP6):
            known = self._variant is not None or find_program("iptables")
            program = self.name(family, "restore") if known else "iptables"
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
        """Return the program for a family."""
        variant = variant or self._wanted
        if family in (IP, IP6):
            base = f"{_TOOLS[family]}-{variant}" if variant else _TOOLS[family]
        else:
            base = self._find_other(family) or _TOOLS[family]
        return f"{base}-{verb}" if verb else base

    def ask(self, family: str, *args: str) -> Completed:
        """Run the family's program and ignore its exit code."""
        return self._run([self.name(family), *self._wait(family), *args], check=False)

    def do(self, family: str, *args: str) -> None:
        """Run the family's program; raise the class for its exit code and text."""
        self._write([self.name(family), *self._wait(family), *args], 1)

    def restore(self, family: str, text: str) -> None:
        """Apply a set of changes; each table is one transaction."""
        argv = [self.name(family, "restore"), "--noflush", *self._wait(family)]
        self._write(argv, sum(line.startswith("*") for line in text.splitlines()), text)

    def listed(self, family: str, text: str) -> Completed:
        """As ``do``, for a command that lists text; its exit code is ignored."""
        argv = [self.name(family, "restore"), "--noflush", *self._wait(family)]
        return self._run(argv, input=text, check=False)

    def save(self, family: str, variant: str | None = None) -> str:
        """Return everything that the namespace has for a family, foreign rules included."""
        if family in (ARP, BRIDGE) and not self._find_other(family):
            return ""
        if variant and not find_program(self.name(family, "save", variant)):
            return ""
        return self._run([self.name(family, "save", variant)], check=False).stdout

    def has_table(self, family: str, table: str) -> bool:
        """Whether to read a table at all: iptables-legacy creates tables that it reads."""
        if family not in _NAMES_FILES or self.variant == NFT:
            return True
        path = f"/proc/thread-self/net/{_NAMES_FILES[family]}"
        return table in in_netns(self._netns(), lambda: _read(path)).split()

    @functools.cached_property
    def has_ip6(self) -> bool:
        """Whether the kernel has IPv6; without it there is nothing to separate."""
        return bool(in_netns(self._netns(), lambda: _read("/proc/thread-self/net/snmp6")))

    def _find_other(self, family: str) -> str | None:
        """Return the ebtables or arptables that works; try again until one does."""
        if family not in self._others:
            tool = _TOOLS[family]
            first = [f"{tool}-{self._wanted}"] if self._wanted else []
            for name in dict.fromkeys([*first, tool, f"{tool}-{NFT}", f"{tool}-{LEGACY}"]):
                if not find_program(name):
                    continue
                done = self._run([name, *_PROBES[family]], check=False)
                if done.returncode == 0:
                    self._others[family] = name
                    break
                self._raise_if_exhausted([name, *_PROBES[family]], done)
        return self._others.get(family)

    @staticmethod
    def _raise_if_exhausted(argv: list[str], done: Completed) -> None:
        """Raise for a failure that says nothing about the kernel: the next call may succeed."""
        error = error_for(errno_in(done.stderr) or 0, f"run {' '.join(argv)}", detail=done.stderr)
        if isinstance(error, (Busy, Exhausted)):
            raise error

    @staticmethod
    def _wait(family: str) -> list[str]:
        return ["-w", _LOCK_PATIENCE] if family in (IP, IP6) else []

    def _run(self, argv: list[str], *, input: str | None = None, check: bool = True) -> Completed:
        return run(argv, input=input, netns=self._netns(), check=check)

    def _write(self, argv: list[str], transactions: int, text: str | None = None) -> None:
        def attempt() -> bool:
            done = self._run(argv, input=text, check=False)
            if done.returncode != 0:
                raise _failure(argv, done)
            return True

        self._within(attempt, transactions)


def _failure(argv: list[str], done: Completed) -> ApiError:
    """Return the error; iptables-nft puts the kernel's text in brackets, as in "(No such ...)"."""
    match = re.search(r"failed \(([^)]*)\)", done.stderr)
    number = errno_in(match[1]) if match else None
    if number is None:
        return failure(argv, done)
    return error_for(number, f"run {' '.join(argv)}", detail=done.stderr.strip())


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""
