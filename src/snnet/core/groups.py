"""Security groups of tenants, as a compute node is asked for them and knows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from snnet.checks import Address, check_id, check_many, check_type
from snnet.contract import (
    Conflict,
    GroupMembers,
    GroupRules,
    InvalidRequest,
    IPAddress,
    Key,
    Noun,
    Nouns,
    Rule,
)
from snnet.contract.keywords import refusing_unknown

from .addressing import check_unicast
from .requests import GuestRequest
from .site import Site
from .vnics import Vnic

GroupId = tuple[str, str]
"""The identity of a group: tenant id, name."""

MEMBERS_MAX, RULES_MAX, RANGES_MAX = 65536, 1000, 10_000
"""More is a mistake: a packet that no rule allows is compared with all of them.  Each range of
ports is an element in the kernel, which takes 0.1 ms to add and 0.3 ms to check."""


@refusing_unknown
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A tenant's security group: what its members may receive and send.

    ``members`` are addresses of its members on other nodes; VNICs of this node are members by
    their config.  Wrong values are InvalidRequest.
    """

    tenant_id: str
    name: str
    rules: Iterable[Rule] = ()
    members: Iterable[Address] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "tenant_id", check_id(self.tenant_id, "tenant_id"))
        put(self, "name", check_id(self.name, "name"))
        put(self, "rules", check_many(self.rules, "rules", partial(check_type, kind=Rule)))
        check_rules(self.rules, "rules")
        members = check_many(self.members, "members", check_unicast)
        put(self, "members", tuple(sorted(set(members), key=lambda ip: (ip.version, ip))))
        _check_size(self.members, "members", MEMBERS_MAX)

    @property
    def id(self) -> GroupId:
        return (self.tenant_id, self.name)

    @property
    def named(self) -> set[GroupId]:
        """The groups that its rules name."""
        return {(self.tenant_id, rule.group) for rule in self.rules if rule.group is not None}

    def nouns(self, site: Site) -> tuple[Noun, ...]:
        """What the firewall of this node holds for it."""
        owner, bridged = site.owner.name, not site.routed
        members: tuple[IPAddress, ...] = tuple(self.members)  # type: ignore[arg-type]
        return (
            GroupMembers(
                owner=owner,
                tenant=self.tenant_id,
                group=self.name,
                addresses=members,
                bridged=bridged,
            ),
            GroupRules(
                owner=owner,
                tenant=self.tenant_id,
                group=self.name,
                rules=tuple(self.rules),
                bridged=bridged,
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "rules": [str(rule) for rule in self.rules],
            "members": [str(member) for member in self.members],
        }


def check_rules(rules: Iterable[Rule], field: str) -> None:
    """Raise InvalidRequest if there are too many rules for one group, or too many ports in them."""
    given = tuple(rules)
    _check_size(given, field, RULES_MAX)
    count = sum(len(rule.ranges) for rule in given)
    if count > RANGES_MAX:
        raise InvalidRequest(
            f"{count} ports and ranges of ports are too many: give at most {RANGES_MAX} in a group",
            field=field,
        )


def _check_size(values: Iterable[object], field: str, limit: int) -> None:
    count = len(tuple(values))
    if count > limit:
        raise InvalidRequest(f"{count} are too many: give at most {limit}", field=field)


def with_named(groups: Mapping[GroupId, Group], names: Iterable[GroupId]) -> dict[GroupId, Group]:
    """Return the known ones of these groups, those that their rules name, and so on."""
    found: dict[GroupId, Group] = {}
    left = [*names]
    while left:
        name = left.pop()
        if name not in found and (group := groups.get(name)) is not None:
            found[name] = group
            left += group.named
    return found


def group_thing(group: GroupId) -> tuple[str, ...]:
    """Return what calls on the group claim."""
    return ("group", *group)


def read_groups(owner: str, ours: Nouns, remembered: Nouns) -> dict[GroupId, Group]:
    """Return the groups of a node, by the record of intents or else by what is found."""
    nouns: Mapping[Key, Noun] = {
        key: noun
        for key, noun in {**ours, **remembered}.items()
        if isinstance(noun, (GroupMembers, GroupRules)) and noun.owner == owner
    }
    ids = dict.fromkeys(
        (noun.tenant, noun.group)
        for noun in nouns.values()
        if isinstance(noun, (GroupMembers, GroupRules))
    )
    return {group: _read_group(owner, nouns, group) for group in ids}


def _read_group(owner: str, nouns: Mapping[Key, Noun], group: GroupId) -> Group:
    tenant, name = group
    members = nouns.get(("group-members", owner, tenant, name))
    rules = nouns.get(("group-rules", owner, tenant, name))
    return Group(
        tenant_id=tenant,
        name=name,
        rules=rules.rules if isinstance(rules, GroupRules) else (),
        members=members.addresses if isinstance(members, GroupMembers) else (),
    )


def check_known(
    known: Collection[GroupId], group: GroupId, where: str = "field groups names"
) -> None:
    """Raise Conflict if a group is not among those that are known, or will be."""
    if group not in known:
        raise Conflict(
            f"{where} {group[1]}, and tenant {group[0]} has no such group on this node: call "
            "set_group first"
        )


def check_members(request: GuestRequest, address: IPAddress, others: Iterable[Vnic]) -> None:
    """Raise Conflict if one of these VNICs, which have the address too, shares a group with it.

    Members are known by their addresses alone, so that neither could leave without the other.
    """
    for other in others:
        common = sorted({*request.policy.groups} & {*other.groups})
        if common and other.subnet_id != request.subnet_id:
            raise shared_member(address, common[0], other.vnic_id, other.subnet_id)


def shared_member(address: IPAddress, group: str, vnic_id: str, subnet_id: str) -> Conflict:
    """Return the error of a second member with the address of a group's member."""
    return Conflict(
        f"ip {address} is that of VNIC {vnic_id} of subnet {subnet_id} too, which is in group "
        f"{group}: members of a group on one node need different addresses, so use another group"
    )


def check_unused(
    known: Mapping[GroupId, Group],
    vnics: Iterable[Vnic],
    group: GroupId,
    going: Collection[GroupId] = (),
) -> None:
    """Raise Conflict while a VNIC is in the group, or another group that stays names it."""
    tenant, name = group
    users = [
        f"VNIC {vnic.vnic_id} of subnet {vnic.subnet_id} is in it"
        for vnic in vnics
        if vnic.tenant_id == tenant and name in vnic.groups
    ]
    users += [
        f"a rule of group {other[1]} names it"
        for other, one in known.items()
        if other not in going and group in one.named
    ]
    if users:
        raise Conflict(f"group {name} of tenant {tenant} is in use: {users[0]}")
