"""Names: of chains, and which names of links and ids can be written in a rule."""

from __future__ import annotations

import base64
import re
from hashlib import blake2b

PREFIX = "SNNET-"

RECORDS = "rec"
SOURCES, FORWARD, INPUT = "src", "fwd", "in"
DNAT, SNAT, HAIRPIN, BACK = "dnat", "snat", "hair", "back"
FROM, TO, EXIT = "from", "to", "exit"

# "+" at the end is iptables' wildcard, quotes and blanks would need escapes, a
# leading "-" or "!" would be taken for an option.
_LINK = re.compile(r"[A-Za-z0-9._@][A-Za-z0-9._@~,-]{0,14}")
_ID = re.compile(r"[A-Za-z0-9._:-]{0,128}")


def chain(owner: str, part: str, of: str | None = None) -> str:
    """The owner's chain for ``part``, or for the part of one link or zone.

    Owners and ids are hashed: a chain has 28 characters at most (iptables(8)).
    """
    name = f"{PREFIX}{_short(owner)}-{part}"
    return name if of is None else f"{name}-{_short(of)}"


def records_of(line: str) -> str | None:
    """The records chain that a line of ``iptables-save`` declares, if it does."""
    match = re.match(rf":({PREFIX}[a-z2-7]{{8}}-{RECORDS}) ", line)
    return match[1] if match else None


def is_link(name: str) -> bool:
    """Whether a rule can name this link and no other."""
    return _LINK.fullmatch(name) is not None


def is_id(text: str) -> bool:
    """Whether a record can hold this id."""
    return _ID.fullmatch(text) is not None


def _short(text: str) -> str:
    """40 bits: two of a thousand collide once in two million hosts."""
    return base64.b32encode(blake2b(text.encode(), digest_size=5).digest()).decode().lower()
