"""The link and source address that a host uses for a remote address (inet_select_addr)."""

from __future__ import annotations

from ipaddress import IPv6Address

from snnet.contract import IPAddress, Path

from .fib import Hop
from .refusal import Refusal
from .state import State


class PathRules:
    """Refuses every change: a path is read-only."""

    def add(self, noun: Path) -> None:
        raise Refusal("EOPNOTSUPP", "a path is read-only: add a route instead")

    def change(self, noun: Path, old: Path) -> None:
        self.add(noun)

    def remove(self, noun: Path) -> None:
        self.add(noun)


def path_to(state: State, remote: IPAddress) -> Path | None:
    """Return the current path to the remote address, None without a route."""
    if remote in state.local or remote.is_loopback:
        return Path(remote=remote, link="lo", source=remote)
    hop = state.fib.find(remote)
    if hop is None:
        return None
    source = hop.source or _preferred(state, hop, remote) or _chosen(state, hop, remote)
    if source is None and remote.version == 6:
        # Falls back to the loopback address (ipv6_dev_get_saddr, net/ipv6/addrconf.c).
        source = IPv6Address("::1")
    return Path(remote=remote, link=hop.link, source=source) if source else None


def _preferred(state: State, hop: Hop, remote: IPAddress) -> IPAddress | None:
    """Return the preferred source of a connected route: the address that added it."""
    if not hop.connected:
        return None
    addresses = state.addresses(hop.link, remote.version)
    fitting = [noun.address for noun in addresses if remote in noun.address.network]
    return max(fitting, key=lambda address: address.network.prefixlen).ip if fitting else None


def _chosen(state: State, hop: Hop, remote: IPAddress) -> IPAddress | None:
    """Return the source for a route without a preferred one.

    It fits the gateway, or in IPv6 the remote address.  IPv4 chooses once for the whole
    route (fib_info_update_nhc_saddr): without a gateway, the link's first address.
    """
    if hop.gateway is None and remote.version == 4:
        addresses = state.addresses(hop.link, 4)
        return addresses[0].address.ip if addresses else _any_address(state, 4)
    return source_on(state, hop.link, hop.gateway or remote)


def source_on(state: State, link: str, towards: IPAddress) -> IPAddress | None:
    """Return an address of the link in the neighbour's network, or else any (inet_select_addr)."""
    addresses = state.addresses(link, towards.version)
    for noun in addresses:
        if towards in noun.address.network:
            return noun.address.ip
    return addresses[0].address.ip if addresses else _any_address(state, towards.version)


def _any_address(state: State, version: int) -> IPAddress | None:
    for link in state.indexes.values():  # in order of creation, like the kernel
        if link != "lo" and (addresses := state.addresses(link, version)):
            return addresses[0].address.ip
    return None
