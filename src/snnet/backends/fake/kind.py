"""The kernel's rules for one kind of link: what the modules of ``kinds`` are made of.

Measured on Linux 6.1 and 6.18; the source of each limit stands beside it.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from snnet.contract import IPAddress, Link, Tunnel
from snnet.contract.addresses import MTU_MAX, MTU_MIN

from .refusal import Refusal
from .state import State

ETH_DATA_LEN = 1500  # linux/if_ether.h
ETH_HEADER = 14

L = TypeVar("L", bound=Link)
T = TypeVar("T", bound=Tunnel)


class LinkKind(Generic[L]):
    """Rules that a kind has of its own; those here are what most kinds have."""

    noun: ClassVar[type[Link]]

    def check(self, link: L) -> None:
        """Refuse what no link of this kind can have."""

    def mtu_max(self, state: State, link: L) -> int:
        """The largest MTU a link like this may be given."""
        return MTU_MAX

    def default_mtu(self, state: State, link: L) -> int:
        """The MTU of a new link that was given none."""
        return ETH_DATA_LEN

    def fit_mtu(self, state: State, link: L) -> int | None:
        """The MTU a new link gets for the one asked for; ``None`` stays ``None``."""
        return link.mtu

    def check_mtu(self, state: State, link: L) -> None:
        """Refuse an MTU the kind of link does not take."""
        mtu = link.mtu
        if mtu is None:
            return
        if mtu < MTU_MIN and link.kind != "loopback":
            raise Refusal("EINVAL", f"mtu less than device minimum {MTU_MIN}")
        if mtu > (maximum := self.mtu_max(state, link)):
            raise Refusal("EINVAL", f"mtu greater than device maximum {maximum}")


class TunnelKind(LinkKind[T]):
    """Rules of tunnels; their key, their header and their identity are the noun's."""

    def check(self, link: T) -> None:
        """Refuse keys, ports and addresses no tunnel of this kind can have."""
        if not 0 <= link.wire_key < 2**link.key_bits:
            raise Refusal("EINVAL", f"a {link.key_field} has {link.key_bits} bits")
        if not 0 <= link.ttl < 2**8:
            raise Refusal("EINVAL", "a TTL has 8 bits")
        if link.over_udp and not 0 < link.wire_port < 2**16:
            raise Refusal("EINVAL", "a UDP port has 16 bits")
        if link.unmakeable:
            raise Refusal("EOPNOTSUPP", link.unmakeable)


def underlay_mtu(state: State, remote: IPAddress) -> int:
    """The MTU of the link by which the host reaches an address."""
    hop = state.fib.find(remote)
    name = "lo" if remote in state.local else hop.link if hop else None
    lower = state.link(name) if name else None
    return min((lower.mtu if lower else None) or ETH_DATA_LEN, MTU_MAX)
