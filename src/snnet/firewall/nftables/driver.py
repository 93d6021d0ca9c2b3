"""The driver: operations as transactions of nft, nouns read back from records."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from snnet.contract import (
    Add,
    Host,
    IPNetwork,
    Key,
    Missing,
    Noun,
    Operation,
    Owned,
    SnnetError,
    TunnelGuard,
    Unsupported,
    Zone,
    error_for,
    keyed,
)
from snnet.system.netlink import NetlinkError

from ..foreign import obstacles
from ..kernel import KernelFirewall
from ..nft import Nft
from . import tables
from .elements import RECORDS, Element, elements, records_for
from .reader import Reader
from .steps import Step, element_command, told_of
from .tables import ARP, BRIDGE, FORWARD, INET, Part, Table
from .types import IPV4, IPV6, PORT, pack, unpack

_FAMILIES = (INET, BRIDGE, ARP)


class NftablesFirewall(KernelFirewall):
    """Firewall rules by nftables.

    One transaction for all operations that follow each other.  Holds a few sockets,
    no thread; usable from any thread.
    """

    name: ClassVar[str] = "nftables"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._nft = Nft(self.host.netns.fd)
        self._reader = Reader(self.host.netns.fd)
        self._lock = threading.RLock()
        self._made: set[Part] = set()
        """Parts of tables that are known to be there with their static rules."""
        self._damaged: set[Table] = set()
        """Tables that lost some of their rules: to be made anew, whole."""
        self._held: dict[Part, int] = {}
        """How many nouns need a part, where that was counted."""
        self._possible: dict[tuple[str, str], str | None] = {}

    # -- looking ---------------------------------------------------------------------

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the nftables firewall does not carry {type(noun).__name__}"
        reason = self._nft.missing()
        if reason is not None:
            return reason
        try:
            parts = sorted((part.table.family, part.name) for part in Step.of(Add(noun)).parts)
        except Unsupported as error:
            return str(error)
        except SnnetError:  # its values are wrong, which is for apply() to say
            return None
        return next(filter(None, (self._missing_part(*part) for part in parts)), None)

    def _missing_part(self, family: str, name: str) -> str | None:
        """Why this part of a table cannot be here: asked by making one that is gone at once."""
        with self._lock:
            if self._possible.get((family, name), "") == "":
                self._possible[family, name] = self._try_part(family, name)
            return self._possible[family, name]

    def _try_part(self, family: str, name: str) -> str | None:
        probe = Table(family, "probe:snnet")
        try:
            self._nft.run([*tables.base(Part(probe, name)), f"delete table {probe}"])
        except SnnetError as error:
            return (
                f"this kernel lacks what nftables needs for family {family} ({error}): "
                "load nf_tables, nft_nat and their modules, run as root, "
                "or choose firewall 'iptables'"
            )
        return None

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`: what snnet's nodes have set here.

        Where a node's tables have lost some of their rules, nothing of its counts as there.
        """
        wanted = tuple(self.carries if types is None else types)
        with self._lock:
            there = self._tables()
            broken = {table.owner for table in there if self._is_damaged(table)}
            self._damaged = {table for table in there if table.owner in broken}
            self._made = {part for part in self._made if part.table not in self._damaged}
            self._held = {
                part: count for part, count in self._held.items() if part.table not in self._damaged
            }
            found = [
                noun
                for table in there
                if table.owner not in broken
                for noun in self._nouns_in(table)
            ]
        return keyed(noun for noun in found if isinstance(noun, wanted))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        if isinstance(noun, Zone):
            table = Table(INET, noun.owner)
            return self._zone(table, noun.zone) if self._has_zone(table, noun.zone) else None
        if not isinstance(noun, Owned):
            return None
        for record in RECORDS.get(type(noun), ()):
            try:
                packed = pack(record.types, record.key(noun))
                found = self._reader.element(Table(record.family, noun.owner), record.set, packed)
            except (ValueError, KeyError, OverflowError):  # no such rule can be there
                continue
            except NetlinkError as error:
                raise error_for(error.errno or 0, f"look up {' '.join(noun.key)}") from error
            if found is not None:
                key = unpack(record.types, found.key)
                return record.read(noun.owner, key, found.comment.split())
        return None

    def _tables(self) -> list[Table]:
        return [
            Table(family, owner)
            for family in _FAMILIES
            for name in self._reader.tables(family)
            if (owner := tables.owner_of(name)) is not None
        ]

    def _nouns_in(self, table: Table) -> list[Noun]:
        nouns: list[Noun] = list(self._zones(table))
        for cls in RECORDS:
            nouns += self._recorded(table, cls)
        return nouns

    def _recorded(self, table: Table, cls: type[Noun]) -> list[Noun]:
        """The nouns of one class that have their record in the table."""
        return [
            record.read(table.owner, unpack(record.types, found.key), found.comment.split())
            for record in RECORDS[cls]
            if record.family == table.family
            for found in self._reader.elements(table, record.set)
        ]

    def _guards(self, table: Table) -> list[TunnelGuard]:
        guards = self._recorded(table, TunnelGuard)
        return [noun for noun in guards if isinstance(noun, TunnelGuard)]

    def _is_damaged(self, table: Table) -> bool:
        """Whether rules are gone that the table came with, or chains that its nouns need."""
        chains = set(self._reader.chains(table))
        parts = [part for part in tables.parts_of(table) if chains & {*tables.chains_of(part)}]
        zones = sum(chain.startswith(tables.ZONE_CHAIN) for chain in chains)
        wanted = sum(map(tables.rules_in, parts)) + tables.RULES_PER_ZONE * zones
        wanted += len(_gre_keys(self._guards(table)))
        clients = sum(chain.startswith(tables.DHCP_CHAIN) for chain in chains)
        wanted += tables.RULES_PER_CLIENT * clients
        if self._reader.rules(table) != wanted:
            return True
        return any(part not in parts and self._listed(part) for part in tables.parts_of(table))

    def _zones(self, table: Table) -> list[Zone]:
        prefix = tables.ZONE_CHAIN
        return [
            self._zone(table, chain.removeprefix(prefix))
            for chain in self._reader.chains(table)
            if chain.startswith(prefix)
        ]

    def _has_zone(self, table: Table, zone: str) -> bool:
        return self._reader.has_chain(table, f"{tables.ZONE_CHAIN}{zone}")

    def _zone(self, table: Table, zone: str) -> Zone:
        networks: list[IPNetwork] = [
            IPv4Network(unpack((IPV4, PORT), member.key))
            for member in self._reader.elements(table, f"members-{zone}")
        ]
        networks += [
            IPv6Network(unpack((IPV6, PORT), member.key))
            for member in self._reader.elements(table, f"members6-{zone}")
        ]
        outbound = self._reader.has_chain(table, f"{tables.OUTBOUND_CHAIN}{zone}")
        return Zone(owner=table.owner, zone=zone, networks=tuple(networks), outbound=outbound)

    # -- doing -----------------------------------------------------------------------

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`."""
        step = Step.of(operation)
        with self._lock:
            try:
                self._commit([step])
            except SnnetError as error:
                if not self._removed_the_rest(step, error):
                    raise told_of(error, operation) from error

    def batch(self, operation: Operation) -> str:
        """All operations that follow each other are one transaction."""
        return "transaction"

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """See :meth:`snnet.contract.Driver.perform_all`."""
        steps = [Step.of(operation) for operation in operations]
        with self._lock:
            self._commit(steps)

    def _commit(self, steps: Sequence[Step]) -> None:
        needed = {part for step in steps if not step.removes for part in step.parts}
        changes = [line for step in steps for line in step.commands]
        changes += self._shared(steps)
        try:
            self._nft.run([*self._bases(needed - self._made), *changes])
        except Missing:
            # Somebody flushed our tables, or what is to be removed is gone.
            if not needed & self._made:
                raise
            self._nft.run([*self._bases(needed), *changes])
        self._made |= needed
        self._damaged -= {part.table for part in needed}
        self._count(steps)

    def _shared(self, steps: Sequence[Step]) -> list[str]:
        """The commands for what guards of tunnels share: ports, peers and keys of gre.

        Each goes with the last guard that needs it.
        """
        commands: list[str] = []
        changes = [step for step in steps if isinstance(step.operation.noun, TunnelGuard)]
        if not any(step.removes or _is_gre(step.operation.noun) for step in changes):
            return commands
        for owner in {step.owner for step in changes}:
            table = Table(INET, owner)
            before: dict[Key, TunnelGuard] = {noun.key: noun for noun in self._guards(table)}
            after = dict(before)
            for step in changes:
                noun = step.operation.noun
                if step.owner == owner and isinstance(noun, TunnelGuard):
                    after.pop(noun.key, None)
                    if not step.removes:
                        after[noun.key] = noun
            gone = _shared_by(before.values()) - _shared_by(after.values())
            commands += [element_command("delete", owner, part) for part in sorted(gone, key=str)]
            keys = _gre_keys(after.values())
            if keys != _gre_keys(before.values()):
                commands += tables.gre_rules(table, sorted(keys))
        return commands

    def _bases(self, needed: set[Part]) -> list[str]:
        commands = []
        for table in sorted({part.table for part in needed} & self._damaged):
            commands += [f"add table {table}", f"delete table {table}"]
        for part in sorted(needed):
            commands += tables.base(part)
        return commands

    def _removed_the_rest(self, step: Step, error: SnnetError) -> bool:
        """Remove what is left of a noun whose record is there and that has lost a part."""
        noun = step.operation.noun
        if not (step.removes and isinstance(error, Missing)) or isinstance(noun, Zone):
            return False
        parts = list(elements(noun))
        there = [
            part
            for part in parts
            if not part.shared
            and self._reader.element(Table(part.family, step.owner), part.set, part.packed())
        ]
        if parts[0] not in there:
            return False
        self._nft.run(element_command("delete", step.owner, part) for part in there)
        self._count([step])
        return True

    def _count(self, steps: Iterable[Step]) -> None:
        """Keep the count of nouns by part, and remove the parts that the last ones have left.

        To count elements is to list them, so that it is done once a part, and once
        more before the part goes.
        """
        counted = self._held.keys()
        new = {part for step in steps if step.removes for part in step.parts} - counted
        for step in steps:
            for part in step.parts & counted:
                self._held[part] += step.growth
        self._held.update((part, self._listed(part)) for part in new)
        gone: dict[Table, list[Part]] = {}
        for part in sorted(part for part, count in self._held.items() if count <= 0):
            del self._held[part]
            if not self._listed(part):
                self._made.discard(part)
                gone.setdefault(part.table, []).append(part)
        for table, parts in gone.items():
            self._remove_parts(table, parts)

    def _remove_parts(self, table: Table, parts: Sequence[Part]) -> None:
        """Remove chains that no noun needs; with the last ones the table."""
        there = set(self._reader.chains(table))
        mine = {chain for part in parts for chain in tables.chains_of(part)}
        if there <= mine:
            self._nft.run([f"delete table {table}"])
        elif mine <= there:
            self._nft.run(line for part in parts for line in tables.remove_part(part))

    def _listed(self, part: Part) -> int:
        """How many nouns need the part."""
        table = part.table
        names = records_for(table.family, part.name)
        count = sum(len(self._reader.elements(table, name)) for name in names)
        return count + (len(self._zones(table)) if part.name == FORWARD else 0)

    # -- the rest --------------------------------------------------------------------

    def commands(self, operation: Operation) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.commands`."""
        step = Step.of(operation)
        setup = [] if step.removes else self._bases(set(step.parts - self._made))
        return [f"nft {shlex.quote(line)}" for line in [*setup, *step.commands]]

    def obstacles(self) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.obstacles`."""
        damaged = [
            f"table {table} has lost rules that snnet made: call repair()"
            for table in sorted(self._damaged)
        ]
        ours = [noun for noun in self.snapshot().values() if _is_of(noun, self.host.owner)]
        if not ours:
            return damaged
        foreign = [
            item
            for item in self._nft.ruleset()
            if not next(iter(item.values())).get("table", "").startswith(tables.PREFIX)
        ]
        return [*damaged, *obstacles(self.host.netns.fd, foreign, ours)]

    def dump(self) -> str:
        """The node's tables as nft prints them."""
        return self.dump_of(self.host.owner)

    def dump_of(self, owner: str) -> str:
        """The tables of one owner as nft prints them."""
        with self._lock:
            own = [table for table in self._tables() if table.owner == owner]
            return "\n".join(self._nft.run([f"list table {table}"]).rstrip() for table in own)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._nft.close()
        self._reader.close()
        super().close()


def _is_of(noun: Noun, owner: str) -> bool:
    return isinstance(noun, Owned) and noun.owner == owner


def _is_gre(noun: Noun) -> bool:
    return isinstance(noun, TunnelGuard) and noun.protocol == "gre"


def _gre_keys(guards: Iterable[TunnelGuard]) -> set[int]:
    return {guard.tunnel_key for guard in guards if guard.protocol == "gre"}


def _shared_by(guards: Iterable[TunnelGuard]) -> set[Element]:
    return {part for guard in guards for part in elements(guard) if part.shared}
