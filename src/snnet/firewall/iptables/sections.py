"""Sections: the tables of the kernel that hold chains of ours, and what is in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from snnet.contract import Key, Noun

IP, IP6, ARP, BRIDGE = "ip", "ip6", "arp", "bridge"


class Section(NamedTuple):
    """One table of one family."""

    family: str
    table: str


PORTS = Section(BRIDGE, "nat")
PORTS_INPUT = Section(BRIDGE, "filter")
NEIGHBOURS = Section(ARP, "filter")
RAW, RAW6 = Section(IP, "raw"), Section(IP6, "raw")
NAT = Section(IP, "nat")
FILTER, FILTER6 = Section(IP, "filter"), Section(IP6, "filter")

SECTIONS = (PORTS, PORTS_INPUT, NEIGHBOURS, RAW6, FILTER6, RAW, NAT, FILTER)
"""In the order of additions: the records of ``RAW`` and ``FILTER`` speak for the
sections of bridge and arp, which hold none, and NAT is there before the filter lets
anything out."""

RECORDED = frozenset({RAW, RAW6, NAT, FILTER, FILTER6})
"""Those that keep records (ebtables and arptables have no comments)."""


class Rule(NamedTuple):
    """One rule of a chain, without ``-A chain``, and the noun it is for."""

    text: str
    key: Key


@dataclass(slots=True)
class Content:
    """What one section holds of one owner: nouns and the rules made of them."""

    nouns: dict[Key, Noun] = field(default_factory=dict)
    chains: dict[str, list[Rule]] = field(default_factory=dict)
    jumps: dict[str, str] = field(default_factory=dict)
    """From which built-in chain to which of ours."""

    def add(self, chain: str, noun: Noun, *texts: str) -> None:
        """Append rules to a chain."""
        self.chains.setdefault(chain, []).extend(Rule(text, noun.key) for text in texts)

    def jump(self, chain: str, *hooks: str) -> None:
        """Have packets of these built-in chains come to ours, if there is anything in it."""
        if chain in self.chains:
            self.jumps |= dict.fromkeys(hooks, chain)

    def lines(self) -> Iterable[str]:
        """All of it as text, to compare."""
        yield from (
            f"-A {chain} {rule.text}" for chain in self.chains for rule in self.chains[chain]
        )
        yield from (f"-I {hook} -j {chain}" for hook, chain in self.jumps.items())
