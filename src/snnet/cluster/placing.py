"""Which node gets something: the same answer for everybody who knows the same nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chosen(what: str, names: Iterable[str]) -> str | None:
    """Choose one of the names by rendezvous hashing; None if there is none.

    It needs no count of what each has, spreads evenly, and where a name is added or goes,
    only what belongs to that name moves.
    """

    def weight(name: str) -> bytes:
        return hashlib.sha256(f"{what}/{name}".encode()).digest()

    return max(names, key=weight, default=None)
