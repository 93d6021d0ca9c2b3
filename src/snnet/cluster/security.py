"""Security groups of tenants as documents, and what the verbs for them write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from snnet.checks import check_id, check_many, shown
from snnet.contract import Conflict, Delete, Entry, InvalidRequest, Put, Reading, Rule
from snnet.contract.keywords import refuse_unknown
from snnet.contract.registries import Write
from snnet.core.groups import check_rules

from . import keys, stored
from .documents import Vnic, Wanted
from .drafts import Draft, check_same, seen

NAMED_MAX = 30
"""So many groups a VNIC is in, or a group's rules name: one commit has conditions about all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup(Wanted):
    """What the VNICs that are in a group may receive and send; see ``snnet.Rule``.

    A rule is given as a ``Rule``, as text like "in tcp 80 from 10.0.0.0/8", or as a mapping of
    the rule's fields.
    """

    kind: ClassVar[str] = "group"
    fixed: ClassVar[frozenset[str]] = frozenset()

    rules: tuple[Rule, ...] = ()

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {"name": check_id, "rules": _rules}

    @property
    def named(self) -> tuple[str, ...]:
        """The other groups of the tenant that its rules name."""
        found = {rule.group for rule in self.rules if rule.group not in (None, self.name)}
        return tuple(sorted(map(str, found)))


def _rules(value: Any, name: str) -> tuple[Rule, ...]:
    rules = check_many(value, name, _rule)
    check_rules(rules, name)
    return rules


def _rule(value: Any, name: str) -> Rule:
    try:
        match value:
            case Rule():
                return value
            case str():
                return Rule.read(value)
            case Mapping():
                refuse_unknown(value, Rule.__match_args__, "unknown field of a rule")
                return Rule(**{"direction": None, **value})
    except InvalidRequest as problem:
        raise InvalidRequest(str(problem), field=name) from None
    raise InvalidRequest(f"{shown(value)} is not a rule: give text like 'in tcp 80'", field=name)


# -- what refers to groups -----------------------------------------------------------


def groups_named(wanted: Wanted) -> tuple[str, ...]:
    """The groups that an object needs to be there."""
    match wanted:
        case Vnic():
            return wanted.groups
        case SecurityGroup():
            return wanted.named
        case _:
            return ()


def group_field(wanted: Wanted) -> str:
    """The field that names them."""
    return "groups" if isinstance(wanted, Vnic) else "rules"


def reads(wanted: Wanted) -> list[str]:
    """What :func:`refer` has to have read."""
    return [keys.group(wanted.tenant, name) for name in groups_named(wanted)]


def refer(wanted: Wanted, reading: Reading, draft: Draft[Any]) -> None:
    """Have a draft fail if a group that the object names is not there, or goes meanwhile."""
    names = groups_named(wanted)
    if not names:
        return
    field = group_field(wanted)
    if len(names) > NAMED_MAX:
        raise InvalidRequest(
            f"{len(names)} groups are too many: name at most {NAMED_MAX}", field=field
        )
    for name in names:
        if keys.group(wanted.tenant, name) not in reading.entries:
            raise InvalidRequest(
                f"tenant {wanted.tenant!r} has no group {name!r}: create it first", field=field
            )
    draft.expected |= seen(reading, reads(wanted))
    draft.writes.append(Put(keys.group_uses(wanted.tenant), {}))


def joined(vnic: Vnic) -> list[Write]:
    """What tells other nodes that a VNIC is in its groups."""
    if not vnic.groups:
        return []
    document = {"groups": list(vnic.groups), "node": vnic.node, "ips": list(map(str, vnic.ip))}
    return [Put(keys.member(vnic.tenant, vnic.name), document)]


def left(vnic: Vnic) -> list[Write]:
    """What tells other nodes that a VNIC is in no group any more."""
    there = vnic.groups or stored.is_salvaged(vnic)
    return [Delete(keys.member(vnic.tenant, vnic.name))] if there else []


# -- groups --------------------------------------------------------------------------


def creation(
    wanted: SecurityGroup, given: frozenset[str], reading: Reading
) -> Draft[SecurityGroup]:
    """Create a group; the same one again changes nothing."""
    key = keys.group(wanted.tenant, wanted.name)
    if entry := reading.entries.get(key):
        old = stored.read(SecurityGroup, key, entry)
        check_same(old, wanted, given)
        return Draft(old)
    draft = Draft(wanted, [Put(key, wanted.document())], {key: 0})
    refer(wanted, reading, draft)
    return draft


def update(old: SecurityGroup, new: SecurityGroup, reading: Reading) -> Draft[SecurityGroup]:
    """Write a group with other rules."""
    key = keys.group(new.tenant, new.name)
    draft = Draft(new, [Put(key, new.document())], {key: old.revision})
    refer(new, reading, draft)
    return draft


def deletion_reads(tenant: str) -> list[str]:
    return [f"{keys.GROUPS}{tenant}/", f"{keys.MEMBERS}{tenant}/", keys.group_uses(tenant)]


def _groups(member: Entry) -> Collection[Any]:
    """The groups that a VNIC is in."""
    groups = member.document.get("groups")
    return groups if isinstance(groups, list) else ()


def _last(key: str) -> str:
    return key.split("/")[-2]


def _named(key: str, entry: Entry) -> tuple[str, ...]:
    return stored.salvage(SecurityGroup, key, entry).named


def deletion(group: SecurityGroup, reading: Reading) -> Draft[SecurityGroup]:
    """Remove a group that no VNIC is in and no other group names."""
    members = dict(keys.objects(reading.entries, f"{keys.MEMBERS}{group.tenant}/"))
    groups = dict(keys.objects(reading.entries, f"{keys.GROUPS}{group.tenant}/"))
    vnics = [f"vnic {_last(key)!r}" for key, one in members.items() if group.name in _groups(one)]
    users = [
        f"group {_last(key)!r}" for key, one in groups.items() if group.name in _named(key, one)
    ]
    users += vnics
    if users:
        raise Conflict(f"{group.title} is used by {', '.join(users)}: change or delete them first")
    key, uses = keys.group(group.tenant, group.name), keys.group_uses(group.tenant)
    draft = Draft(group, [Delete(key)], {key: group.revision, **seen(reading, [uses])})
    if groups.keys() <= {key}:
        # Whatever begins to use another group of the tenant expects that group to be there.
        draft.writes.append(Delete(uses))
    return draft
