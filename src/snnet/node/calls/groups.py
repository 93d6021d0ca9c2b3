"""Security groups: set, together where they name each other, and removed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from snnet.contract import Key, Noun, keyed
from snnet.core.compute_records import ComputeRecords
from snnet.core.groups import Group, GroupId, check_known, check_unused, group_thing
from snnet.core.planner import plan as make_plan

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event

_Known = dict[GroupId, tuple[Group, Hashable]]
"""Groups as they were in an epoch of the firewall."""


@dataclass(slots=True)
class GroupsDraft(Draft):
    nouns: dict[GroupId, dict[Key, Noun]] = field(default_factory=dict)
    """What is looked up or wanted of each group."""
    epoch: Hashable | None = None
    """The firewall's epoch in which the groups are complete."""


def _scope(draft: GroupsDraft) -> GroupsDraft:
    draft.scope = {group_thing(group): {*nouns} for group, nouns in draft.nouns.items()}
    return draft


class SetGroups(Call[ComputeRecords, _Known, GroupsDraft, None]):
    """Set groups to exactly these; Conflict if a rule names a group that is not known."""

    trusts: ClassVar[bool] = True

    def __init__(self, what: str, groups: Sequence[Group]) -> None:
        self.what = what
        self._groups = {group.id: group for group in groups}

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        named = {one for group in self._groups.values() for one in group.named}
        own: frozenset[Thing] = frozenset(map(group_thing, self._groups))
        return Claim(own, frozenset(map(group_thing, named)) - own)

    def read(self, records: ComputeRecords, claim: Claim) -> _Known:
        for group in self._groups.values():
            for number, rule in enumerate(group.rules):
                if rule.group is not None:
                    where = f"rule {number} of group {group.name} names"
                    known = records.groups.keys() | self._groups.keys()
                    check_known(known, (group.tenant_id, rule.group), where)
        return {
            name: (records.groups[name], epoch)
            for name in self._groups
            if name in records.groups and (epoch := records.group_epochs.get(name)) is not None
        }

    def draft(self, known: _Known, host: HostView) -> GroupsDraft:
        site, epoch = host.site, host.epoch()
        nouns = {name: keyed(group.nouns(site)) for name, group in self._groups.items()}
        wanted = {key: noun for one in nouns.values() for key, noun in one.items()}
        # Looking costs as much as the group has rules and members.
        found: dict[Key, Noun] = {}
        for name, one in nouns.items():
            there, seen = known.get(name, (None, None))
            trusted = there is not None and not host.looking and seen == epoch
            found |= keyed(there.nouns(site)) if there and trusted else host.find(one.values())
        return _scope(GroupsDraft(make_plan(found, wanted), nouns=nouns, epoch=epoch))

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
