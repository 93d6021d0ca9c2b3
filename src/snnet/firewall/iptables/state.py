"""What one owner has on the host: nouns whose rules are complete, and the rest."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from snnet.contract import Key, Noun, Zone

from . import layout
from .layout import (
    ARP,
    BRIDGE,
    NEIGHBOURS,
    PORTS,
    PORTS_INPUT,
    RECORDED,
    SECTIONS,
    Content,
    Rule,
    Section,
)
from .reference import Reference
from .rules import places, render, render_section
from .saved import Saved
from .tables import SectionState, Tables, target

_LINK = re.compile(r"-i (\S+)")
_MAIN = {
    PORTS: {"PREROUTING": layout.SOURCES},
    PORTS_INPUT: {"INPUT": layout.INPUT},
    NEIGHBOURS: {"INPUT": layout.INPUT},
}
"""Chains that are read where no record mentions any, by the built-in chain that leads there."""


@dataclass(slots=True)
class State:
    """One owner's part of the firewall, as found.

    ``nouns`` have all their records and rules.  ``broken`` nouns lack some, by accident or
    because somebody removed them; the next change removes what is left of them.
    """

    owner: str
    lacking: frozenset[str] = frozenset()
    """Families that the host does not have: IPv6, if the kernel lacks it."""
    nouns: dict[Key, Noun] = field(default_factory=dict)
    broken: dict[Key, Noun] = field(default_factory=dict)
    found: dict[Section, SectionState] = field(default_factory=dict)
    dirty: set[Section] = field(default_factory=set)
    """Sections whose content is not that of ``nouns``."""
    families: frozenset[str] = frozenset()
    """Families that were read even if no record mentioned anything there."""
    exact: bool = False
    """Whether the rules were compared word by word, and not only counted."""

    @property
    def sections(self) -> list[Section]:
        return [section for section in SECTIONS if section.family not in self.lacking]

    def differing(self, nouns: Mapping[Key, Noun]) -> dict[Section, Content]:
        """Return the sections to write so that exactly these nouns are there."""
        now, wanted = render(self.owner, self.nouns), render(self.owner, nouns)
        empty = Content()
        return {
            section: wanted.get(section, empty)
            for section in self.sections
            if section in self.dirty
            or list(now.get(section, empty).lines()) != list(wanted.get(section, empty).lines())
        }

    def jumps(self) -> dict[Section, dict[str, str]]:
        """Return the built-in chains from which packets should enter ours."""
        wanted = render(self.owner, self.nouns | self.broken)
        return {section: content.jumps for section, content in wanted.items()}

    def written(
        self,
        nouns: Mapping[Key, Noun],
        broken: Mapping[Key, Noun],
        contents: Mapping[Section, Content],
    ) -> State:
        """Return the state after these sections were written."""
        found = self.found | {
            section: SectionState.made(made) for section, made in contents.items()
        }
        return dataclasses.replace(
            self,
            nouns=dict(nouns),
            broken=dict(broken),
            found=found,
            dirty=self.dirty - contents.keys(),
        )


class Exact(NamedTuple):
    """What is needed to compare rules word by word."""

    reference: Reference
    saved: Saved


def read_state(
    tables: Tables,
    owner: str,
    lacking: frozenset[str],
    families: Collection[str] = (),
    exact: Exact | None = None,
) -> State:
    """Read the chains of an owner.

    ``lacking`` are families that this host does not have.  ``families`` are read even if no
    record mentions anything there.  Without ``exact`` rules are only counted, and no foreign
    rule is read.
    """
    saved = exact and exact.saved
    state = State(owner, lacking, families=frozenset(families), exact=exact is not None)
    recorded: dict[Section, dict[Key, Noun]] = {}
    for section in state.sections:
        if section in RECORDED:
            lines = tables.records(section, owner)
            known = layout.read_records(lines or ())
            nouns = {noun.key: noun for noun in known.nouns} if known.owner == owner else {}
            recorded[section] = nouns
            content = render_section(section, owner, nouns)
            state.found[section] = (
                SectionState() if lines is None else tables.read(section, content, saved=saved)
            )
    found = {key: noun for nouns in recorded.values() for key, noun in nouns.items()}
    # Sections have different nouns: as they are read, their order is not that of additions.
    union = dict(sorted(found.items(), key=lambda item: item[1].rank))
    for section, parts in _MAIN.items():
        nouns = {key: noun for key, noun in union.items() if section in places(noun, union)}
        if section in state.sections and (nouns or section.family in families):
            recorded[section] = nouns
            main = {hook: layout.chain(owner, part) for hook, part in parts.items()}
            content = render_section(section, owner, nouns)
            state.found[section] = tables.read(section, content, main, saved)
    contents = {
        section: render_section(section, owner, nouns) for section, nouns in recorded.items()
    }
    printed = exact.reference.printed(contents) if exact else None
    _sort_out(state, union, recorded, contents, printed or {})
    return state


def _sort_out(
    state: State,
    union: Mapping[Key, Noun],
    recorded: Mapping[Section, dict[Key, Noun]],
    contents: Mapping[Section, Content],
    printed: Mapping[Section, Mapping[str, list[str]]],
) -> None:
    """Separate nouns that are complete from those that are not."""
    damaged = {
        section: _damaged(section, contents[section], state.found[section], printed.get(section))
        for section in recorded
    }
    for key, noun in union.items():
        needed = places(noun, union) & set(state.sections)
        versions = {recorded.get(section, {}).get(key) for section in needed}
        whole = not any(key in damaged.get(section, ()) for section in needed)
        if whole and len(versions) == 1:
            state.nouns[key] = noun
        elif whole and isinstance(noun, Zone) and None not in versions:
            state.nouns[key] = _common(versions, noun)
        else:
            state.broken[key] = noun
    wanted = render(state.owner, state.nouns)
    for section, nouns in recorded.items():
        content = wanted.get(section, Content())
        if nouns != content.nouns or not state.found[section].has(content):
            state.dirty.add(section)


def _common(versions: Collection[Noun | None], zone: Zone) -> Zone:
    """Return what is true in every section of a zone whose change was interrupted."""
    networks = [set(found.networks) for found in versions if isinstance(found, Zone)]
    return dataclasses.replace(zone, networks=tuple(set.intersection(*networks)))


def _damaged(
    section: Section,
    content: Content,
    found: SectionState,
    printed: Mapping[str, list[str]] | None,
) -> set[Key]:
    """Return nouns that lack a rule or have another one, or whose chains have additional ones.

    ``printed`` are the rules as they should be printed; None if that is not known.
    """
    damaged: set[Key] = set()
    for chain, rules in content.chains.items():
        lines, wanted = found.chains.get(chain, []), (printed or {}).get(chain)
        if section.family in (ARP, BRIDGE) and all(rule.text.startswith("-i ") for rule in rules):
            damaged |= _damaged_links(rules, lines, wanted)
        elif len(lines) != len(rules):
            damaged |= {rule.key for rule in rules}
        elif wanted is not None:
            damaged |= {
                rule.key
                for rule, line, should in zip(rules, lines, wanted, strict=True)
                if line != should
            }
    for hook, chain in content.jumps.items():
        if hook not in (found.jumps or {}):
            damaged |= {
                rule.key for name in _reached(content, chain) for rule in content.chains[name]
            }
    return damaged


def _damaged_links(
    rules: Sequence[Rule], lines: Sequence[str], wanted: Sequence[str] | None
) -> set[Key]:
    """The same for a chain with one rule a link, where no record says how many.

    A rule for another link belongs to a noun that was just being added or removed.
    """
    links = Counter(match[1] for line in lines if (match := _LINK.search(line)))
    if links.total() != len(lines):
        return {rule.key for rule in rules}
    there = set(lines)
    return {
        rule.key
        for number, rule in enumerate(rules)
        if links[rule.text.split()[1]] != 1 or (wanted is not None and wanted[number] not in there)
    }


def _reached(content: Content, chain: str) -> set[str]:
    """Return the chains that packets reach from this one."""
    reached, new = set(), {chain}
    while new:
        reached |= new
        leads = (target(rule.text) for name in new for rule in content.chains[name])
        new = {name for name in leads if name} - reached
    return reached
