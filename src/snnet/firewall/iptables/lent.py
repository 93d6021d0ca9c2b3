"""The rules that the iptables driver sets with nftables, in tables that only it uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    Change,
    DhcpGuard,
    Dropped,
    Host,
    Key,
    MssClamp,
    Noun,
    Operation,
    Owned,
    TunnelGuard,
    Untracked,
    keyed,
)
from snnet.contract.groups import GROUPS
from snnet.firewall.epochs import Epochs
from snnet.firewall.nftables import NftablesFirewall

_ALWAYS = (Untracked, TunnelGuard, DhcpGuard, ArpGuard, MssClamp, *GROUPS)
LENT: tuple[type[Noun], ...] = (*_ALWAYS, AntiSpoof)
"""Classes of rules that iptables cannot always express.  Its raw table comes after
defragmentation for bridged frames, it has no set of tunnels without ipset, and ebtables
examines neither DHCP messages, neighbour discovery nor options of TCP."""

_PROBES = (
    Untracked(owner="cn:any", link="any"),
    TunnelGuard(
        owner="cn:any",
        link="any",
        protocol="udp",
        port=1,
        tunnel_key=1,
        remote=IPv4Address("192.0.2.1"),
    ),
)
_MARK = "iptables"
"""Prefix of the owner's role: the tables are not those of the driver ``nftables``."""


def is_lent(noun: Noun) -> bool:
    """Return whether nftables carries this rule."""
    if isinstance(noun, AntiSpoof):
        return bool(noun.networks) or any(address.version == 6 for address in noun.addresses)
    return isinstance(noun, _ALWAYS)


def moves(operation: Operation) -> bool:
    """Return whether a change has nftables carry what iptables carried, or the reverse."""
    if not isinstance(operation, Change) or operation.noun.differences(operation.old) - (
        operation.noun.changeable
    ):
        return False
    return is_lent(operation.noun) != is_lent(operation.old)


class LentRules:
    """Carries the nouns of ``LENT`` with nftables, where the host has it."""

    def __init__(self, host: Host, epochs: Epochs) -> None:
        self._nftables = NftablesFirewall(host, epochs=epochs)
        self._owner = host.owner
        self.close = self._nftables.close

    def missing(self, noun: Noun) -> str | None:
        """Return why nftables cannot carry the noun here, or None if it can."""
        reason = self._nftables.missing(_lend(noun))
        return reason and f"iptables sets {type(noun).__name__} with nftables: {reason}"

    def snapshot(self, types: Sequence[type[Noun]]) -> dict[Key, Noun]:
        """Return the nouns of these types, of all owners."""
        if not types or not self._usable:
            return {}
        found = self._nftables.snapshot(types).values()
        return keyed(_back(noun) for noun in found if _is_marked(noun))

    def enforced(self) -> tuple[dict[Key, Noun], list[str]]:
        """Return the nouns that the kernel obeys now, and what somebody changed."""
        if not self._usable:
            return {}, []
        found, damage = self._nftables.enforced()
        return keyed(_back(noun) for noun in found.values() if _is_marked(noun)), list(damage)

    def find(self, noun: Noun) -> Noun | None:
        """Return the noun as it is now, or None."""
        found = self._nftables.find(_lend(noun)) if self._usable else None
        return found and _back(found)

    def owners(self) -> set[str]:
        """Return the owners that may have such rules on the host."""
        found = self._nftables.owners() if self._usable else ()
        return {owner.removeprefix(_MARK) for owner in found if owner.startswith(_MARK)}

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """Carry out the operations, all or none."""
        lent = [_with(operation) for operation in operations]
        if len(lent) == 1:
            self._nftables.perform(lent[0])
        else:
            self._nftables.perform_all(lent)

    def commands(self, operation: Operation) -> Sequence[str]:
        """Return the operation as commands of nft."""
        return self._nftables.commands(_with(operation))

    def dropped(self) -> Sequence[Dropped]:
        """Return what these rules of the host's owner have dropped."""
        return self._nftables.dropped_of(f"{_MARK}{self._owner}") if self._usable else ()

    def dump(self) -> str:
        """Return the rules of the host's owner, as nft prints them."""
        return self._nftables.dump_of(f"{_MARK}{self._owner}") if self._usable else ""

    @property
    def _usable(self) -> bool:
        return any(self._nftables.missing(noun) is None for noun in _PROBES)


def _lend(noun: Noun) -> Owned:
    assert isinstance(noun, Owned)
    return dataclasses.replace(noun, owner=f"{_MARK}{noun.owner}")


def _back(noun: Noun) -> Owned:
    assert isinstance(noun, Owned)
    return dataclasses.replace(noun, owner=noun.owner.removeprefix(_MARK))


def _is_marked(noun: Noun) -> bool:
    return isinstance(noun, Owned) and noun.owner.startswith(_MARK)


def _with(operation: Operation) -> Operation:
    """Return the operation for the tables that only this driver uses."""
    noun = _lend(operation.noun)
    if isinstance(operation, Change):
        return Change(noun, _lend(operation.old))
    return dataclasses.replace(operation, noun=noun)


def lent_among(types: Iterable[type[Noun]]) -> list[type[Noun]]:
    """Return the classes of ``LENT`` that these types include."""
    wanted = tuple(types)
    return [cls for cls in LENT if issubclass(cls, wanted)]
