"""One operation as commands of nft, checked before a transaction is tried."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import collapse_addresses
from typing import NamedTuple

from snnet.contract import (
    RULES,
    Add,
    ApiError,
    Change,
    Denied,
    GroupMembers,
    GroupRules,
    Noun,
    Operation,
    Owned,
    PortForward,
    PortGroups,
    PublicIp,
    Remove,
    SnnetError,
    Unsupported,
    Zone,
    ZoneLink,
    error_for,
)

from . import chains, groups, tables
from .elements import Element, elements
from .families import FAMILIES, family_of
from .needs import Need, needs
from .tables import INET, Part, Table

UNRECORDED = (Zone, GroupMembers, GroupRules)
"""Nouns that have no element as their record: their chains say whether they are there."""

_CHAINED = (PortForward, PortGroups)
"""Nouns that may have chains of their own."""

_CHECKED = (PortForward, PublicIp, GroupMembers, GroupRules, PortGroups)
"""Rules that say themselves what no driver can carry."""


class ElementChange(NamedTuple):
    """One element to change: "create", which fails if it is there, "add" or "delete"."""

    verb: str
    table: Table
    element: Element

    def __str__(self) -> str:
        """The change as a command of nft."""
        element = self.element
        text = element.text(whole=self.verb != "delete")
        return f"{self.verb} element {self.table} {element.set} {{ {text} }}"


Command = str | ElementChange
"""A command of nft: a text, or an element to change."""


@dataclass(slots=True)
class PreparedOperation:
    """One checked operation, and the commands for it.  Nobody changes it."""

    operation: Operation
    owner: str
    parts: frozenset[Part]
    commands: tuple[Command, ...]
    growth: int
    """How many more nouns there are after it."""

    @property
    def removes(self) -> bool:
        """Whether it removes its noun."""
        return self.growth < 0

    @classmethod
    def of(cls, operation: Operation) -> PreparedOperation:
        """Check the operation; raise its error without trying a transaction."""
        noun = operation.noun
        if not isinstance(noun, Owned) or type(noun) not in RULES:
            raise Unsupported(
                f"cannot {operation}: the nftables firewall does not carry {type(noun).__name__}",
                operation=operation,
            )
        try:
            _table(INET, noun.owner)
        except ValueError as error:
            raise Denied(f"cannot {operation}: {error}", operation=operation) from None
        if isinstance(noun, _CHECKED) and (fault := noun.fault()):
            raise error_for(errno.EINVAL, str(operation), detail=fault)
        if isinstance(noun, PortGroups) and not tables.is_zone(noun.link):
            raise error_for(errno.EINVAL, str(operation), detail="no chain can have that name")
        if isinstance(noun, (Zone, ZoneLink)) and not tables.is_zone(noun.zone):
            raise error_for(errno.EINVAL, str(operation), detail="not a zone id")
        if isinstance(operation, Change):
            wrong = noun.differences(operation.old) - noun.changeable
            if wrong or not noun.changeable:
                raise Unsupported(
                    f"cannot {operation}: {', '.join(sorted(wrong)) or 'it'} cannot be changed "
                    "in place",
                    operation=operation,
                )
        added = [] if isinstance(noun, Zone) else list(elements(noun))
        return cls(
            operation,
            noun.owner,
            _parts(needs(noun), noun.owner),
            tuple(_commands(operation, added)),
            _GROWTH[type(operation)],
        )


_GROWTH: dict[type[Operation], int] = {Add: 1, Change: 0, Remove: -1}


@lru_cache(maxsize=256)
def _table(family: str, owner: str) -> Table:
    """Return a table of the owner; raise ``ValueError`` if that is not role and id."""
    table = Table(family, owner)
    table.check()
    return table


@lru_cache(maxsize=256)
def _parts(needed: frozenset[Need], owner: str) -> frozenset[Part]:
    return frozenset(Part(Table(family, owner), name) for family, name in needed)


def _commands(operation: Operation, parts: Sequence[Element]) -> Sequence[Command]:
    """Return the operation as commands of nft.

    Only the record decides whether a noun is there.  Other parts that an accident left
    behind are no obstacle.
    """
    noun = operation.noun
    if isinstance(noun, Zone):
        return _zone_commands(operation, noun)
    if isinstance(noun, (GroupMembers, GroupRules)):
        return _group_commands(operation, noun)
    assert isinstance(noun, Owned)
    if isinstance(operation, Change):
        rules = groups.fill(groups.table_of(noun), noun) if isinstance(noun, PortGroups) else []
        return [*rules, *_replacing(operation.old, noun)]
    first, then = ("create", "add") if isinstance(operation, Add) else ("delete", "delete")
    changes = [
        ElementChange(then if number else first, _table(part.family, noun.owner), part)
        for number, part in enumerate(parts)
        if then == "add" or not part.shared
    ]
    if isinstance(noun, _CHAINED):
        before, after = chain_commands(operation)
        return [*before, *changes, *after]
    return changes


def _replacing(old: Noun | None, noun: Owned) -> list[ElementChange]:
    """Return the commands that replace the elements in which two versions of a noun differ.

    Without an old one all of them are new.
    """
    before = dict.fromkeys(elements(old)) if old is not None else {}
    after = dict.fromkeys(elements(noun))
    return [
        *(element_change("delete", noun.owner, part) for part in before if part not in after),
        *(element_change("add", noun.owner, part) for part in after if part not in before),
    ]


def chain_commands(operation: Operation) -> tuple[list[str], list[str]]:
    """Return the commands that make the chain of a noun, and those that remove it."""
    noun = operation.noun
    removes = isinstance(operation, Remove)
    match noun:
        case PortForward(owner=owner, sources=[_, *_]):
            table = Table(INET, owner)
            if removes:
                return [], chains.remove_source_chain(table, noun)
            return chains.make_source_chain(table, noun), []
        case PortGroups():
            table = groups.table_of(noun)
            return ([], groups.remove(table, noun)) if removes else (groups.make(table, noun), [])
    return [], []


def element_change(verb: str, owner: str, element: Element) -> ElementChange:
    return ElementChange(verb, Table(element.family, owner), element)


def _group_commands(operation: Operation, noun: GroupMembers | GroupRules) -> Sequence[Command]:
    table = groups.table_of(noun)
    match operation:
        case Remove():
            return groups.remove(table, noun)
        case Add():
            return [*groups.make(table, noun), *_replacing(None, noun)]
        case Change():
            # Members are elements alone, so that nft need not look at chains.
            commands = groups.fill(table, noun) if isinstance(noun, GroupRules) else []
            return [*commands, *_replacing(operation.old, noun)]


def _zone_commands(operation: Operation, zone: Zone) -> list[str]:
    table = Table(INET, zone.owner)
    match operation:
        case Remove():
            return chains.remove_zone(table, zone.zone, zone.outbound)
        case Add():
            commands = chains.make_zone(table, zone.zone, zone.outbound)
        case Change():
            commands = [f"flush set {table} {name}{zone.zone}" for name in chains.NETWORK_SETS]
    for family in FAMILIES:
        networks = [network for network in zone.networks if family_of(network) is family]
        if networks:
            ranges = ", ".join(map(str, collapse_addresses(networks)))  # type: ignore[type-var]
            members = ", ".join(
                f"{network.network_address} . {network.prefixlen}" for network in networks
            )
            commands += [
                f"add element {table} networks{family.s}-{zone.zone} {{ {ranges} }}",
                f"add element {table} members{family.s}-{zone.zone} {{ {members} }}",
            ]
    return commands


def with_operation(error: SnnetError, operation: Operation) -> SnnetError:
    """Return the error as one of the operation, for the same reason."""
    if not isinstance(error, ApiError) or error.errno is None:
        return type(error)(f"cannot {operation}: {error}")
    # nft says first where in the script it is.
    detail = error.detail.rpartition(": Error: ")[2]
    return error_for(error.errno, str(operation), detail=detail, operation=operation)
