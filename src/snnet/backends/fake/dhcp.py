"""The fake DHCP server: scopes kept in the fake kernel of their host."""

from __future__ import annotations

from snnet.contract import DhcpScope, Host, InvalidRequest

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State

_PREFIX_MIN, _PREFIX_MAX = 16, 29
_MTU_MIN, _MTU_MAX = 68, 65535  # RFC 2132, 5.1


class ScopeRules:
    """One scope a bridge; it outlives the bridge, as a server process would."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: DhcpScope) -> None:
        _check(noun)
        if self._state.link(noun.link) is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        if noun.link not in self._state.local.get(noun.gateway, ()):
            raise Refusal("EADDRNOTAVAIL", f"{noun.link} has no address {noun.gateway}")
        self._state.put(noun)

    def change(self, noun: DhcpScope, old: DhcpScope) -> None:
        _check(noun)
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        wrong = noun.differences(found) - noun.changeable
        if wrong:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        self._state.put(noun)

    def remove(self, noun: DhcpScope) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)


def _check(noun: DhcpScope) -> None:
    """InvalidRequest for what no DHCP server could serve."""
    if not _PREFIX_MIN <= noun.subnet.prefixlen <= _PREFIX_MAX:
        raise InvalidRequest(
            f"{noun.subnet} is no /{_PREFIX_MIN} to /{_PREFIX_MAX}", field="subnet"
        )
    if not _MTU_MIN <= noun.mtu <= _MTU_MAX:
        raise InvalidRequest(f"{noun.mtu} is not between {_MTU_MIN} and {_MTU_MAX}", field="mtu")
    for entry in noun.entries:
        if entry.address not in noun.subnet or entry.address == noun.gateway:
            raise InvalidRequest(f"{entry.address} is no guest's in {noun.subnet}", field="entries")


class FakeDhcp(FakeDriver):
    """Carries ``DhcpScope`` on a fake kernel; ``Fabric`` lets guests take leases from it."""

    name = "fake"
    carries = frozenset({DhcpScope})

    def __init__(self, host: Host) -> None:
        kernel = kernel_of(host, "dhcp")
        self.host = host
        self.state, self.faults = kernel.state, kernel.faults
        self.rules = {DhcpScope: ScopeRules(self.state)}
