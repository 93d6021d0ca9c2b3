"""How one kind of link is said to ``ip`` and read from it: what ``kinds`` is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from snnet.contract import IPAddress, Link

Row = dict[str, Any]
"""A link as ``ip -json -details link`` shows it, or a part of that."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A kind of link: its noun into words for ``ip``, and back from JSON."""

    noun: type[Link]
    words: Callable[[Any], list[str]]
    """What follows ``type`` and the kind in ``ip link add``."""
    read: Callable[[Row, Row, Row], Link | None]
    """The noun, of the whole row, the fields of every kind and ``info_data``.

    None for a link that snnet could not have made.
    """


def address(data: Row, *names: str) -> IPAddress | None:
    """The first of these that is a specified address, or None."""
    for name in names:
        text = data.get(name, "any")
        if text not in ("any", "unknown"):
            return ip_address(text)
    return None


def ttl(data: Row) -> int:
    """The outer TTL; 0, which ``ip`` leaves out or calls "inherit", where there is none."""
    found = data.get("ttl", 0)
    return found if isinstance(found, int) else 0


def link_local(row: Row) -> bool:
    """Whether the kernel gives it an IPv6 link-local address when it comes up."""
    return row.get("inet6_addr_gen_mode") != "none"
