"""What the kernel obeys of an owner's rules, wherever somebody moved them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from snnet.contract import Key, Noun

from . import layout
from .layout import RECORDED, SECTIONS, Content, Section
from .rules import render
from .saved import Saved


class Enforced(NamedTuple):
    """The nouns of an owner's records, and in which tables their rules are not complete."""

    nouns: dict[Key, Noun]
    damage: list[str]


def enforced(owner: str, saved: Saved, lacking: frozenset[str]) -> Enforced:
    """Read the records of an owner, and count the rules that they stand for.

    Where a jump to them is in its chain does not matter; that it is there does.
    """
    sections = [one for one in SECTIONS if one.family not in lacking]
    chain = layout.chain(owner, layout.RECORDS)
    found: dict[Key, Noun] = {}
    for section in (one for one in sections if one in RECORDED):
        records = layout.read_records(saved.table(section).rules.get(chain, ()))
        if records.owner == owner:
            found |= {noun.key: noun for noun in records.nouns}
    nouns = dict(sorted(found.items(), key=lambda item: item[1].rank))
    wanted = render(owner, nouns)
    return Enforced(nouns, list(_damage(owner, saved, sections, wanted)))


def _damage(
    owner: str, saved: Saved, sections: Iterable[Section], wanted: Mapping[Section, Content]
) -> Iterator[str]:
    for section in filter(wanted.__contains__, sections):
        content, rules = wanted[section], saved.table(section).rules
        lost = [
            name for name, own in content.chains.items() if len(rules.get(name, ())) != len(own)
        ]
        lost += [
            hook
            for hook, name in content.jumps.items()
            if not any(f"-j {name}" in rule for rule in rules.get(hook, ()))
        ]
        if lost:
            yield f"rules of {owner} in {section.family} table {section.table}, chain {lost[0]}"
