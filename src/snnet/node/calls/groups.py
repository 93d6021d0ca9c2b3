"""Security groups: set, together where they name each other, and removed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from snnet.contract import Key, Noun, keyed
from snnet.core.compute_records import ComputeRecords
from snnet.core.groups import (
    Group,
    GroupId,
    check_known,
    check_unused,
    group_thing,
    with_named,
)
from snnet.core.planner import plan as make_plan

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event


@dataclass(slots=True)
class GroupsDraft(Draft):
    nouns: dict[GroupId, dict[Key, Noun]] = field(default_factory=dict)
    """What is looked up or wanted of each group."""
    epoch: Hashable | None = None
    """The firewall's epoch in which the groups are complete."""


def _scope(draft: GroupsDraft) -> GroupsDraft:
    draft.scope = {group_thing(group): {*nouns} for group, nouns in draft.nouns.items()}
    return draft


@dataclass(slots=True)
class Needed:
    """Groups that a call needs on the host, and the epoch in which each was complete.

    Somebody may have flushed the firewall since: no port is in a group that is not there.
    """

    groups: Mapping[GroupId, Group] = field(default_factory=dict)
    epochs: Mapping[GroupId, Hashable] = field(default_factory=dict)

    @classmethod
    def of(cls, records: ComputeRecords, names: Iterable[GroupId]) -> Self:
        """These groups, and those that their rules name, and so on."""
        groups = with_named(records.groups, names)
        return cls(groups, {name: records.group_epochs.get(name) for name in groups})

    def unsure(self, host: HostView, epoch: Hashable | None) -> dict[GroupId, dict[Key, Noun]]:
        """Return the nouns of those that may be missing in this epoch of the firewall."""
        return {
            name: host.carried(group.nouns(host.site))
            for name, group in self.groups.items()
            if host.looking or epoch is None or self.epochs[name] != epoch
        }


@dataclass(slots=True)
class _Known:
    there: dict[GroupId, tuple[Group, Hashable]]
    """Groups as they were in an epoch of the firewall."""
    named: Needed
    """Those that the rules name."""


class SetGroups(Call[ComputeRecords, _Known, GroupsDraft, None]):
    """Set groups to exactly these; Conflict if a rule names a group that is not known."""

    trusts: ClassVar[bool] = True

    def __init__(self, what: str, groups: Sequence[Group]) -> None:
        self.what = what
        self._groups = {group.id: group for group in groups}

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        names = self._named()
        names |= with_named(records.groups, names).keys()
        named: frozenset[Thing] = frozenset(map(group_thing, names))
        own: frozenset[Thing] = frozenset(map(group_thing, self._groups))
        return Claim(own | named) if alone else Claim(own, named - own)

    def _named(self) -> set[GroupId]:
        """The groups that the rules name."""
        return {one for group in self._groups.values() for one in group.named}

    def read(self, records: ComputeRecords, claim: Claim) -> _Known:
        for group in self._groups.values():
            for number, rule in enumerate(group.rules):
                if rule.group is not None:
                    where = f"rule {number} of group {group.name} names"
                    known = records.groups.keys() | self._groups.keys()
                    check_known(known, (group.tenant_id, rule.group), where)
        there = {
            name: (records.groups[name], epoch)
            for name in self._groups
            if name in records.groups and (epoch := records.group_epochs.get(name)) is not None
        }
        return _Known(there, Needed.of(records, self._named() - self._groups.keys()))

    def draft(self, known: _Known, host: HostView) -> GroupsDraft:
        site, epoch = host.site, host.epoch()
        nouns = {name: keyed(group.nouns(site)) for name, group in self._groups.items()}
        wanted = {key: noun for one in nouns.values() for key, noun in one.items()}
        # Looking costs as much as the group has rules and members.
        found: dict[Key, Noun] = {}
        for name, one in nouns.items():
            there, seen = known.there.get(name, (None, None))
            trusted = there is not None and not host.looking and seen == epoch
            found |= keyed(there.nouns(site)) if there and trusted else host.find(one.values())
        draft = GroupsDraft(nouns=nouns, epoch=epoch)
        _scope(draft)
        for name, one in known.named.unsure(host, epoch).items():
            if name not in self._groups:
                wanted |= one
                found |= host.find(one.values())
                draft.scope[group_thing(name)] = {*one}
        draft.plan = make_plan(found, wanted)
        return draft

    def intents(self, draft: GroupsDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {group_thing(group): (*nouns.values(),) for group, nouns in draft.nouns.items()}

    def publish(
        self, records: ComputeRecords, draft: GroupsDraft, done: Done
    ) -> tuple[None, list[Event]]:
        records.groups.update(self._groups)
        records.group_epochs.update(dict.fromkeys(self._groups, draft.epoch))
        return None, []


class RemoveGroups(Call[ComputeRecords, None, GroupsDraft, None]):
    """Remove these groups; Conflict while a VNIC is in one, or another group names one."""

    mode = Mode.PRESS_ON

    def __init__(self, what: str, groups: Sequence[GroupId]) -> None:
        self.what = what
        self._groups = groups

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset(map(group_thing, self._groups)))

    def read(self, records: ComputeRecords, claim: Claim) -> None:
        for group in self._groups:
            check_unused(records.groups, records.vnics(), group, self._groups)

    def draft(self, known: None, host: HostView) -> GroupsDraft:
        nouns = {
            group: keyed(Group(tenant_id=group[0], name=group[1]).nouns(host.site))
            for group in self._groups
        }
        found = host.find(noun for one in nouns.values() for noun in one.values())
        return _scope(GroupsDraft(make_plan(found, {}), nouns=nouns))

    def publish(
        self, records: ComputeRecords, draft: GroupsDraft, done: Done
    ) -> tuple[None, list[Event]]:
        for group, nouns in draft.nouns.items():
            if done.left.isdisjoint(nouns):
                records.groups.pop(group, None)
                records.group_epochs.pop(group, None)
        return None, []
