"""Uplinks: which of a node's links carry tenant and management traffic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from snnet.contract import (
    Address,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    Noun,
)

from . import identity as ids

_FOREIGN_BRIDGES = re.compile(r"docker.*|br-[0-9a-f]{12}|virbr.*")
"""Bridges of Docker and libvirt: they lead to guests of somebody else."""

_REAL_KINDS = {"physical", "bond", "vlan", "macvlan", "bridge"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Uplink:
    """An address of the node on a link to the data centre.  ``mtu`` in bytes."""

    link_name: str
    index: int
    address: IPInterface
    mtu: int
    compute: bool
    management: bool

    @property
    def ip(self) -> IPAddress:
        return self.address.ip

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "link_name": self.link_name,
            "index": self.index,
            "address": str(self.address),
            "mtu": self.mtu,
            "compute": self.compute,
            "management": self.management,
        }

    def __repr__(self) -> str:
        uses = "".join(f" {use}" for use in ("compute", "management") if getattr(self, use))
        return f"<Uplink {self.link_name} {self.address} mtu {self.mtu}{uses}>"

    def __str__(self) -> str:
        return f"{self.link_name} {self.address}"


def find_uplinks(
    nouns: Iterable[Noun],
    compute_nets: Sequence[IPNetwork],
    management_nets: Sequence[IPNetwork],
) -> tuple[Uplink, ...]:
    """The uplinks among the links and addresses found, by ifindex, then address.

    With nets given: every link, up or not, that has an address inside them.
    Without compute nets: the only real link that has an address; without
    management nets: the compute uplinks.  InvalidRequest names the nets and
    the candidates seen where there is none, or not one.
    """
    nouns = list(nouns)
    links = {noun.name: noun for noun in nouns if isinstance(noun, Link)}
    candidates = [
        (links[noun.link], noun.address)
        for noun in nouns
        if isinstance(noun, Address) and noun.link in links and _may_be_uplink(links[noun.link])
    ]
    candidates.sort(key=lambda pair: (pair[0].index, pair[1].version, int(pair[1].ip)))
    compute = _choose(candidates, compute_nets, "compute_nets")
    management = (
        _choose(candidates, management_nets, "management_nets") if management_nets else compute
    )
    return tuple(
        Uplink(
            link_name=link.name,
            index=link.index,
            address=address,
            mtu=link.mtu or 1500,
            compute=(link.name, address) in compute,
            management=(link.name, address) in management,
        )
        for link, address in candidates
        if (link.name, address) in compute | management
    )


def _may_be_uplink(link: Link) -> bool:
    return (
        link.kind != "loopback"
        and not ids.grouped(link)
        and link.master is None  # a bridge port has no traffic of its own
        and not (link.kind == "bridge" and _FOREIGN_BRIDGES.fullmatch(link.name))
    )


_Candidates = list[tuple[Link, IPInterface]]


def _choose(
    candidates: _Candidates, nets: Sequence[IPNetwork], field: str
) -> set[tuple[str, IPInterface]]:
    if nets:
        inside = {
            (link.name, address)
            for link, address in candidates
            if any(address.version == net.version and address.ip in net for net in nets)
        }
        if inside:
            return inside
        raise InvalidRequest(
            f"no link of this node has an address in {', '.join(map(str, nets))}; "
            f"{_seen(candidates)}",
            field=field,
        )
    real = [(link, address) for link, address in candidates if link.kind in _REAL_KINDS]
    if len({link.name for link, _ in real}) != 1:
        raise InvalidRequest(
            "no nets are given, and this node has not exactly one real link with an address; "
            f"{_seen(real)}: name the nets",
            field=field,
        )
    return {(link.name, address) for link, address in real}


def _seen(candidates: _Candidates) -> str:
    if not candidates:
        return "no candidates seen"
    return "candidates seen: " + ", ".join(f"{link.name} {address}" for link, address in candidates)
