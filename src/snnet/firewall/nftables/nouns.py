"""Reading nouns back from the tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network

from snnet.contract import (
    GroupMembers,
    GroupRules,
    InvalidRequest,
    Noun,
    Owned,
    TunnelGuard,
    Untracked,
    Zone,
)

from . import chains, groups, tables
from .families import FAMILIES
from .needs import records_for
from .reader import Reader, StoredElement
from .records import CONTINUES, RECORDS, RecordType
from .tables import ARP, BRIDGE, CONFINED, FORWARD, GROUPS, INET, Part, Table
from .types import PORT, Values, pack, unpack

_FAMILIES = (INET, BRIDGE, ARP)
_GROUPED = (BRIDGE, INET)
"""Of which tables have security groups."""


class StoredNouns:
    """The nouns in snnet's tables of one network namespace, as the kernel has them now."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def tables(self) -> list[Table]:
        """Return the tables of all snnet nodes."""
        return [
            Table(family, owner)
            for family in _FAMILIES
            for name in self._reader.tables(family)
            if (owner := tables.owner_of(name)) is not None
        ]

    def find(self, noun: Owned) -> Noun | None:
        """Return the noun as it is stored, or None."""
        if isinstance(noun, Zone):
            table = Table(INET, noun.owner)
            return self._zone(table, noun.zone) if self._has_zone(table, noun.zone) else None
        if isinstance(noun, (GroupMembers, GroupRules)):
            for family in _GROUPED:
                table = Table(family, noun.owner)
                if self._reader.has_chain(table, groups.chain_of(noun)):
                    return self._group(table, type(noun), noun.tenant, noun.group)
            return None
        for record in RECORDS.get(type(noun), ()):
            table = Table(record.family, noun.owner)
            try:
                key = record.key(noun)
                found = self._reader.element(table, record.set, pack(record.types, key))
                if found is not None:
                    return record.read(noun.owner, key, self._words(table, record, key, found))
            except (ValueError, IndexError, KeyError, OverflowError):  # no such record can exist
                continue
        return None

    def _words(
        self, table: Table, record: RecordType, key: Values, found: StoredElement
    ) -> list[str]:
        """Return the words of a record's comment, with those in further elements."""
        words, number = found.comment.split(), 0
        while record.long and words[-1:] == [CONTINUES]:
            number += 1
            packed = pack((*record.types, PORT), (*key, number))
            more = self._reader.element(table, record.more, packed)
            words[-1:] = more.comment.split() if more else []
        return words

    def within(self, table: Table) -> list[Noun]:
        """Return the nouns that have their record in the table."""
        nouns: list[Noun] = [*self._zones(table), *self._groups(table)]
        for cls in RECORDS:
            nouns += self._recorded(table, cls)
        return nouns

    def of_owner(self, owner: str) -> list[Noun]:
        """Return the nouns of the owner.  Their elements may be in other tables than records."""
        own = (table for table in self.tables() if table.owner == owner)
        return [noun for table in own for noun in self.within(table)]

    def guards(self, table: Table) -> list[TunnelGuard]:
        """Return the guards of tunnels in the table."""
        found = self._recorded(table, TunnelGuard)
        return [noun for noun in found if isinstance(noun, TunnelGuard)]

    def _recorded(self, table: Table, cls: type[Noun]) -> Iterator[Noun]:
        """Yield the nouns of one class."""
        for record in RECORDS[cls]:
            if record.family == table.family:
                yield from self._of_type(table, record)

    def _of_type(self, table: Table, record: RecordType) -> Iterator[Noun]:
        """Yield the nouns of one type of record."""
        more: dict[Values, list[str]] = {}
        if record.long:
            types = (*record.types, PORT)
            for found in self._reader.elements(table, record.more):
                more[unpack(types, found.key)] = found.comment.split()
        for found in self._reader.elements(table, record.set):
            key, words, number = unpack(record.types, found.key), found.comment.split(), 0
            while record.long and words[-1:] == [CONTINUES]:
                number += 1
                words[-1:] = more.get((*key, number), [])
            try:
                yield record.read(table.owner, key, words)
            except (ValueError, IndexError, KeyError):
                continue  # somebody may have added elements: see ``Integrity``

    def has(self, part: Part) -> bool:
        """Whether the table has the chains of the part, which come and go together."""
        return self._reader.has_chain(part.table, tables.chains_of(part)[0])

    def count(self, part: Part) -> int:
        """Return the number of nouns that need the part."""
        table = part.table
        names = records_for(table.family, part.name)
        if part.name == CONFINED:  # it has no elements of its own
            table, (record,) = Table(BRIDGE, table.owner), RECORDS[Untracked]
            names = {record.set}
        count = sum(len(self._reader.elements(table, name)) for name in names)
        if part.name == GROUPS:
            count += len(list(groups.groups_among(self._reader.chains(table))))
        return count + (len(self._zones(table)) if part.name == FORWARD else 0)

    def _groups(self, table: Table) -> list[Noun]:
        found = groups.groups_among(self._reader.chains(table)) if table.family in _GROUPED else ()
        nouns = (self._group(table, *what) for what in found)
        return [noun for noun in nouns if noun is not None]

    def _group(self, table: Table, cls: type[Noun], tenant: str, group: str) -> Noun | None:
        """Return the members or the rules of a group; None for rules that are damaged."""
        bridged = table.family == BRIDGE
        if cls is GroupMembers:
            members = GroupMembers(owner=table.owner, tenant=tenant, group=group, bridged=bridged)
            addresses = [
                unpack((family.address,), found.key)[0]
                for family in FAMILIES
                for found in self._reader.elements(table, groups.members_set(family, members))
            ]
            return replace(members, addresses=tuple(addresses))
        rules = GroupRules(owner=table.owner, tenant=tenant, group=group, bridged=bridged)
        stored = self._reader.elements(table, groups.rules_set(rules))
        ordered = sorted(stored, key=lambda found: found.key)
        with contextlib.suppress(InvalidRequest, ValueError, IndexError):
            return replace(rules, rules=groups.read(found.comment for found in ordered))
        return None

    def _zones(self, table: Table) -> list[Zone]:
        prefix = chains.ZONE_CHAIN
        return [
            self._zone(table, chain.removeprefix(prefix))
            for chain in self._reader.chains(table)
            if chain.startswith(prefix)
        ]

    def _has_zone(self, table: Table, zone: str) -> bool:
        return self._reader.has_chain(table, f"{chains.ZONE_CHAIN}{zone}")

    def _zone(self, table: Table, zone: str) -> Zone:
        networks = [
            ip_network(unpack((family.address, PORT), member.key))
            for family in FAMILIES
            for member in self._reader.elements(table, f"members{family.s}-{zone}")
        ]
        outbound = self._reader.has_chain(table, f"{chains.OUTBOUND_CHAIN}{zone}")
        return Zone(owner=table.owner, zone=zone, networks=tuple(networks), outbound=outbound)


def gre_keys(guards: Iterable[TunnelGuard]) -> set[int]:
    """Return the keys of the gre tunnels among the guarded ones."""
    return {guard.tunnel_key for guard in guards if guard.protocol == "gre"}
