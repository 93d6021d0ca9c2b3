"""The firewall driver ``iptables``."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from snnet.contract import (
    Add,
    AntiSpoof,
    Change,
    Dropped,
    FatalError,
    Host,
    Key,
    Noun,
    Operation,
    Owned,
    Remove,
    SnnetError,
    error_for,
)
from snnet.firewall.epochs import Epochs
from snnet.firewall.foreign import drops, flows
from snnet.firewall.kernel import KernelFirewall
from snnet.firewall.nft import Nft

from . import layout
from .bases import Bases
from .counting import dropped
from .enforced import enforced
from .layout import ARP, BRIDGE, IP, IP6, KINDS, UNRECORDED
from .lent import LENT, LentRules, is_lent, lent_among, moves
from .owners import Owners
from .programs import Programs
from .report import commands, dump, left_over, obstacles
from .rules import places
from .saved import Saved
from .tables import Tables
from .work import Work, owner_of

_XTABLES = {"filter", "nat", "mangle", "raw", "security"}


_COMPARED = ("filter", "nat")
"""Tables of iptables in which others' rules matter only if they come before ours."""


def _is_xtables(item: dict[str, Any]) -> bool:
    """Whether a part of nft's ruleset belongs to iptables-nft and is examined as such."""
    (part,) = item.values()
    return part.get("family") in (IP, IP6, BRIDGE, ARP) and part.get("table") in _XTABLES


def _is_foreign(item: dict[str, Any]) -> bool:
    """Whether it is somebody else's, and not in a table whose order with ours is compared."""
    if not _is_xtables(item):
        return not _is_own(item)
    (found,) = item.values()
    leads = [there for one in found.get("expr", ()) for there in map(one.get, ("jump", "goto"))]
    ours = any(there and there["target"].startswith(layout.PREFIX) for there in leads)
    return found["table"] not in _COMPARED and not ours


def _is_own(item: dict[str, Any]) -> bool:
    """Whether a part of nft's ruleset is in a table of snnet."""
    (part,) = item.values()
    return str(part.get("table", "")).startswith("snnet-")


