"""The fake DHCP driver: keeps scopes in the fake kernel of its host."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import DhcpLease, DhcpScope, Host, Key, Noun
from snnet.contract.dhcp import check_scope

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State


class ScopeRules:
    """One scope per bridge.  It outlives the bridge, as a server process does."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: DhcpScope) -> None:
        check_scope(noun)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._check_bridge(noun)
        self._state.put(noun)

    def change(self, noun: DhcpScope, old: DhcpScope) -> None:
        check_scope(noun, old)
        found = self._state.nouns.get(noun.key)
        if not isinstance(found, DhcpScope):
            raise Refusal("ENOENT")
        wrong = noun.differences(found) - noun.changeable
        if wrong:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        if not (found.running and noun.running):
            self._check_bridge(noun)
        self._state.put(noun)

    def remove(self, noun: DhcpScope) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)
        for key in [key for key in self._state.leases if key[1] == noun.link]:
            del self._state.leases[key]

    def _check_bridge(self, noun: DhcpScope) -> None:
        if self._state.link(noun.link) is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        for gateway in noun.gateways:
            if noun.link not in self._state.local.get(gateway, ()):
                raise Refusal("EADDRNOTAVAIL", f"{noun.link} has no address {gateway}")


class FakeDhcp(FakeDriver):
    """Keeps ``DhcpScope`` in a fake kernel; guests of a ``Fabric`` get leases from it."""

    name = "fake"
    carries = frozenset({DhcpScope})

    def __init__(self, host: Host) -> None:
        kernel = kernel_of(host, "dhcp")
        self.host = host
        self.state, self.faults = kernel.state, kernel.faults
        self.rules = {DhcpScope: ScopeRules(self.state)}

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        found = super().snapshot(types)
        if types is not None and DhcpLease in types:
            found |= self.state.leases
        return found
