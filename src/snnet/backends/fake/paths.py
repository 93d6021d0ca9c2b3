"""Which way, and with which address, a host reaches another (inet_select_addr)."""

from __future__ import annotations

from ipaddress import IPv6Address

from snnet.contract import IPAddress, Path

from .fib import Hop
from .refusal import Refusal
from .state import State


class PathRules:
    """A path is found, and never made."""

    def add(self, noun: Path) -> None:
        raise Refusal("EOPNOTSUPP", "a path is read, never made: add a route")

    def change(self, noun: Path, old: Path) -> None:
        self.add(noun)

    def remove(self, noun: Path) -> None:
        self.add(noun)


def path_to(state: State, remote: IPAddress) -> Path | None:
    """The way to the remote address as it is now; None where there is none."""
    if remote in state.local or remote.is_loopback:
        return Path(remote=remote, link="lo", source=remote)
    hop = state.fib.find(remote)
    if hop is None:
        return None
    source = _preferred(state, hop, remote) or _chosen(state, hop, remote)
    if source is None and remote.version == 6:
        # The loopback's before none (ipv6_dev_get_saddr, net/ipv6/addrconf.c).
        source = IPv6Address("::1")
    return Path(remote=remote, link=hop.link, source=source) if source else None


def _preferred(state: State, hop: Hop, remote: IPAddress) -> IPAddress | None:
    """The address that a connected route came with, which is the source it prefers."""
    if not hop.connected:
        return None
    addresses = state.addresses(hop.link, remote.version)
    fitting = [noun.address for noun in addresses if remote in noun.address.network]
    return max(fitting, key=lambda address: address.network.prefixlen).ip if fitting else None


def _chosen(state: State, hop: Hop, remote: IPAddress) -> IPAddress | None:
    """The address for a route that names none: by the gateway, and in IPv6 by the remote.

    IPv4 chooses once for the whole route (fib_info_update_nhc_saddr), which without a
    gateway gives the link's first address.
    """
    if hop.gateway is None and remote.version == 4:
        addresses = state.addresses(hop.link, 4)
        return addresses[0].address.ip if addresses else _any_address(state, 4)
    return source_on(state, hop.link, hop.gateway or remote)


def source_on(state: State, link: str, towards: IPAddress) -> IPAddress | None:
    """An address of the link in the neighbour's network, else any other (inet_select_addr)."""
    addresses = state.addresses(link, towards.version)
    for noun in addresses:
        if towards in noun.address.network:
            return noun.address.ip
    return addresses[0].address.ip if addresses else _any_address(state, towards.version)


def _any_address(state: State, version: int) -> IPAddress | None:
    for link in state.indexes.values():  # in the order they were made, as the kernel has them
        if link != "lo" and (addresses := state.addresses(link, version)):
            return addresses[0].address.ip
    return None
