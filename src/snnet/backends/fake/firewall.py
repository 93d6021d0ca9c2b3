"""The fake firewall driver: keeps rules as nouns in the fake kernel of its host."""

from __future__ import annotations

from snnet.contract import RULES, Host, Noun, PortForward, PublicIp, Zone, ZoneLink

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State


class RuleRules:
    """Adds, changes and removes rules; the links that they name need not exist."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.changes = 0
        """Counts the changes made here."""

    def add(self, noun: Noun) -> None:
        if isinstance(noun, (PortForward, PublicIp)) and (fault := noun.fault()):
            raise Refusal("EINVAL", fault)
        if isinstance(noun, ZoneLink) and self._zone_of(noun) is None:
            raise Refusal("ENOENT", f"there is no zone {noun.zone}")
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)
        self.changes += 1

    def change(self, noun: Noun, old: Noun) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        if wrong := noun.differences(found) - noun.changeable:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        self._state.put(noun)
        self.changes += 1

    def remove(self, noun: Noun) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        if isinstance(found, Zone) and self._has_links(found):
            raise Refusal("EBUSY", f"zone {found.zone} has links")
        self._state.drop(found)
        self.changes += 1

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
