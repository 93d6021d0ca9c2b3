"""The fake DHCP server: scopes kept in the fake kernel of their host."""

from __future__ import annotations

from snnet.contract import DhcpScope, Host

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State

_PREFIX_MIN, _PREFIX_MAX = 16, 29


class ScopeRules:
    """One scope a bridge; it outlives the bridge, as a server process would."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: DhcpScope) -> None:
        self._check(noun)
        if self._state.link(noun.link) is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)

    def change(self, noun: DhcpScope, old: DhcpScope) -> None:
        self._check(noun)
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        if noun.differences(found) - noun.changeable:
            raise Refusal("EINVAL", "the subnet of a scope cannot be changed in place")
        self._state.put(noun)

    def remove(self, noun: DhcpScope) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)

    def _check(self, noun: DhcpScope) -> None:
        if not _PREFIX_MIN <= noun.subnet.prefixlen <= _PREFIX_MAX:
            raise Refusal("EINVAL", f"a scope is a /{_PREFIX_MIN} to /{_PREFIX_MAX}")


class FakeDhcp(FakeDriver):
    """Carries ``DhcpScope`` on a fake kernel; ``Fabric`` lets guests take leases from it."""

    name = "fake"
    carries = frozenset({DhcpScope})

    def __init__(self, host: Host) -> None:
        kernel = kernel_of(host, "dhcp")
        self.host = host
        self.state, self.faults = kernel.state, kernel.faults
        self.rules = {DhcpScope: ScopeRules(self.state)}
