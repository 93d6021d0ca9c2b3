"""How one kind of link is written for ``ip`` and read from it; ``kinds`` uses this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from snnet.contract import IPAddress, Link

Row = dict[str, Any]
"""A link in the output of ``ip -json -details link``, or a part of it."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One kind of link: converts its noun to words for ``ip``, and back from JSON."""

    noun: type[Link]
    words: Callable[[Any], list[str]]
    """Returns what follows ``type`` and the kind in ``ip link add``."""
    read: Callable[[Row, Row, Row], Link | None]
    """Returns the noun from the row, the fields common to all kinds, and ``info_data``.

    Returns None for a link that snnet cannot have created.
    """


def address(data: Row, *names: str) -> IPAddress | None:
    """Return the first of these values that is a specified address, or None."""
    for name in names:
        text = data.get(name, "any")
        if text not in ("any", "unknown"):
            return ip_address(text)
    return None


def ttl(data: Row) -> int:
    """Return the outer TTL.  0 stands for no TTL, which ``ip`` omits or prints as "inherit"."""
    found = data.get("ttl", 0)
    return found if isinstance(found, int) else 0


def link_local(row: Row) -> bool:
    """Whether the kernel gives the link an IPv6 link-local address when it comes up."""
    return row.get("inet6_addr_gen_mode") != "none"
