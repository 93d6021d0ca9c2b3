"""What the programs save: all rules of a family, foreign ones included."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import layout
from .layout import Section

STOPS = {"DROP", "REJECT"}
DECIDES = STOPS | {"ACCEPT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "QUEUE", "NFQUEUE"}
_RULE = re.compile(r"-A (\S+) ?(.*)")
_TARGET = re.compile(r"-[jg] (\S+)")


@dataclass(slots=True)
class SavedTable:
    """One saved table: the policies of built-in chains, and the rules of all chains."""

    policies: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)

    def reaches(self, rule: str, verdicts: set[str]) -> bool:
        """Whether a foreign rule can end in one of these verdicts."""
        seen: set[str] = set()
        open_rules = [rule]
        while open_rules:
            match = _TARGET.search(open_rules.pop())
            if match is None or match[1].startswith(layout.PREFIX) or match[1] in seen:
                continue
            if match[1] in verdicts:
                return True
            seen.add(match[1])
            open_rules += self.rules.get(match[1], [])
        return False

    def jumps(self, hook: str, chain: str) -> tuple[int, bool]:
        """Return how often a built-in chain jumps to ours, and whether that decides first."""
        rules, jump = self.rules.get(hook, []), f"-j {chain}"
        copies = [number for number, rule in enumerate(rules) if rule.strip() == jump]
        ahead = rules[: copies[0]] if copies else rules
        return len(copies), not any(self.reaches(rule, DECIDES) for rule in ahead)


class Saved:
    """The saved tables of all families, each read when it is first needed."""

    def __init__(self, save: Callable[[str], str]) -> None:
        self._save = save
        self._texts: dict[str, str] = {}
        self._tables: dict[str, Mapping[str, SavedTable]] = {}

    def text(self, family: str) -> str:
        """Return what the family's program saves."""
        if family not in self._texts:
            self._texts[family] = self._save(family)
        return self._texts[family]

    def table(self, section: Section) -> SavedTable:
        """Return the section's table."""
        family, table = section
        if family not in self._tables:
            self._tables[family] = parse_saved(self.text(family))
        return self._tables[family].get(table, SavedTable())


def parse_saved(saved: str) -> dict[str, SavedTable]:
    """Return the saved tables by name."""
    tables: dict[str, SavedTable] = {}
    table = SavedTable()
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], SavedTable())
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            table.policies[chain] = policy
        elif match := _RULE.match(line):
            table.rules.setdefault(match[1], []).append(match[2])
    return tables
