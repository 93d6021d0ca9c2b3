"""What ``gather`` returns of rules of others, for snapshots of fake hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def nft(
    *rules: Sequence[Mapping[str, Any]], hook: str = "forward", policy: str = "accept"
) -> dict[str, Any]:
    """What ``gather`` returns for one chain of the table ``inet theirs`` with these rules.

    A rule is the list of its expressions (libnftables-json(5)).
    """
    where = {"family": "inet", "table": "theirs"}
    chain = {"name": "one", "handle": 1, "type": "filter", "hook": hook, "prio": 0}
    items: list[Mapping[str, Any]] = [{"chain": {**where, **chain, "policy": policy}}]
    items += [
        {"rule": {**where, "chain": "one", "handle": number, "expr": expressions}}
        for number, expressions in enumerate(rules, 5)
    ]
    return {"nft": items, "saved": [], "unread": []}


def saved(text: str, program: str = "iptables-nft-save", family: str = "ip") -> dict[str, Any]:
    """What ``gather`` returns for these lines of the table filter, as ``iptables-save`` prints."""
    head = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    return {
        "nft": [],
        "saved": [[program, family, f"*filter\n{head}{text}\nCOMMIT\n"]],
        "unread": [],
    }