class IptablesFirewall(KernelFirewall):
    """Carries the rules with iptables, ip6tables, ebtables and arptables.

    What one owner has in a table is in chains of its own, and changes at once.  A
    change neither reads nor changes foreign chains and rules.  If somebody removes rules of
    a noun, that noun and those in the same chain count as missing; the next change removes
    what is left of them.
    """

    name = "iptables"
    batching: ClassVar[bool] = True

    def __init__(self, host: Host, *, variant: str | None = None) -> None:
        super().__init__(host)
        self._epochs = Epochs(self.host.netns.fd)
        self._epoch = -1
        self._programs = Programs(lambda: self.host.netns.fd, variant, self._epochs.within)
        self._bases = Bases(host, self._epochs.within)
        self._tables = Tables(self._programs, self._bases)
        self._owners = Owners(self._programs, self._tables)
        self._lent = LentRules(host, self._epochs)
        self._recorders: tuple[int, set[str]] = -1, set()
        """The owners that have records, and the epoch in which they were read."""
        self._work: Work
        """The current ``apply``: at most one, because the record is locked."""

    @property
    def variant(self) -> str:
        """Which iptables is in use: "nft" or "legacy"."""
        return self._programs.variant

    # -- looking -------------------------------------------------------------------

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`.

        Anti-spoofing on bridge ports needs ebtables, that of guests with IPv6 needs nftables;
        not answering ARP needs arptables.
        """
        if type(noun) not in self.carries:
            return f"iptables does not carry {type(noun).__name__}"
        if is_lent(noun):
            return self._lent.missing(noun)
        families = {place.family for place in places(noun, {})}
        if families and families <= self._owners.lacking:
            return f"this kernel has no IPv6, so that it cannot have {noun}"
        families |= {IP}
        for family in sorted(families - self._owners.lacking):
            if reason := self._programs.missing(family):
                return reason
        return None

    def uninstalled(self) -> str | None:
        """See :meth:`snnet.contract.Driver.uninstalled`."""
        return self._programs.missing(IP)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`: the nouns of all snnet nodes here."""
        wanted = tuple(self.carries if types is None else types)
        if self._programs.missing(IP) or not any(issubclass(cls, wanted) for cls in self.carries):
            return {}
        with self._alone():
            self._owners.forget()
            saved = Saved(self._programs.save)
            nouns = [
                noun
                for owner in self._recorded(saved)
                for noun in self._owners.state(owner, exact=True, saved=saved).nouns.values()
            ]
        found = {noun.key: noun for noun in nouns if isinstance(noun, wanted)}
        return found | self._lent.snapshot(lent_among(wanted))

    def enforced(self) -> tuple[dict[Key, Noun], Sequence[str]]:
        """See :meth:`snnet.contract.Driver.enforced`."""
        nouns, damage = self._lent.enforced()
        if self._programs.missing(IP):
            return nouns, damage
        with self._alone():
            saved = Saved(self._programs.save)
            for owner in self._recorded(saved):
                found = enforced(owner, saved, self._owners.lacking)
                nouns, damage = nouns | found.nouns, [*damage, *found.damage]
        return nouns, damage

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`; reads all rules of the owner."""
        if not isinstance(noun, Owned) or type(noun) not in self.carries:
            return None
        if isinstance(noun, LENT) and (found := self._lent.find(noun)):
            return found
        if self._programs.missing(IP) or type(noun) not in KINDS.values():
            return None
        with self._alone():
            return self._owners.state(noun.owner, exact=self._tells).nouns.get(noun.key)

    def owners(self) -> Collection[str]:
        """See :meth:`snnet.contract.Driver.owners`: read once an epoch, where there are some."""
        if self._programs.missing(IP):
            return self._lent.owners()
        with self._alone():
            if not self._tells or self._recorders[0] != self._epoch:
                self._recorders = self._epoch, {*self._recorded(Saved(self._programs.save))}
            return self._recorders[1] | {*self._lent.owners()}

    def epoch(self) -> int | None:
        """See :meth:`snnet.contract.Driver.epoch`; None where rules are not in nf_tables."""
        if not self._tells:
            return None
        with self._alone():
            return self._epoch

    def unreported(self) -> Collection[type[Noun]]:
        """See :meth:`snnet.contract.Driver.unreported`: rules of legacy iptables."""
        return () if self._tells else KINDS.values()

    @cached_property
    def _tells(self) -> bool:
        """Whether the epoch tells of all changes."""
        return not self._programs.missing(IP) and self._programs.all_nft

    def _still(self, epoch: int) -> bool:
        """Whether it is certainly the same epoch."""
        if self._tells:
            self._observe()
        return self._tells and self._epoch == epoch

    def _observe(self) -> None:
        """See whether others have changed rules."""
        before, self._epoch = self._epoch, self._epochs.observe()
        if self._epoch != before or not self._tells:
            self._owners.forget()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out other drivers, also of other processes: tables do not change together."""
        with self.host.record("iptables"):
            self._observe()
            yield

    def _recorded(self, saved: Saved) -> list[str]:
        """Return the owners that have records in the namespace."""
        owners: dict[str, None] = {}
        for family in (family for family in (IP, IP6) if family not in self._owners.lacking):
            lines = saved.text(family).splitlines()
            for chain in filter(None, map(layout.records_of, lines)):
                rules = [line for line in lines if line.startswith(f"-A {chain} ")]
                owner = layout.read_records(rules).owner
                if owner is not None and layout.chain(owner, layout.RECORDS) == chain:
                    owners[owner] = None
        return list(owners)

    # -- doing ---------------------------------------------------------------------

    @contextlib.contextmanager
    def session(self, operations: Sequence[Operation]) -> Iterator[None]:
        """See :meth:`snnet.contract.Driver.session`: others wait until it ends."""
        with self._alone():
            undisturbed = partial(self._still, self._epoch)
            self._work = Work(self._tables, self._owners, operations, undisturbed)
            self._recorders[1].update(map(owner_of, operations))
            try:
                yield
            finally:
                self._observe()

    def batch(self, operation: Operation) -> tuple[str, bool] | None:
        """The additions and changes of one owner are one batch; its removals are another."""
        if moves(operation):
            return None
        return owner_of(operation), isinstance(operation, Remove)

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`."""
        self._carry_out([operation])

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """See :meth:`snnet.contract.Driver.perform_all`."""
        self._carry_out(operations)

    def _carry_out(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            self._refuse(operation)
        first = operations[0]
        if isinstance(first, Change) and moves(first):
            # Both have one meanwhile, so that nothing opens.
            self._both([Add(first.noun)], [Remove(first.old)])
            return
        lent = [operation for operation in operations if is_lent(operation.noun)]
        own = [operation for operation in operations if not is_lent(operation.noun)]
        for twice in {one.noun.key for one in lent} & {one.noun.key for one in own}:
            raise error_for(errno.EEXIST, f"carry out one by one what has the key {twice}")
        self._both(lent, own)

    def _both(self, first: Sequence[Operation], then: Sequence[Operation]) -> None:
        """Carry out operations in iptables and in nftables: all of them or none."""
        self._do(first)
        try:
            self._do(then)
        except SnnetError as error:
            undoing = [operation.inverse() for operation in reversed(first)]
            try:
                self._do(undoing)
            except SnnetError as again:
                undone = ", ".join(map(str, undoing))
                raise FatalError(
                    f"{error}; and then this failed: {undone}: {again}",
                    leftovers=[operation.noun for operation in first],
                ) from error
            raise

    def _do(self, operations: Sequence[Operation]) -> None:
        """Carry out operations that are all lent, or all iptables'."""
        if not operations:
            return
        if is_lent(operations[0].noun):
            self._lent.perform_all(operations)
        else:
            self._work.commit(operations)

    def _refuse(self, operation: Operation) -> None:
        """Refuse a noun that cannot be carried here."""
        noun = operation.noun
        if type(noun) in self.carries and not (isinstance(operation, Add) or moves(operation)):
            return
        if reason := self.missing(noun):
            raise error_for(errno.EOPNOTSUPP, str(operation), detail=reason, operation=operation)
        if isinstance(operation, Add) and self._is_elsewhere(noun):
            raise error_for(errno.EEXIST, str(operation), operation=operation)

    def _is_elsewhere(self, noun: Noun) -> bool:
        """Return whether the other one, iptables or nftables, has the rule already."""
        if not isinstance(noun, AntiSpoof):
            return False
        if is_lent(noun):
            return self._work.has(noun)
        return self._lent.find(noun) is not None

    # -- the rest --------------------------------------------------------------------

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._lent.close()
        self._epochs.close()
        self._bases.close()
        super().close()

    def commands(self, operation: Operation) -> Sequence[str]:
        """Return the rules of the operation, one command each, for a dry run.

        The driver itself makes all changes of a table at once.
        """
        if is_lent(operation.noun):
            return self._lent.commands(operation)
        return commands(operation, self._programs.name)

    def obstacles(self) -> Sequence[str]:
        """See :meth:`snnet.contract.Driver.obstacles`.

        These are foreign rules before ours, rules of the other iptables, and drops in tables
        of nftables.  Without iptables it is that, and nothing else.
        """
        if reason := self._programs.missing(IP):
            return [f"firewall iptables: {reason}"]
        with self._alone():
            found = self._owners.state(self.host.owner, UNRECORDED)
        ours = found.nouns.values()
        return [
            *left_over(found),
            *obstacles(self._programs, found.jumps(), flows(self.host.netns.fd, ours)),
            *self._foreign(ours),
        ]

    def _foreign(self, ours: Iterable[Noun]) -> list[str]:
        nft = Nft(self.host.netns.fd)
        if nft.missing() is not None:
            return []
        try:
            others = [item for item in nft.ruleset() if _is_foreign(item)]
        finally:
            nft.close()
        return drops(others, flows(self.host.netns.fd, ours))

    def tidy(self) -> None:
        """See :meth:`snnet.contract.Driver.tidy`: each program makes a change of its own."""
        if self._programs.missing(IP):
            return
        with self._alone():
            Work(self._tables, self._owners, (), partial(self._still, self._epoch)).tidy(
                self.host.owner
            )
            self._observe()

    def forward_chains(self) -> Mapping[str, str]:
        """See :meth:`snnet.contract.Driver.forward_chains`."""
        return {self.variant: layout.chain(self.host.owner, layout.FORWARD)}

    def dropped(self) -> Sequence[Dropped]:
        """See :meth:`snnet.contract.Driver.dropped`: by rules of guards, here and in nftables."""
        with self._alone():
            nouns = self._owners.state(self.host.owner).nouns
        return [*dropped(self._programs, self.host.owner, nouns), *self._lent.dropped()]

    def dump(self) -> str:
        """Return the node's own chains as ``iptables-save`` and the like print them."""
        saved = {
            family: self._programs.save(family)
            for family in (IP, IP6, BRIDGE, ARP)
            if family not in self._owners.lacking
        }
        text = dump(self.host.owner, self.variant, saved)
        by_nft = self._lent.dump()
        return f"{text}\n# nftables\n{by_nft}" if by_nft else text
