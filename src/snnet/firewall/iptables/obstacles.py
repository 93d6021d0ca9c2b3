"""What stands in the way of our chains: others' rules before them, and the other iptables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import names
from .programs import Programs
from .sections import IP, IP6, Section

_STOPS = {"DROP", "REJECT"}
_DECIDES = _STOPS | {"ACCEPT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "QUEUE", "NFQUEUE"}
_RULE = re.compile(r"-A (\S+) ?(.*)")
_TARGET = re.compile(r"-[jg] (\S+)")


@dataclass(slots=True)
class _Table:
    """One table as saved: policies of built-in chains, and the rules of all."""

    policies: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)

    def reaches(self, rule: str, verdicts: set[str]) -> bool:
        """Whether a rule of others can end in one of these verdicts."""
        seen: set[str] = set()
        open_rules = [rule]
        while open_rules:
            match = _TARGET.search(open_rules.pop())
            if match is None or match[1].startswith(names.PREFIX) or match[1] in seen:
                continue
            if match[1] in verdicts:
                return True
            seen.add(match[1])
            open_rules += self.rules.get(match[1], [])
        return False


def obstacles(programs: Programs, jumps: Mapping[Section, Mapping[str, str]]) -> list[str]:
    """A line for each; ``jumps`` are those of ours that should be there."""
    lines: list[str] = []
    for family in (IP, IP6):
        hooks = {section: jumps[section] for section in jumps if section.family == family}
        if not hooks:
            continue
        tables = _parse(programs.save(family))
        for section, ours in hooks.items():
            table = tables.get(section.table, _Table())
            for hook, chain in ours.items():
                lines += _before(programs, section, table, hook, chain)
        lines += _others(programs, family)
    return lines


def _before(
    programs: Programs, section: Section, table: _Table, hook: str, chain: str
) -> Iterator[str]:
    where = f"{programs.name(section.family)} table {section.table}, chain {hook}"
    rules = table.rules.get(hook, [])
    jump = f"-j {chain}"
    if jump not in rules:
        yield f"{where}: the jump to {chain} is gone: call repair()"
        return
    ahead = [rule for rule in rules[: rules.index(jump)] if table.reaches(rule, _DECIDES)]
    if ahead:
        call = f"{programs.name(section.family)} -t {section.table}"
        yield (
            f"{where}: a rule of others decides before snnet's do ({ahead[0]!r}, {len(ahead)} in "
            f"all): put {chain} first again ({call} -D {hook} {jump}; {call} -I {hook} {jump})"
        )


def _others(programs: Programs, family: str) -> Iterator[str]:
    """What the other of iptables-nft and iptables-legacy drops: the kernel asks both."""
    other = programs.other_variant
    forward = _parse(programs.save(family, other)).get("filter", _Table())
    where = f"{programs.name(family, variant=other)} table filter, chain FORWARD"
    if forward.policies.get("FORWARD") in _STOPS:
        yield (
            f"{where}: its policy drops what snnet lets pass by {programs.name(family)}: "
            f"{programs.name(family, variant=other)} -P FORWARD ACCEPT, or use one iptables for all"
        )
    for rule in forward.rules.get("FORWARD", []):
        if forward.reaches(rule, _STOPS):
            yield f"{where}: {rule!r} may drop what snnet lets pass: use one iptables for all"


def _parse(saved: str) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    table = _Table()
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], _Table())
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            table.policies[chain] = policy
        elif match := _RULE.match(line):
            table.rules.setdefault(match[1], []).append(match[2])
    return tables
