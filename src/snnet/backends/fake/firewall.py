"""The fake firewall: rules as nouns, kept in the fake kernel of their host."""

from __future__ import annotations

from snnet.contract import (
    BridgeAccept,
    ExternalForward,
    Host,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
)

from .driver import FakeDriver
from .kernel import kernel_of
from .refusal import Refusal
from .state import State

_PROTOCOLS = ("tcp", "udp", "sctp")


class RuleRules:
    """Rules come and go whole; the links they name need not be there (yet)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Noun) -> None:
        if isinstance(noun, PortForward):
            _check_port_forward(noun)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)

    def change(self, noun: Noun, old: Noun) -> None:
        raise Refusal("EOPNOTSUPP", "a rule cannot be changed in place")

    def remove(self, noun: Noun) -> None:
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)


class FakeFirewall(FakeDriver):
    """Carries the rules nouns on a fake kernel."""

    name = "fake"
    carries = frozenset({BridgeAccept, Masquerade, ExternalForward, PortForward, PublicIp})

    def __init__(self, host: Host) -> None:
        kernel = kernel_of(host, "firewall")
        self.host = host
        self.state, self.faults = kernel.state, kernel.faults
        self.rules = dict.fromkeys(self.carries, RuleRules(self.state))


def _check_port_forward(noun: PortForward) -> None:
    if noun.protocol not in _PROTOCOLS:
        raise Refusal("EINVAL", f"no ports in protocol {noun.protocol!r}")
    for port in (noun.port, noun.target_port):
        if not 0 < port < 2**16:
            raise Refusal("EINVAL", f"{port} is no port")
