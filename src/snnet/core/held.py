"""Links that guests hold: a tap, a veth, a macvtap must not be replaced under a guest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from snnet.contract import Change, Key, Macvtap, Noun, Nouns, Plan, Tap, Veth, link_key

from . import identity as ids
from .identity import Owner
from .leftovers import lost_its_alias
from .planner import plan, recalled
from .requests import SubnetId, VnicId
from .vnics import TenantSubnet, Vnic


def keep_held(
    found: Nouns, wanted: Nouns, but: Collection[Key] = ()
) -> tuple[dict[Key, Noun], list[Change]]:
    """What is wanted, without differences that would have a guest's link replaced.

    A guest lives with such a difference, and not without its link.  Also returns what
    was left as it is: each such link as wanted and as found.  Links in ``but`` may be replaced.
    """
    if not found or not wanted:
        return dict(wanted), []
    kept, left = dict(wanted), list[Change]()
    for key, old in found.items():
        noun = wanted.get(key)
        if type(old) is not type(noun) or not isinstance(noun, (Tap, Veth, Macvtap)) or key in but:
            continue
        fixed = noun.differences(old) - noun.changeable
        if fixed:
            kept[key] = replace(noun, **{name: getattr(old, name) for name in fixed})
            left.append(Change(noun, old))
    return kept, left


def plan_again(
    found: Nouns, wanted: Nouns, again: Collection[Vnic], known: Mapping[VnicId, Vnic]
) -> Plan:
    """Plan for VNICs that go and come back: their links are replaced where they must be."""
    kept, _ = keep_held(found, wanted, {vnic.link.key for vnic in again})
    before = [(known[new.id], new) for new in again if new.id in known]
    # The guest's end has its MAC, and nobody else can change that.
    ends = [new.link.key for old, new in before if old.mac != new.mac]
    return plan(recalled(found, [old.link for old, _ in before]), kept, ends)


@dataclass(frozen=True, slots=True)
class LostPorts:
    """Ports of bridges whose alias somebody removed: a guest may be behind each of them.

    A subnet with such a port stays until the VNIC of that port is created again or destroyed.
    """

    owner: Owner
    subnets: Mapping[str, SubnetId] = field(default_factory=dict)
    """By the name of the port, which is that of its VNIC."""

    @classmethod
    def among(cls, owner: Owner, ours: Nouns, subnets: Iterable[TenantSubnet]) -> LostPorts:
        """Return those among a node's nouns."""
        bridges = {one.bridge.name: one.id for one in subnets if one.bridge}
        lost = [noun for noun in ours.values() if lost_its_alias(noun)]
        return cls(owner, {one.name: bridges[one.master] for one in lost if one.master in bridges})

    def keep(self, subnet: SubnetId, gone: Iterable[VnicId] = ()) -> bool:
        """Whether the subnet has such a port, also without those of VNICs that are ``gone``."""
        return subnet in self.subnets.values() and subnet in self.without(gone).subnets.values()

    def without(self, vnics: Iterable[VnicId], left: Collection[Key] = ()) -> LostPorts:
        """Return the others, and those of these VNICs that are ``left``."""
        if not self.subnets:
            return self
        kinds = (ids.VM, ids.CONTAINER)
        names = {ids.name(self.owner, kind, *vnic) for vnic in vnics for kind in kinds}
        gone = {name for name in names if link_key(name) not in left}
        return replace(self, subnets={k: v for k, v in self.subnets.items() if k not in gone})
