"""What one host has that decides about packets, as data that can be handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from snnet.contract import (
    RULES,
    TUNNELS,
    Address,
    Bridge,
    BridgeFdb,
    Fdb,
    Gre,
    Ifb,
    InvalidRequest,
    Listener,
    Macvtap,
    Namespace,
    Neighbour,
    Noun,
    Other,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Shaper,
    Tap,
    Veth,
)
from snnet.core.plain import read_noun

VERSION = 1

NOUNS: dict[str, type[Noun]] = {
    noun.__name__: noun
    for noun in (
        Bridge, Tap, Veth, Ifb, Macvtap, Gre, *TUNNELS, Other,
        Address, Neighbour, ProxyNeighbour, Fdb, BridgeFdb, PolicyRule, Namespace, Shaper, Redirect,
        *RULES,
    )
}  # fmt: skip
"""What a snapshot has of a namespace's nouns, by name."""


@dataclass(frozen=True, slots=True)
class Space:
    """A network namespace of the host.

    ``far`` are veths whose other end is in another namespace of the snapshot: its name, and
    the link there.  ``routes`` are those of all tables, as ``ip -json route`` prints them;
    ``policies`` what others changed in how a table is chosen, see ``reading.policies``.
    ``damage`` names rules of snnet that somebody changed.  ``others`` are the chains of others,
    as :func:`snnet.firewall.others.look.gather` returns them, with their ``traffic`` control
    and ``ipsec`` policies.
    """

    nouns: Sequence[Noun]
    routes: Sequence[Mapping[str, Any]] = ()
    policies: Sequence[Mapping[str, Any]] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    far: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    listeners: Sequence[Listener] = ()
    others: Mapping[str, Any] = field(default_factory=dict)
    damage: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "nouns": [noun.to_dict() for noun in self.nouns],
            "routes": list(self.routes),
            "policies": list(self.policies),
            "sysctls": dict(self.sysctls),
            "far": {name: list(end) for name, end in self.far.items()},
            "listeners": [
                [one.protocol, one.port, str(one.address) if one.address else None, one.what]
                for one in self.listeners
            ],
            "others": dict(self.others),
            "damage": list(self.damage),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Space:
        return cls(
            [read_noun(row, NOUNS) for row in data["nouns"]],
            data["routes"],
            data["policies"],
            data["sysctls"],
            {name: (space, link) for name, (space, link) in data["far"].items()},
            [
                Listener(protocol, port, ip_address(address) if address else None, what)
                for protocol, port, address, what in data["listeners"]
            ],
            data["others"],
            data["damage"],
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A host: its namespaces by name.  The one that was asked about is called ""."""

    host: str
    spaces: Mapping[str, Space]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``from_dict`` reads it back."""
        spaces = {name: space.to_dict() for name, space in self.spaces.items()}
        return {"version": VERSION, "host": self.host, "spaces": spaces}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """Read a snapshot back; raises InvalidRequest if this version cannot read it."""
        if data.get("version") != VERSION:
            raise InvalidRequest(
                f"a snapshot of version {data.get('version')!r} cannot be read, only {VERSION}: "
                "use the same snnet on both sides",
                field="version",
            )
        try:
            spaces = {name: Space.from_dict(space) for name, space in data["spaces"].items()}
            if "" not in spaces:
                raise ValueError("its own namespace is missing")
            return cls(str(data["host"]), spaces)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(f"not a snapshot: {error}", field="snapshot") from error
