"""The driver: operations as transactions of nft; nouns are read back from records."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from snnet.contract import (
    Add,
    Dropped,
    Host,
    HostIsolation,
    Key,
    Missing,
    Noun,
    Operation,
    Owned,
    SnnetError,
    keyed,
)

from ..epochs import Epochs
from ..foreign import obstacles
from ..kernel import KernelFirewall
from ..nft import Nft
from . import tables
from .clearing import emptied
from .dropped import dropped_of
from .elements import elements
from .integrity import Integrity
from .needs import needs
from .nouns import StoredNouns
from .reader import FAMILIES, Reader
from .reference import Reference
from .steps import (
    UNRECORDED,
    Command,
    PreparedOperation,
    chain_commands,
    element_change,
    with_operation,
)
from .support import Support
from .tables import ARP, Part, Table
from .tunnels import shared
from .usage import Usage
from .writer import Outdated, Writer, by_netlink, check_members


class NftablesFirewall(KernelFirewall):
    """Firewall rules with nftables.

    Consecutive operations are one transaction.  It keeps a few sockets and no thread, and
    can be used from any thread.
    """

    name: ClassVar[str] = "nftables"
    batching: ClassVar[bool] = True

    def __init__(self, host: Host, *, epochs: Epochs | None = None) -> None:
        super().__init__(host)
        self._nft = Nft(self.host.netns.fd)
        self._reader = Reader(self.host.netns.fd)
        self._writer = Writer(self.host.netns.fd)
        self._stored = StoredNouns(self._reader)
        self._integrity = Integrity(self._reader, Reference())
        self._epochs = epochs or Epochs(self.host.netns.fd)
        self._lock = threading.RLock()
        self.transactions = 0
        """The number of transactions that this driver has made."""
        self._made: set[Part] = set()
        """Parts of tables that have all their sets, chains and static rules."""
        self._damaged: dict[Table, str] = {}
        """Tables that are not as they should be, and why: they must be recreated."""
        self._last: tuple[int, int, list[Noun]] | None = None
        """The last look at all tables: the epoch before it, the transactions by then, all nouns."""
        self._others: tuple[int, Sequence[dict[str, Any]]] | None = None
        """What others have in the ruleset, and the epoch before it was read."""
        self._inspected: dict[str, int] = {}
        """The epoch in which the rules of an owner were last compared."""
        self._usage = Usage(self._stored, self._reader)
        self._support = Support(self._change)
        self._owners: set[str] = set()
        """The owners that have tables, and perhaps others, as of ``_owners_epoch``."""
        self._owners_epoch = -1

    # -- looking ---------------------------------------------------------------------

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the nftables firewall does not carry {type(noun).__name__}"
        needed = needs(noun)
        if needed <= self._support.possible:
            return None
        return self._nft.missing() or self._support.missing(needed)

    def uninstalled(self) -> str | None:
        """See :meth:`snnet.contract.Driver.uninstalled`."""
        return self._nft.missing()

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`: the nouns of all snnet nodes here.

        If somebody changed something in a node's tables, all its nouns count as missing.
        """
        wanted = (Noun,) if types is None else tuple(types)
        return keyed(noun for noun in self._seen() if isinstance(noun, wanted))

    def _seen(self) -> list[Noun]:
        """All nouns that a snapshot has, by one look at all tables after each change of them."""
        with self._lock:
            epoch = self.epoch()
            if self._last is None or self._last[:2] != (epoch, self.transactions):
                self._last = (epoch, self.transactions, self._look(epoch))
            self._translations.learn(None if self._damaged else epoch, self._last[2])
            return self._last[2]

    def _look(self, epoch: int) -> list[Noun]:
        """Return the nouns of all owners whose tables are not damaged; note which are."""
        there = self._stored.tables()
        owners = dict.fromkeys(table.owner for table in there)
        seen = {owner: self._integrity.look(owner) for owner in owners}
        self._damaged = {
            table: damage.get(table, "")
            for owner, (_, damage) in seen.items()
            for table in (Table(family, owner) for family in FAMILIES)
            if damage
        }
        self._inspected = dict.fromkeys(owners, epoch)
        self._forget_damaged(there)
        return [noun for nouns, damage in seen.values() if not damage for noun in nouns]

    def enforced(self) -> tuple[dict[Key, Noun], Sequence[str]]:
        """See :meth:`snnet.contract.Driver.enforced`; elements are read, but not compared."""
        with self._lock:
            owners = dict.fromkeys(table.owner for table in self._stored.tables())
            seen = {owner: self._integrity.look(owner, whole=False) for owner in owners}
        damage = [
            f"rules of {owner} in table {table}: {why}"
            for owner, (_, damaged) in seen.items()
            for table, why in damaged.items()
        ]
        return keyed(noun for nouns, _ in seen.values() for noun in nouns), damage

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`.

        None if somebody changed the rules of its table, or one of its own elements.
        """
        if not isinstance(noun, Owned) or type(noun) not in self.carries:
            return None
        found = None if self._lost_rules(noun) else self._stored.find(noun)
        if isinstance(found, Owned) and self._integrity.is_whole(found):
            return found
        return None

    def owners(self) -> Collection[str]:
        """See :meth:`snnet.contract.Driver.owners`: those of all tables, read once an epoch."""
        with self._lock:
            epoch = self._epochs.last()
            if self._owners_epoch != epoch:
                self._owners = {table.owner for table in self._stored.tables()}
                self._owners_epoch = epoch
            return self._owners

    def epoch(self) -> int:
        """See :meth:`snnet.contract.Driver.epoch`: one request to the kernel."""
        return self._epochs.observe()

    def _change(self, commands: Sequence[Command], generation: int | None = None) -> None:
        """Run a transaction of this driver's own: it does not begin an epoch.

        With ``generation``, raise ``Outdated`` if the ruleset has another number, or nft runs it.
        """
        if not commands:
            return
        changes = by_netlink(commands)
        if changes is not None:
            self._epochs.within(partial(self._writer.change, changes, generation))
        elif generation is not None:
            raise Outdated
        else:
            self._epochs.within(partial(self._nft.change, commands))
        self.transactions += 1

    def _lost_rules(self, noun: Owned) -> bool:
        """Whether rules of a table of the noun were changed; compares them once an epoch."""
        tables = {Table(family, noun.owner) for family, _ in needs(noun)}
        if isinstance(noun, HostIsolation):
            tables.add(Table(ARP, noun.owner))
        with self._lock:
            epoch = self.epoch()
            if self._inspected.get(noun.owner) != epoch:
                # The rules of all tables of the owner, those that are gone as well.
                self._damaged |= self._integrity.look(noun.owner, whole=False)[1]
                self._forget_damaged(self._stored.tables())
                self._inspected[noun.owner] = epoch
            return not tables.isdisjoint(self._damaged.keys())

    def _forget_damaged(self, there: Iterable[Table]) -> None:
        """Forget the parts of tables that must be recreated, or are not ``there`` any more."""
        gone = {part.table for part in self._made}.difference(there, self._damaged)
        lost = gone | self._damaged.keys()
        self._made = {part for part in self._made if part.table not in lost}
        self._usage.forget(lost)

    # -- doing -----------------------------------------------------------------------

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`."""
        step = PreparedOperation.of(operation)
        with self._lock:
            try:
                if not self._damaged:
                    check_members(operation, self._reader)
                self._commit([step])
            except SnnetError as error:
                if not self._removed_the_rest(step, error):
                    raise with_operation(error, operation) from error

    def batch(self, operation: Operation) -> str:
        """All consecutive operations are one transaction."""
        return "transaction"

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """See :meth:`snnet.contract.Driver.perform_all`."""
        with self._lock:
            if not self._clear(operations):
                self._commit([PreparedOperation.of(operation) for operation in operations])

    def _clear(self, operations: Sequence[Operation]) -> bool:
        """Delete the tables whole if the operations remove all that is in them, and return True.

        Whether they do, the last look says, and the kernel, that it is still true: no element
        need be named.
        """
        generation = self._epochs.expected()
        if self._last is None or self._last[:2] != (self._epochs.last(), self.transactions):
            return False
        if generation is None or not (doomed := emptied(operations, self._last[2], self._reader)):
            return False
        try:
            self._epochs.within(partial(self._writer.delete_tables, doomed, generation))
        except Outdated:
            return False
        self.transactions += 1
        self._forget_damaged(self._stored.tables())
        return True

    def _commit(self, steps: Sequence[PreparedOperation]) -> None:
        try:
            self._try(steps, self._epochs.expected())
        except Outdated:  # ask the kernel for the number only now: it seldom is another
            self._try(steps, None)

    def _try(self, steps: Sequence[PreparedOperation], generation: int | None) -> None:
        """Carry out the steps in one transaction, for this number of the ruleset if known."""
        epoch = self._epochs.observe() if generation is None else self._epochs.last()
        if self._usage.outdated(epoch):  # others may have removed parts that nobody needed
            self._made = {part for part in self._made if self._stored.has(part)}
        everything = [*self._kept(steps), *steps]
        if len(everything) > len(steps) and all(step.growth >= 0 for step in steps):
            everything.sort(key=lambda step: step.operation.noun.rank)  # a zone before its links
        needed, changes = set[Part](), list[Command]()
        for step in everything:
            changes += step.commands
            if step.growth >= 0:
                needed |= step.parts
        changes += shared(everything, needed, self._damaged, self._stored)
        unused = self._usage.unused_after(steps)
        lacking = needed - self._made
        if generation is not None and (lacking or unused):
            raise Outdated  # nft makes and removes parts
        bases = tables.bases(lacking, self._damaged) if lacking else ()
        removal = self._usage.removal(unused, needed, changes) if unused else ()
        try:
            self._change([*bases, *changes, *removal], generation)
        except Missing:
            # Our tables were flushed, or what is to be removed is gone.
            self._usage.clear()
            if not needed & self._made:
                raise
            unused = set()
            self._made.clear()
            self._change([*tables.bases(needed, self._damaged), *changes])
        self._made |= needed
        self._owners = self._owners | {step.owner for step in steps}
        for part in needed if self._damaged else ():
            self._damaged.pop(part.table, None)
        self._made -= unused
        self._usage.count(steps, unused)

    def _kept(self, steps: Sequence[PreparedOperation]) -> list[PreparedOperation]:
        """The nouns to add again because their tables are recreated, without those of the steps.

        Somebody flushed rules: the tables are recreated whole, so that what one call adds
        does not cost other nouns what is left of them.
        """
        if not self._damaged:
            return []
        adding = {step.owner for step in steps if not step.removes}
        owners = adding & {table.owner for table in self._damaged}
        if not owners:
            return []
        there = self._stored.tables()
        tables = [table for table in there if table.owner in owners]
        self._damaged |= {table: self._damaged.get(table, "") for table in tables}
        self._forget_damaged(there)
        found = keyed(noun for table in tables for noun in self._stored.within(table))
        for step in steps:
            found.pop(step.operation.noun.key, None)
        nouns = sorted(found.values(), key=lambda noun: noun.rank)
        return [PreparedOperation.of(Add(noun)) for noun in nouns]

    def _removed_the_rest(self, step: PreparedOperation, error: SnnetError) -> bool:
        """Remove the rest of a noun that has its record and lacks another part."""
        noun = step.operation.noun
        if not (step.removes and isinstance(error, Missing)) or isinstance(noun, UNRECORDED):
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
        _, after = chain_commands(step.operation)
        deleted = [element_change("delete", step.owner, part) for part in there]
        unused = self._usage.unused_after([step])
        self._change([*deleted, *after, *self._usage.removal(unused, (), after)])
        self._made -= unused
        self._usage.count([step], unused)
        return True

    # -- the rest --------------------------------------------------------------------

    def commands(self, operation: Operation) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.commands`."""
        step = PreparedOperation.of(operation)
        setup = [] if step.removes else tables.bases(step.parts - self._made, self._damaged)
        return [f"nft {shlex.quote(str(command))}" for command in [*setup, *step.commands]]

    def obstacles(self) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.obstacles`."""
        damaged = [
            f"table {table} is not as snnet made it ({why}): call repair()"
            for table, why in sorted(self._damaged.items())
            if why and table.owner == self.host.owner
        ]
        owner = self.host.owner
        ours = [one for one in self._seen() if isinstance(one, Owned) and one.owner == owner]
        if not ours:
            return damaged
        return [*damaged, *obstacles(self.host.netns.fd, self._theirs(), ours)]

    def _theirs(self) -> Sequence[dict[str, Any]]:
        """What is not of snnet in the ruleset, read once after each change of others."""
        with self._lock:
            epoch = self.epoch()
            if self._others is None or self._others[0] != epoch:
                foreign = [
                    item
                    for item in self._nft.ruleset()
                    if not next(iter(item.values())).get("table", "").startswith(tables.PREFIX)
                ]
                self._others = epoch, foreign
            return self._others[1]

    def dropped(self) -> Sequence[Dropped]:
        """See :meth:`snnet.contract.Driver.dropped`; of the last day."""
        return self.dropped_of(self.host.owner)

    def dropped_of(self, owner: str) -> Sequence[Dropped]:
        """Return what the tables of one owner have dropped."""
        return dropped_of(owner, self._reader)

    def dump(self) -> str:
        """Return the node's tables as nft prints them."""
        return self.dump_of(self.host.owner)

    def dump_of(self, owner: str) -> str:
        """Return the tables of one owner as nft prints them."""
        with self._lock:
            own = [table for table in self._stored.tables() if table.owner == owner]
            return "\n".join(self._nft.run([f"list table {table}"]).rstrip() for table in own)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._nft.close()
        self._reader.close()
        self._writer.close()
        self._epochs.close()
        super().close()
