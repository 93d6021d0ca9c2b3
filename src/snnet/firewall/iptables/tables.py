"""Running the programs; reading and replacing our own chains with them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from snnet.contract import ApiError, Busy, Exhausted, InvalidRequest, error_for
from snnet.system.netns import in_netns
from snnet.system.process import Completed, errno_in, failure, find_program, run

from . import layout
from .layout import ARP, BRIDGE, IP, IP6, Content, Section
from .saved import Saved

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
    else the one that works: they share nothing with iptables.
    """

    def __init__(self, netns: Callable[[], int], variant: str | None) -> None:
        if variant not in (None, NFT, LEGACY):
            raise InvalidRequest(f"{variant!r} is neither 'nft' nor 'legacy'", field="variant")
        self._netns = netns
        self._wanted = variant
        self._variant = variant
        self._others: dict[str, str] = {}
        self.writes = 0
        """How many transactions the programs were asked for, since they were opened."""

    @property
    def variant(self) -> str:
        """Which iptables it is, "nft" or "legacy"; raises where there is none."""
        if self._variant is None:
            said = self._run(["iptables", "-V"]).stdout
            self._variant = NFT if "nf_tables" in said else LEGACY
        return self._variant

    def elsewhere(self, netns: Callable[[], int]) -> Programs:
        """Return the same programs in another network namespace."""
        other = Programs(netns, self._wanted)
        other._variant, other._others = self._variant, self._others
        return other

    @property
    def other_variant(self) -> str:
        return LEGACY if self.variant == NFT else NFT

    @functools.cached_property
    def all_nft(self) -> bool:
        """Whether all programs that are there keep their rules in nf_tables."""
        if self.variant != NFT:
            return False
        names = [self.name(family) for family in _TOOLS if not self.missing(family)]
        return all("nf_tables" in self._run([name, "-V"], check=False).stdout for name in names)

    def missing(self, family: str) -> str | None:
        """Return what is not installed for a family and what to do; None if it works."""
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
        argv = [self.name(family), *self._wait(family), *args]
        self.writes += 1
        self._raise_for(argv, self._run(argv, check=False))

    def restore(self, family: str, text: str) -> None:
        """Apply a set of changes; each table is one transaction."""
        argv = [self.name(family, "restore"), "--noflush", *self._wait(family)]
        self.writes += sum(line.startswith("*") for line in text.splitlines())
        self._raise_for(argv, self._run(argv, input=text, check=False))

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

    @staticmethod
    def _raise_for(argv: list[str], done: Completed) -> None:
        if done.returncode != 0:
            raise _failure(argv, done)


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


_HEADER = re.compile(r"(?:Bridge chain: |Chain |-N )([^ ,]+)")
_TARGET = re.compile(rf"-[jg] ({layout.PREFIX}\S+)")


@dataclass(slots=True)
class SectionState:
    """The content of one section for one owner: rules by chain, and the jumps to them.

    ``jumps`` is None if they were not read yet.  ``spare`` are jumps too many, or too late.
    """

    chains: dict[str, list[str]] = field(default_factory=dict)
    jumps: dict[str, str] | None = None
    spare: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def made(cls, content: Content) -> SectionState:
        """Return the section as it is after ``content`` was written."""
        chains = {name: [rule.text for rule in rules] for name, rules in content.chains.items()}
        return cls(chains, dict(content.jumps))

    def has(self, content: Content) -> bool:
        """Whether each chain has the right number of rules, and the jumps are there.

        How a rule is printed depends on the version of the program; the number does not.
        """
        counts = {name: len(rules) for name, rules in content.chains.items()}
        found = {name: len(rules) for name, rules in self.chains.items()}
        return found == counts and (self.jumps or {}) == content.jumps


