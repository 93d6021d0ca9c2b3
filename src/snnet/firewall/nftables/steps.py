"""One operation as commands of nft, checked before any transaction is tried."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from snnet.contract import (
    RULES,
    Add,
    Change,
    Denied,
    DhcpGuard,
    Operation,
    Owned,
    Remove,
    SnnetError,
    Unsupported,
    Zone,
    ZoneLink,
    error_for,
)

from . import tables
from .elements import Element, elements, needs
from .tables import INET, Part, Table


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, checked, and what it takes."""

    operation: Operation
    owner: str
    parts: frozenset[Part]
    commands: tuple[str, ...]

    @property
    def removes(self) -> bool:
        return isinstance(self.operation, Remove)

    @property
    def growth(self) -> int:
        """How many nouns more there are after it."""
        return {Add: 1, Remove: -1}.get(type(self.operation), 0)

    @classmethod
    def of(cls, operation: Operation) -> Step:
        """Refuses what no transaction needs to be tried for."""
        noun = operation.noun
        if not isinstance(noun, Owned) or type(noun) not in RULES:
            raise Unsupported(
                f"cannot {operation}: the nftables firewall carries no {type(noun).__name__}",
                operation=operation,
            )
        try:
            Table(INET, noun.owner).check()
        except ValueError as error:
            raise Denied(f"cannot {operation}: {error}", operation=operation) from None
        if isinstance(noun, DhcpGuard) and not tables.is_zone(noun.link):
            raise error_for(errno.EINVAL, str(operation), detail="no chain can be named after it")
        if isinstance(noun, (Zone, ZoneLink)) and not tables.is_zone(noun.zone):
            raise error_for(errno.EINVAL, str(operation), detail="no id of a zone")
        if isinstance(operation, Change):
            wrong = noun.differences(operation.old) - noun.changeable
            if wrong or not isinstance(noun, Zone):
                raise Unsupported(
                    f"cannot {operation}: {', '.join(sorted(wrong)) or 'it'} cannot be changed "
                    "in place",
                    operation=operation,
                )
        added = [] if isinstance(noun, Zone) else list(elements(noun))
        return cls(
            operation,
            noun.owner,
            frozenset(Part(Table(family, noun.owner), name) for family, name in needs(noun)),
            tuple(_commands(operation, added)),
        )


def _commands(operation: Operation, parts: Sequence[Element]) -> list[str]:
    """The operation in nft's words.

    The record alone says whether the noun is there: what an accident left of the
    rest is no obstacle.
    """
    noun = operation.noun
    if isinstance(noun, Zone):
        return _zone_commands(operation, noun)
    assert isinstance(noun, Owned)
    verbs = ("create", "add") if isinstance(operation, Add) else ("delete", "delete")
    record, *others = parts
    if isinstance(noun, DhcpGuard):
        return _client_commands(operation, noun, record)
    return [
        element_command(verbs[0], noun.owner, record),
        *(
            element_command(verbs[1], noun.owner, part)
            for part in others
            if not part.shared or verbs[1] == "add"
        ),
    ]


def _client_commands(operation: Operation, noun: DhcpGuard, record: Element) -> list[str]:
    """The port's chain and what leads to it."""
    table = Table(record.family, noun.owner)
    if isinstance(operation, Remove):
        away = tables.remove_client(table, noun.link)
        return [element_command("delete", noun.owner, record), *away]
    chain = tables.make_client(table, noun.link, noun.mac)
    return [*chain, element_command("create", noun.owner, record)]


def element_command(verb: str, owner: str, element: Element) -> str:
    table = Table(element.family, owner)
    return f"{verb} element {table} {element.set} {{ {element.text(whole=verb != 'delete')} }}"


def _zone_commands(operation: Operation, zone: Zone) -> list[str]:
    table = Table(INET, zone.owner)
    match operation:
        case Remove():
            return tables.remove_zone(table, zone.zone, zone.outbound)
        case Add():
            commands = tables.make_zone(table, zone.zone, zone.outbound)
        case Change():
            commands = [f"flush set {table} {name}{zone.zone}" for name in tables.NETWORK_SETS]
    for suffix, kind in (("", IPv4Network), ("6", IPv6Network)):
        networks = [network for network in zone.networks if isinstance(network, kind)]
        if networks:
            ranges = ", ".join(map(str, collapse_addresses(networks)))  # type: ignore[type-var]
            members = ", ".join(
                f"{network.network_address} . {network.prefixlen}" for network in networks
            )
            commands += [
                f"add element {table} networks{suffix}-{zone.zone} {{ {ranges} }}",
                f"add element {table} members{suffix}-{zone.zone} {{ {members} }}",
            ]
    return commands


def told_of(error: SnnetError, operation: Operation) -> SnnetError:
    number = getattr(error, "errno", None)
    if number is None:
        return type(error)(f"cannot {operation}: {error}")
    detail = str(error).partition(": Error: ")[2]
    return error_for(number, str(operation), detail=detail, operation=operation)
