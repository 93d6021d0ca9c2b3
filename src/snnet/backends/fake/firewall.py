"""The fake firewall driver: keeps rules as nouns in the fake kernel of its host."""

from __future__ import annotations

from snnet.contract import (
    RULES,
    GroupMembers,
    GroupRules,
    Host,
    Noun,
    PortForward,
    PortGroups,
    PublicIp,
    Zone,
    ZoneLink,
)

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State

_CHECKED = frozenset({PortForward, PublicIp, GroupMembers, GroupRules, PortGroups, ZoneLink})
"""Rules that may be refused for what they say; all others are refused only if they exist."""

_NEEDED = frozenset({Zone, GroupMembers, GroupRules})
"""Rules that others may need."""


class RuleRules:
    """Adds, changes and removes rules; the links that they name need not exist."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.changes = 0
        """Counts the changes made here."""

    def add(self, noun: Noun) -> None:
        if type(noun) in _CHECKED:
            self._check(noun)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put_rule(noun)
        self.changes += 1

    def change(self, noun: Noun, old: Noun) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        if wrong := noun.differences(found) - noun.changeable:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        self._check_groups(noun)
        self._state.put_rule(noun, found)
        self.changes += 1

    def remove(self, noun: Noun) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        if type(found) in _NEEDED:
            self._check_unused(found)
        self._state.drop_rule(found)
        self.changes += 1

    def _check(self, noun: Noun) -> None:
        """Refuse what no driver can carry, and what names a zone or group that is not there."""
        if isinstance(noun, ZoneLink):
            if self._zone_of(noun) is None:
                raise Refusal("ENOENT", f"there is no zone {noun.zone}")
            return
        assert isinstance(noun, (PortForward, PublicIp, GroupMembers, GroupRules, PortGroups))
        if fault := noun.fault():
            raise Refusal("EINVAL", fault)
        self._check_groups(noun)

    def _check_groups(self, noun: Noun) -> None:
        """Refuse what names a group that is not there."""
        if isinstance(noun, GroupRules):
            named = {rule.group for rule in noun.rules if rule.group is not None}
            needed = [("group-members", noun.owner, noun.tenant, group) for group in named]
        elif isinstance(noun, PortGroups):
            kinds = ("group-members", "group-rules")
            needed = [
                (kind, noun.owner, noun.tenant, group) for kind in kinds for group in noun.groups
            ]
        else:
            return
        for key in needed:
            if getattr(self._state.nouns.get(key), "bridged", None) != noun.bridged:
                raise Refusal("ENOENT", f"there is no group {key[-1]} of {key[-2]}")

    def _check_unused(self, found: Noun) -> None:
        """Refuse to remove what other rules need."""
        if isinstance(found, Zone) and self._has_links(found):
            raise Refusal("EBUSY", f"zone {found.zone} has links")
        if isinstance(found, (GroupMembers, GroupRules)) and (user := self._user_of(found)):
            raise Refusal("EBUSY", f"{user} needs it")

    def _user_of(self, group: GroupMembers | GroupRules) -> Noun | None:
        """Return what cannot be without the group's members, or without its rules."""
        for noun in self._state.nouns.values():
            if not isinstance(noun, (PortGroups, GroupRules)):
                continue
            if (noun.owner, noun.tenant) != (group.owner, group.tenant):
                continue
            if isinstance(noun, PortGroups):
                if group.group in noun.groups:
                    return noun
            elif isinstance(group, GroupMembers) and any(
                rule.group == group.group for rule in noun.rules
            ):
                return noun
        return None

    def _zone_of(self, link: ZoneLink) -> Noun | None:
        return self._state.nouns.get(("zone", link.owner, link.zone))

    def _has_links(self, zone: Zone) -> bool:
        return any(
            isinstance(noun, ZoneLink) and (noun.owner, noun.zone) == (zone.owner, zone.zone)
            for noun in self._state.nouns.values()
        )


class FakeFirewall(FakeDriver):
    """Keeps firewall rules in a fake kernel; a ``Fabric`` applies them to packets."""

    name = "fake"
    carries = RULES

    def __init__(self, host: Host) -> None:
        kernel = kernel_of(host, "firewall")
        self.host = host
        self.state, self.faults = kernel.state, kernel.faults
        self._rules = RuleRules(self.state)
        self.rules = dict.fromkeys(self.carries, self._rules)

    def epoch(self) -> int:
        """The changes of rules that another driver of this kernel made."""
        with self.state.lock:
            return self.state.rules.changes - self._rules.changes
