"""What the rules have dropped, by the counters that each rule has of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from snnet.contract import Dropped, Key, Noun

from .layout import ARP, BRIDGE, Section
from .programs import Programs
from .rules import render

_LIST = {ARP: ("-n", "-v", "-L"), BRIDGE: ("-L", "--Lc")}
_HEADER = re.compile(r"(?:Bridge chain: |Chain )([^ ,]+)")
_PACKETS = re.compile(r"(?:-A (\S+).*)?(?: -c |, pcnt = |, pcnt=) *(\d+)([KMGT]?) ")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
"""arptables rounds what has more than five digits (xtables_print_num)."""


def dropped(programs: Programs, owner: str, nouns: Mapping[Key, Noun]) -> Sequence[Dropped]:
    """Return what the rules have dropped since they were last written.

    When that was is not known: a change of another rule of the owner may write them again.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for section, content in render(owner, nouns).items():
        if not any(rule.drops for rules in content.chains.values() for rule in rules):
            continue
        found = _packets(programs, section)
        for chain, rules in content.chains.items():
            # If the numbers differ, somebody else changed the chain: verify() says so.
            if len(found.get(chain, ())) == len(rules):
                for rule, packets in zip(rules, found[chain], strict=True):
                    if rule.drops:
                        counts[rule.drops] += packets
    return [
        Dropped(link=link, why=why, packets=packets)
        for (link, why), packets in sorted(counts.items())
        if packets
    ]


def _packets(programs: Programs, section: Section) -> Mapping[str, Sequence[int]]:
    """Return how many packets each rule of a table has seen, by chain."""
    table = () if section.family == ARP else ("-t", section.table)
    listed = _LIST.get(section.family, ("-v", "-S"))
    found: dict[str, list[int]] = {}
    chain = ""
    for line in programs.ask(section.family, *table, *listed).stdout.splitlines():
        if header := _HEADER.match(line):
            chain = header[1]
        elif match := _PACKETS.search(line):
            packets = int(match[2]) * _UNITS[match[3]]
            found.setdefault(match[1] or chain, []).append(packets)
    return found
