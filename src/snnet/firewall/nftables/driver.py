"""The driver: operations as transactions of nft; nouns are read back from records."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from snnet.contract import (
    Add,
    Busy,
    Exhausted,
    Host,
    IPNetwork,
    Key,
    Missing,
    Noun,
    Operation,
    Owned,
    SnnetError,
    Timeout,
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
from .damage import Damage
from .elements import (
    CONTINUES,
    IPV4,
    IPV6,
    PORT,
    RECORDS,
    RecordType,
    Values,
    elements,
    pack,
    unpack,
)
from .reader import Reader, StoredElement
from .steps import PreparedOperation, chain_commands, element_command, with_operation
from .tables import ARP, BRIDGE, INET, Table

_FAMILIES = (INET, BRIDGE, ARP)


class NftablesFirewall(KernelFirewall):
    """Firewall rules with nftables.

    Consecutive operations are one transaction.  It keeps a few sockets and no thread, and
    can be used from any thread.
    """

    name: ClassVar[str] = "nftables"
    batching: ClassVar[bool] = True

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._nft = Nft(self.host.netns.fd)
        self._reader = Reader(self.host.netns.fd)
        self._lock = threading.RLock()
        self._made: set[Table] = set()
        """Tables that have all their sets and static rules."""
        self._damage = Damage()
        self._held: dict[Table, int] = {}
        """The number of nouns with an element in the table, where it was counted."""
        self._possible: dict[str, str | None] = {}

    # -- looking ---------------------------------------------------------------------

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the nftables firewall does not carry {type(noun).__name__}"
        reason = self._nft.missing()
        if reason is not None:
            return reason
        try:
            families = sorted(table.family for table in PreparedOperation.of(Add(noun)).tables)
        except Unsupported as error:
            return str(error)
        except SnnetError:  # bad values: apply() reports them
            return None
        return next(filter(None, map(self._missing_family, families)), None)

    def _missing_family(self, family: str) -> str | None:
        """Return why a family cannot be used, found by making a table and removing it."""
        with self._lock:
            if self._possible.get(family, "") == "":
                self._possible[family] = self._try_family(family)
            return self._possible[family]

    def _try_family(self, family: str) -> str | None:
        probe = Table(family, "probe:snnet")
        try:
            self._change([*tables.base(probe), f"delete table {probe}"])
        except (Exhausted, Busy, Timeout):
            raise  # it says nothing about the kernel: the next call may succeed
        except SnnetError as error:
            return (
                f"this kernel lacks what nftables needs for family {family} ({error}): "
                "load nf_tables, nft_nat and their modules, run as root, "
                "or choose firewall 'iptables'"
            )
        return None

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`: the nouns of all snnet nodes here.

        If a node's tables have lost static rules, all its nouns count as missing.
        """
        wanted = tuple(self.carries if types is None else types)
        with self._lock:
            epoch = self.epoch()
            there = self._tables()
            broken = {table.owner for table in there if self._is_damaged(table)}
            self._damage.saw(there, epoch, broken)
            self._forget_damaged()
            found = [
                noun
                for table in there
                if table.owner not in broken
                for noun in self._nouns_in(table)
            ]
        return keyed(noun for noun in found if isinstance(noun, wanted))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`; None if its table has lost static rules."""
        if isinstance(noun, Owned) and type(noun) in self.carries and self._lost_rules(noun):
            return None
        if isinstance(noun, Zone):
            table = Table(INET, noun.owner)
            return self._zone(table, noun.zone) if self._has_zone(table, noun.zone) else None
        if not isinstance(noun, Owned):
            return None
        for record in RECORDS.get(type(noun), ()):
            table = Table(record.family, noun.owner)
            try:
                key = record.key(noun)
                found = self._reader.element(table, record.set, pack(record.types, key))
                if found is not None:
                    return record.read(noun.owner, key, self._words(table, record, key, found))
            except (ValueError, KeyError, OverflowError):  # such a rule cannot exist
                return None
            except NetlinkError as error:
                raise error_for(error.errno or 0, f"look up {' '.join(noun.key)}") from error
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

    def epoch(self) -> int:
        """See :meth:`snnet.contract.Driver.epoch`: one request to the kernel."""
        return self._epochs.observe()

    def _change(self, commands: Iterable[str]) -> None:
        """Run a transaction of this driver's own: it does not begin an epoch."""
        self._nft.run(commands)
        self._epochs.observe(own=1)

    def _lost_rules(self, noun: Owned) -> bool:
        """Whether a table of the noun has lost static rules."""
        with self._lock:
            lost = self._damage.reaches(noun, self.epoch(), self._is_there_damaged)
            self._forget_damaged()
            return lost

    def _is_there_damaged(self, table: Table) -> bool:
        return table.name in self._reader.tables(table.family) and self._is_damaged(table)

    def _forget_damaged(self) -> None:
        self._made -= self._damage.tables
        for table in self._damage.tables:
            self._held.pop(table, None)

    def _tables(self) -> list[Table]:
        return [
            Table(family, owner)
            for family in _FAMILIES
            for name in self._reader.tables(family)
            if (owner := tables.owner_of(name)) is not None
        ]

    def _nouns_in(self, table: Table) -> list[Noun]:
        nouns: list[Noun] = list(self._zones(table))
        for records in RECORDS.values():
            for record in records:
                if record.family == table.family:
                    nouns += self._recorded(table, record)
        return nouns

    def _recorded(self, table: Table, record: RecordType) -> Iterator[Noun]:
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
            yield record.read(table.owner, key, words)

    def _is_damaged(self, table: Table) -> bool:
        """Whether static rules of the table are missing."""
        chains = self._reader.chains(table)
        zones = sum(chain.startswith(tables.ZONE_CHAIN) for chain in chains)
        sources = sum(chain.startswith(tables.SOURCE_CHAIN) for chain in chains)
        wanted = tables.rules_in(table.family) + tables.RULES_PER_ZONE * zones + sources
        return self._reader.rules(table) != wanted

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
        step = PreparedOperation.of(operation)
        with self._lock:
            try:
                self._commit([step])
            except SnnetError as error:
                if not self._removed_the_rest(step, error):
                    raise with_operation(error, operation) from error

    def batch(self, operation: Operation) -> str:
        """All consecutive operations are one transaction."""
        return "transaction"

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """See :meth:`snnet.contract.Driver.perform_all`."""
        steps = [PreparedOperation.of(operation) for operation in operations]
        with self._lock:
            self._commit(steps)

    def _commit(self, steps: Sequence[PreparedOperation]) -> None:
        kept = self._kept(steps)
        needed = {table for step in (*kept, *steps) if not step.removes for table in step.tables}
        changes = [line for step in (*kept, *steps) for line in step.commands]
        try:
            self._change([*self._bases(needed - self._made), *changes])
        except Missing:
            # Our tables were flushed, or what is to be removed is gone.
            if not needed & self._made:
                raise
            self._change([*self._bases(needed), *changes])
        self._made |= needed
        self._damage.tables -= needed
        self._count(steps)

    def _kept(self, steps: Sequence[PreparedOperation]) -> list[PreparedOperation]:
        """Other nouns of damaged tables: they are added again, as the tables are recreated."""
        adding = {step.owner for step in steps if not step.removes}
        owners = adding & {table.owner for table in self._damage.tables}
        if not owners:
            return []
        there = [table for table in self._tables() if table.owner in owners]
        self._damage.tables |= set(there)
        self._forget_damaged()
        found = keyed(noun for table in there for noun in self._nouns_in(table))
        for step in steps:
            found.pop(step.operation.noun.key, None)
        nouns = sorted(found.values(), key=lambda noun: noun.rank)
        return [PreparedOperation.of(Add(noun)) for noun in nouns]

    def _bases(self, needed: set[Table]) -> list[str]:
        commands = []
        for table in sorted(needed):
            if table in self._damage.tables:
                commands += [f"add table {table}", f"delete table {table}"]
            commands += tables.base(table)
        return commands

    def _removed_the_rest(self, step: PreparedOperation, error: SnnetError) -> bool:
        """Remove the rest of a noun that has its record and lacks another part."""
        noun = step.operation.noun
        if not (step.removes and isinstance(error, Missing)) or isinstance(noun, Zone):
            return False
        parts = list(elements(noun))
        there = [
            part
            for part in parts
            if self._reader.element(Table(part.family, step.owner), part.set, part.packed())
        ]
        if parts[0] not in there:
            return False
        _, after = chain_commands(step.operation)
        deleted = [element_command("delete", step.owner, part) for part in there]
        self._change([*deleted, *after])
        self._count([step])
        return True

    def _count(self, steps: Iterable[PreparedOperation]) -> None:
        """Count the nouns of each table, and remove tables that have none left.

        Counting means listing the elements.  It is done once for each table, and once more
        before the table is removed.
        """
        for step in steps:
            for table in step.tables:
                if table in self._held:
                    self._held[table] += -1 if step.removes else 1
                elif step.removes:
                    self._held[table] = self._listed(table)
        for table in [table for table, count in self._held.items() if count <= 0]:
            del self._held[table]
            if not self._listed(table):
                self._change([f"delete table {table}"])
                self._made.discard(table)

    def _listed(self, table: Table) -> int:
        """Return the number of nouns with an element in the table."""
        names = {
            record.set
            for records in RECORDS.values()
            for record in records
            if record.family == table.family
        }
        names |= {"isolated"} if table.family == ARP else set()
        count = sum(len(self._reader.elements(table, name)) for name in names)
        return count + len(self._zones(table))

    # -- the rest --------------------------------------------------------------------

    def commands(self, operation: Operation) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.commands`."""
        step = PreparedOperation.of(operation)
        setup = [] if step.removes else self._bases(set(step.tables - self._made))
        return [f"nft {shlex.quote(line)}" for line in [*setup, *step.commands]]

    def obstacles(self) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.obstacles`."""
        damaged = [
            f"table {table} has lost rules that snnet made: call repair()"
            for table in sorted(self._damage.tables)
        ]
        nouns, owner = self.snapshot().values(), self.host.owner
        ours = [noun for noun in nouns if isinstance(noun, Owned) and noun.owner == owner]
        if not ours:
            return damaged
        foreign = [
            item
            for item in self._nft.ruleset()
            if not next(iter(item.values())).get("table", "").startswith(tables.PREFIX)
        ]
        return [*damaged, *obstacles(self.host.netns.fd, foreign, ours)]

    def dump(self) -> str:
        """Return the node's tables as nft prints them."""
        with self._lock:
            own = [table for table in self._tables() if table.owner == self.host.owner]
            return "\n".join(self._nft.run([f"list table {table}"]).rstrip() for table in own)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._nft.close()
        self._reader.close()
        super().close()
