"""Reading and replacing our own chains with iptables and the programs like it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import layout
from .bases import Bases
from .layout import ARP, BRIDGE, Content, Section
from .programs import Programs
from .saved import Saved

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

    def __init__(self, programs: Programs, bases: Bases | None = None) -> None:
        self._programs = programs
        self._bases = bases
        """What is to go with the last rule; None: everything stays."""

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

    def write(
        self, work: Iterable[tuple[Section, SectionState, Content]], *, whole: bool = True
    ) -> None:
        """Write the content of sections, in this order.

        Each table is one transaction.  If one fails, the earlier ones stay written.  Chains are
        written ``whole``; else only rules that differ are, by their numbers, which are right if
        nobody changes a chain meanwhile.
        """
        work = [part for part in work if part[1].chains or part[2].chains]
        self._note(work)  # before anything is asked: iptables-nft creates what it is asked for
        work = [
            (section, self._with_jumps(section, found, content), content)
            for section, found, content in work
        ]
        texts: dict[str, str] = {}
        for section, found, content in work:
            family = section.family
            if family == ARP:
                self._write_arp(found, content)
            elif lines := list(_changes(section, found, content, whole)):
                text = "".join(f"{line}\n" for line in (f"*{section.table}", *lines))
                texts[family] = texts.get(family, "") + text + _end(family)
        for family, text in texts.items():
            self._programs.restore(family, text)
        if any(not content.chains for _, _, content in work):
            self.sweep()

    def _with_jumps(self, section: Section, found: SectionState, content: Content) -> SectionState:
        if found.jumps is not None:
            return found
        return SectionState(found.chains, self._jumps(section, content.jumps), found.spare)

    def _note(self, work: Iterable[tuple[Section, SectionState, Content]]) -> None:
        """Record the tables and chains that the program is about to create, if it creates any."""
        if self._bases is None:
            return
        new = {
            section: hooks
            for section, found, content in work
            if self._programs.is_nft(section.family)
            # Chains of ours alone bring the table as well.
            and ((hooks := content.jumps.keys() - (found.jumps or {})) or not found.chains)
        }
        if new:
            self._bases.note(new)

    def sweep(self) -> None:
        """Remove what programs created for rules that are gone, and that nobody else uses."""
        if self._bases is not None:
            self._bases.sweep()

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
            rules = [rule.text for rule in content.chains.get(chain, ())]
            texts = {_words(text): text for text in rules}
            here = [texts.get(_words(rule), rule) for rule in found.chains.get(chain, ())]
            lines = _patch(chain, here, rules)
            if lines is None:
                # Both are there meanwhile, so that nothing opens.
                lines = [f"-A {chain} {rule}" for rule in rules]
                # By number, from the last one: arptables does not read all that it prints.
                lines += [f"-D {chain} {number}" for number in range(len(here), 0, -1)]
            for line in lines:
                self._programs.do(ARP, *line.split())
        for line in _jump_changes(found, content):
            self._programs.do(ARP, *line.split())
        for chain in found.chains.keys() - content.chains.keys():
            self._programs.do(ARP, "-X", chain)


def _changes(section: Section, found: SectionState, content: Content, whole: bool) -> Iterator[str]:
    """Return the lines of iptables-restore(8) that turn ``found`` into ``content``."""
    wanted = {name: [rule.text for rule in rules] for name, rules in content.chains.items()}
    patches = {
        chain: None if whole else _patch(chain, found.chains.get(chain, []), rules)
        for chain, rules in wanted.items()
    }
    gone = [chain for chain in found.chains if chain not in wanted]
    for chain in [*gone, *(chain for chain, patch in patches.items() if patch is None)]:
        # Created if missing, emptied if not, in the same transaction.
        yield f":{chain} RETURN" if section.family == BRIDGE else f":{chain} - [0:0]"
    for chain, patch in patches.items():
        yield from [f"-A {chain} {rule}" for rule in wanted[chain]] if patch is None else patch
    yield from _jump_changes(found, content)
    yield from (f"-X {chain}" for chain in gone)


def _patch(chain: str, old: Sequence[str], new: Sequence[str]) -> list[str] | None:
    """Return the lines that turn the rules of a chain into others.

    Return None if no rule stays, or if those that stay are in another order.
    """
    staying = {*old} & {*new}
    if not staying or [*filter(staying.__contains__, old)] != [*filter(staying.__contains__, new)]:
        return None
    # From the last one, so that the numbers of those before stay.
    here = reversed([*enumerate(old, 1)])
    deleted = [f"-D {chain} {number}" for number, rule in here if rule not in staying]
    inserted = [
        f"-I {chain} {number} {rule}" for number, rule in enumerate(new, 1) if rule not in staying
    ]
    return [*deleted, *inserted]


def _jump_changes(found: SectionState, content: Content) -> Iterator[str]:
    """Return the lines for one jump from each built-in chain that needs it, at the front."""
    there = found.jumps or {}
    yield from (f"-D {hook} -j {to}" for hook, to in found.spare)
    yield from (f"-D {hook} -j {there[hook]}" for hook in there if hook not in content.jumps)
    yield from (f"-I {hook} -j {to}" for hook, to in content.jumps.items() if hook not in there)


def _parse(text: str) -> dict[str, list[str]]:
    """Return the rules by chain from the output of iptables -S, ebtables -L or arptables -L.

    A rule without match and target, which counts packets, is an empty text.
    """
    chains: dict[str, list[str]] = {}
    current: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if header := _HEADER.match(line):
            current = chains.setdefault(header[1], [])
        elif line.startswith("-A "):
            _, chain, *rule = line.split(" ", 2)
            chains.setdefault(chain, []).append("".join(rule))
        elif line.startswith("Bridge table:"):
            current = []
        elif not line.startswith(("-P ", "#")):
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
