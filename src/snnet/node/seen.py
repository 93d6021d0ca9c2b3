"""What one listing of the host shows of a node."""

from __future__ import annotations

from dataclasses import dataclass

from snnet.contract import Key, Link, Noun


@dataclass(frozen=True, slots=True)
class Seen:
    """The node's objects that are on the host, and links that may be some of them."""

    ours: dict[Key, Noun]
    strays: dict[tuple[str, ...], Link]
    """Links that claim an identity of the owner without its name, by that identity."""
