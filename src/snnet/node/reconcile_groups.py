"""The part of ``ComputeNode.reconcile`` about security groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from snnet.checks import check_many, check_type
from snnet.contract import InvalidRequest, SnnetError
from snnet.core.compute_records import ComputeRecords
from snnet.core.groups import Group, GroupId, group_thing

from .calls.groups import RemoveGroups, SetGroups
from .steps import Steps


def listed_groups(groups: Iterable[object]) -> Sequence[Group]:
    """Check the argument of ``reconcile``; InvalidRequest names the group that is wrong."""
    seen: set[GroupId] = set()

    def check(value: object, field: str) -> Group:
        group = check_type(value, field, Group)
        if group.id in seen:
            raise InvalidRequest("is there twice", field=field)
        seen.add(group.id)
        return group

    found: Sequence[Group] = check_many(groups, "groups", check)
    return found


def set_wanted(steps: Steps[ComputeRecords], wanted: Sequence[Group]) -> None:
    """Set the groups that differ: together, since they may name each other, or one by one."""
    site = steps.engine.records.site
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.groups)
    different: list[Group] = []
    for group in wanted:
        if known.get(group.id) == group and steps.intact(group.nouns(site)):
            steps.note(group_thing(group.id), "kept")
        else:
            different.append(group)
    if not different:
        return
    actions = {one.id: "updated" if one.id in known else "created" for one in different}
    try:
        steps.run(SetGroups("reconcile", different))
    except SnnetError:
        if steps.atomic:
            raise
        for group in different:
            call = SetGroups(f"reconcile {group.name}", [group])
            steps.attempt(group_thing(group.id), actions[group.id], call)
        return
    for group in different:
        steps.note(group_thing(group.id), actions[group.id])


def remove_unwanted(
    steps: Steps[ComputeRecords], wanted: Sequence[Group], reserved: Callable[[GroupId], bool]
) -> None:
    """Remove the groups that are not wanted: together, since they may name each other."""
    with steps.engine.claims.lock:
        known = list(steps.engine.records.groups)
    kept = {group.id for group in wanted}
    gone = [group for group in known if group not in kept and not reserved(group)]
    if not gone:
        return
    try:
        steps.run(RemoveGroups("reconcile", gone))
    except SnnetError:
        if steps.atomic:
            raise
        for group in gone:
            call = RemoveGroups(f"reconcile {group[1]}", [group])
            steps.attempt(group_thing(group), "removed", call)
        return
    for group in gone:
        steps.note(group_thing(group), "removed")
