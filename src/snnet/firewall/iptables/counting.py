"""What the rules have dropped, by the counters that each rule has of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from snnet.contract import AntiSpoof, Dropped, HostIsolation, Key, Noun
from snnet.firewall import reasons

from .layout import ARP, BRIDGE, Rule, Section
from .rules import render
from .tables import Programs

_PACKETS = re.compile(r" -c (\d+) \d+\b|, pcnt = (\d+) ")
_DROPS = re.compile(r"-j DROP$")
_DHCP = re.compile(r"--ip-sport 67 |--ip-dport 68 ")


def dropped(programs: Programs, owner: str, nouns: Mapping[Key, Noun]) -> Sequence[Dropped]:
    """Return what guards have dropped since their chains were last written.

    That is not known: a change of any rule of the owner writes its chains again.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for section, content in render(owner, nouns).items():
        if section.family == ARP:  # its programs do not show one rule a line
            continue
        for chain, rules in content.chains.items():
            guards = [_is_guard(content.nouns.get(rule.key)) for rule in rules]
            if any(guards):
                counts.update(_counted(programs, section, chain, rules, content.nouns))
    return [
        Dropped(link=link, why=why, packets=packets)
        for (link, why), packets in sorted(counts.items())
    ]


def _counted(
    programs: Programs,
    section: Section,
    chain: str,
    rules: Sequence[Rule],
    nouns: Mapping[Key, Noun],
) -> Mapping[tuple[str, str], int]:
    found = list(_packets(programs, section, chain))
    counts: Counter[tuple[str, str]] = Counter()
    if len(found) != len(rules):
        return counts  # somebody else changed the chain: verify() says so
    for rule, packets in zip(rules, found, strict=True):
        noun = nouns.get(rule.key)
        if packets and _DROPS.search(rule.text) and isinstance(noun, AntiSpoof | HostIsolation):
            counts[noun.link, _why(noun, rule.text)] += packets
    return counts


def _packets(programs: Programs, section: Section, chain: str) -> Iterator[int]:
    """The packets that each rule of a chain has seen."""
    list_it = ("-L", chain, "--Lc") if section.family == BRIDGE else ("-v", "-S", chain)
    done = programs.ask(section.family, "-t", section.table, *list_it)
    for match in map(_PACKETS.search, done.stdout.splitlines()):
        if match:
            yield int(match[1] or match[2])


def _why(noun: AntiSpoof | HostIsolation, text: str) -> str:
    if isinstance(noun, HostIsolation):
        return reasons.HOST
    return reasons.DHCP if _DHCP.search(text) else reasons.ADDRESS


def _is_guard(noun: Noun | None) -> bool:
    return isinstance(noun, AntiSpoof | HostIsolation)