class Tables:
    """Our chains in the kernel."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def records(self, section: Section, owner: str) -> list[str] | None:
        """Return the rules of the owner's records chain, or None if there is none."""
        if not self._programs.has_table(*section):
            return None
        chain = layout.chain(owner, layout.RECORDS)
        done = self._programs.ask(section.family, "-t", section.table, "-S", chain)
        return _parse(done.stdout).get(chain) if done.returncode == 0 else None

    def read(
        self,
        section: Section,
        content: Content,
        main: Mapping[str, str] | None = None,
        saved: Saved | None = None,
    ) -> SectionState:
        """Return the chains that should be there, and those that they lead to, as found.

        ``main`` are further chains to read if they exist, by the built-in chains that lead
        there.  With ``saved``, jumps count only if they are there once, before any foreign
        rule that decides.
        """
        if self._programs.missing(section.family):
            return SectionState()
        hooks = {**content.jumps, **(main or {})}
        wanted = list(dict.fromkeys([*content.chains, *(main or {}).values()]))
        chains: dict[str, list[str]] = {}
        while wanted:
            chains |= self._list(section, wanted)
            leads = {name for rules in chains.values() for name in map(target, rules) if name}
            wanted = sorted(leads - chains.keys()) if leads - chains.keys() - set(wanted) else []
        if not chains:
            return SectionState(chains)
        if saved is None:
            return SectionState(chains, self._jumps(section, hooks))
        for chain in chains if section.family == BRIDGE else ():
            policy = saved.table(section).policies.get(chain, "RETURN")
            chains[chain] += [f"policy {policy}"] if policy != "RETURN" else []
        found = SectionState(chains, {})
        assert found.jumps is not None
        for hook, chain in hooks.items():
            copies, first = saved.table(section).jumps(hook, chain)
            if copies == 1 and first:
                found.jumps[hook] = chain
            else:
                found.spare += [(hook, chain)] * copies
        return found

    def write(self, work: Iterable[tuple[Section, SectionState, Content]]) -> None:
        """Write the content of sections, in this order.

        Each table is one transaction.  If one fails, the earlier ones stay written.
        """
        texts: dict[str, str] = {}
        for section, found, content in work:
            if not found.chains and not content.chains:
                continue
            if found.jumps is None:
                found = SectionState(found.chains, self._jumps(section, content.jumps), found.spare)
            if section.family == ARP:
                self._write_arp(found, content)
            else:
                text = "".join(f"{line}\n" for line in _changes(section, found, content))
                texts[section.family] = texts.get(section.family, "") + text
        for family, text in texts.items():
            self._programs.restore(family, text)

    def _list(self, section: Section, chains: list[str]) -> dict[str, list[str]]:
        """Return the rules of those chains that exist."""
        family, table = section
        flag = "-L" if family in (ARP, BRIDGE) else "-S"
        if len(chains) > 1 and family != ARP:
            text = "".join(
                [f"*{table}\n", *(f"{flag} {chain}\n" for chain in chains), _end(family)]
            )
            done = self._programs.listed(family, text)
            listed = _parse(done.stdout)
            if done.returncode == 0 and listed.keys() >= set(chains):
                return {chain: listed[chain] for chain in chains}
        found = {}
        for chain in chains:
            done = self._programs.ask(family, *_table(section), flag, chain)
            if done.returncode == 0 and (rules := _parse(done.stdout).get(chain)) is not None:
                found[chain] = rules
        return found

    def _jumps(self, section: Section, jumps: dict[str, str]) -> dict[str, str]:
        """Return those of the jumps that exist."""
        return {
            hook: chain for hook, chain in jumps.items() if self._jumps_to(section, hook, chain)
        }

    def _jumps_to(self, section: Section, hook: str, chain: str) -> bool:
        if section.family != BRIDGE:
            arguments = (*_table(section), "-C", hook, "-j", chain)
            return self._programs.ask(section.family, *arguments).returncode == 0
        # ebtables(8) cannot check for one rule.
        done = self._programs.ask(section.family, *_table(section), "-L", hook)
        return f"-j {chain}" in map(str.strip, done.stdout.splitlines())

    def _write_arp(self, found: SectionState, content: Content) -> None:
        """Write rule by rule: arptables-restore always deletes foreign rules."""
        for chain in content.chains.keys() - found.chains.keys():
            self._programs.do(ARP, "-N", chain)
        for chain in found.chains.keys() | content.chains.keys():
            here = found.chains.get(chain, [])
            rules = [rule.text for rule in content.chains.get(chain, ())]
            there = set(map(_words, here))
            for text in (text for text in rules if _words(text) not in there):
                self._programs.do(ARP, "-A", chain, *text.split())
            wanted = set(map(_words, rules))
            for text in (text for text in here if _words(text) not in wanted):
                self._programs.do(ARP, "-D", chain, *text.split())
        for line in _jump_changes(found, content):
            self._programs.do(ARP, *line.split())
        for chain in found.chains.keys() - content.chains.keys():
            self._programs.do(ARP, "-X", chain)


def _changes(section: Section, found: SectionState, content: Content) -> Iterator[str]:
    """Return the lines of iptables-restore(8) that turn ``found`` into ``content``."""
    yield f"*{section.table}"
    chains = dict.fromkeys([*found.chains, *content.chains])
    for chain in chains:
        # Created if missing, emptied if not, in the same transaction.
        yield f":{chain} RETURN" if section.family == BRIDGE else f":{chain} - [0:0]"
    for chain, rules in content.chains.items():
        yield from (f"-A {chain} {rule.text}" for rule in rules)
    yield from _jump_changes(found, content)
    yield from (f"-X {chain}" for chain in chains if chain not in content.chains)
    if end := _end(section.family).strip():
        yield end


def _jump_changes(found: SectionState, content: Content) -> Iterator[str]:
    """Return the lines for one jump from each built-in chain that needs it, at the front."""
    there = found.jumps or {}
    yield from (f"-D {hook} -j {to}" for hook, to in found.spare)
    yield from (f"-D {hook} -j {there[hook]}" for hook in there if hook not in content.jumps)
    yield from (f"-I {hook} -j {to}" for hook, to in content.jumps.items() if hook not in there)


def _parse(text: str) -> dict[str, list[str]]:
    """Return the rules by chain from the output of iptables -S, ebtables -L or arptables -L."""
    chains: dict[str, list[str]] = {}
    current: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if header := _HEADER.match(line):
            current = chains.setdefault(header[1], [])
        elif line.startswith("-A "):
            _, chain, *rule = line.split(" ", 2)
            chains.setdefault(chain, []).extend(rule)
        elif line and not line.startswith(("Bridge table:", "-P ", "#")):
            current.append(line)
    return chains


def target(rule: str) -> str | None:
    """Return the chain of ours that a rule leads to, or None."""
    match = _TARGET.search(rule)
    return match[1] if match else None


def _words(rule: str) -> frozenset[str]:
    """Return the words of an arptables rule, whatever their order in the output."""
    return frozenset(rule.replace("--opcode Request", "--opcode 1").split())


def _table(section: Section) -> tuple[str, ...]:
    return () if section.family == ARP else ("-t", section.table)


def _end(family: str) -> str:
    return "" if family == BRIDGE else "COMMIT\n"
