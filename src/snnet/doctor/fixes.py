"""The command that puts right what a node says is wrong."""

from __future__ import annotations

import re

REPAIR = "snnet host repair"
ADVICE = "see the text"

_OURS = re.compile(r"(?:missing|different|unexpected): |.*\bcall repair\(\)")
"""What is the node's own."""

_OFFERED = re.compile(r", or: (.+)$")
_IP = r"ip (?:link set|address add|route (?:add|delete))"
_PROGRAMS = rf"{_IP}|sysctl -w|modprobe|ip6?tables\S* -[PIAD]"
_COMMAND = re.compile(rf": ((?:{_PROGRAMS}) [^,;()]+)")
_IN_BRACKETS = re.compile(r"\((ip6?tables[^()]+)\)$")


def fix_of(line: str) -> str:
    """Return the command for a line of ``verify()``, or of an error; else what it advises."""
    if _OURS.match(line):
        return REPAIR
    for pattern in (_OFFERED, _COMMAND, _IN_BRACKETS):
        found = pattern.search(line)
        if found and "..." not in found[1]:
            return found[1].strip()
    _, mark, advice = line.rpartition("; ")
    return advice if mark and ":" not in advice else ADVICE
