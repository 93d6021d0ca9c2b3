"""Addresses, and the connected routes that they add and remove.

The IPv4 rules are from net/ipv4/devinet.c and fib_frontend.c, the IPv6 rules from
net/ipv6/addrconf.c.  Link-local addresses that the kernel adds by itself are omitted,
here and in every snapshot.
"""

from __future__ import annotations

from dataclasses import replace

from snnet.contract import Address, IPAddress, IPNetwork, ProxyNeighbour, Route
from snnet.contract.addresses import IPV6_MTU_MIN
from snnet.contract.network import SECONDARY

from .fib import Hop
from .refusal import Refusal
from .state import State
from .sysctls import ipv6_is_disabled


class AddressRules:
    """Add and remove addresses; an address cannot be changed."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Address) -> None:
        link = self._state.link(noun.link)
        if link is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        if noun.address.version == 4:
            self._check_ipv4(noun)
        else:
            self._check_ipv6(noun, link.mtu or 0)
        secondary = self._is_secondary(noun)
        flags = tuple(flag for flag in noun.flags if flag != SECONDARY)
        self._state.put(replace(noun, flags=(SECONDARY, *flags) if secondary else flags))
        self._state.local.setdefault(noun.address.ip, []).append(noun.link)
        sync_connected(self._state, noun.link)

    def change(self, noun: Address, old: Address) -> None:
        raise Refusal("EOPNOTSUPP", "an address cannot be changed in place")

    def remove(self, noun: Address) -> None:
        state = self._state
        if state.link(noun.link) is None:
            raise Refusal("ENODEV", f"no link {noun.link}")
        found = state.nouns.get(noun.key)
        if not isinstance(found, Address):
            raise Refusal("EADDRNOTAVAIL", "address not found")
        for address in (found, *self._secondaries(found)):
            _drop(state, address)
        sync_connected(state, noun.link)
        if noun.address.version == 4 and not state.addresses(noun.link, 4):
            # fib_disable_ip: without an address, the link has no IPv4.
            drop_routes(state, noun.link, 4)
            _drop_all_neighbours(state, noun.link, 4)

    def _check_ipv4(self, noun: Address) -> None:
        if noun.address.ip.is_unspecified:
            raise Refusal("EINVAL", "the unspecified address cannot be assigned")
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST", "address already assigned")

    def _check_ipv6(self, noun: Address, mtu: int) -> None:
        ip = noun.address.ip
        if mtu < IPV6_MTU_MIN:
            raise Refusal("EINVAL", f"no IPv6 on a link whose MTU is below {IPV6_MTU_MIN}")
        if ipv6_is_disabled(self._state, noun.link):  # addrconf_add_dev
            raise Refusal("EACCES", "IPv6 is disabled on this link")
        if ip.is_multicast:
            raise Refusal("EADDRNOTAVAIL", "a multicast address cannot be assigned")
        if ip.is_unspecified or (ip.is_loopback and noun.link != "lo"):
            raise Refusal("EADDRNOTAVAIL", "cannot be assigned on this link")
        # An IPv6 address is identified without its prefix.
        if noun.link in self._state.local.get(ip, ()):
            raise Refusal("EEXIST", "address already assigned")

    def _is_secondary(self, noun: Address) -> bool:
        """Return whether the link has an IPv4 address of this subnet already (inet_insert_ifa)."""
        return noun.address.version == 4 and any(
            other.address.network == noun.address.network
            for other in self._state.addresses(noun.link, 4)
        )

    def _secondaries(self, address: Address) -> list[Address]:
        """Return the IPv4 addresses that are removed with this one.

        The first address of a subnet on a link is the primary.  Removing it removes the
        later ones too (``promote_secondaries`` is 0 by default).
        """
        if address.address.version == 6:
            return []
        same = [
            other
            for other in self._state.addresses(address.link, 4)
            if other.address.network == address.address.network
        ]
        return same[1:] if same[0] == address else []


def sync_connected(state: State, link: str) -> None:
    """Update the connected routes of a link from its addresses and whether it is up."""
    wanted: set[IPNetwork] = set()
    if state.is_up(link) and link != "lo":  # routes of lo are in the local table
        wanted = {
            noun.address.network
            for noun in state.on_link(link)
            if isinstance(noun, Address) and _brings_route(noun)
        }
    current = state.connected.get(link, set())
    for network in current - wanted:
        state.fib.discard(network, Hop(link, connected=True))
    for network in wanted - current:
        state.fib.add(network, Hop(link, connected=True))
    if wanted:
        state.connected[link] = wanted
    else:
        state.connected.pop(link, None)


def _brings_route(noun: Address) -> bool:
    """Return whether an address has a connected route; IPv4 /32 has none (fib_add_ifaddr)."""
    return noun.address.version == 6 or noun.address.network.prefixlen < 32


def drop_routes(state: State, link: str, version: int) -> None:
    for route in state.routes(link, version):
        state.drop_route(route)


def drop_neighbours(state: State, link: str, version: int) -> None:
    """Remove all neighbours, including permanent ones (neigh_changeaddr)."""
    for neighbour in state.neighbours(link):
        if neighbour.address.version == version:
            state.drop(neighbour)


def _drop_all_neighbours(state: State, link: str, version: int) -> None:
    """Remove neighbours and proxy entries (neigh_ifdown, pneigh_ifdown_and_unlock)."""
    drop_neighbours(state, link, version)
    for noun in state.on_link(link):
        if isinstance(noun, ProxyNeighbour) and noun.address.version == version:
            state.drop(noun)


def drop_ipv6(state: State, link: str) -> None:
    """Remove everything of IPv6 from the link (``keep_addr_on_down`` is 0)."""
    if link not in state.held and link not in state.connected:  # as every new link
        return
    for address in state.addresses(link, 6):
        _drop(state, address)
    drop_routes(state, link, 6)
    _drop_all_neighbours(state, link, 6)
    sync_connected(state, link)


def link_went_down(state: State, link: str) -> None:
    drop_routes(state, link, 4)
    _drop_all_neighbours(state, link, 4)
    drop_ipv6(state, link)


def forget_link(state: State, link: str) -> None:
    """Remove everything that belongs to a link."""
    for noun in state.on_link(link):
        if isinstance(noun, Address):
            _drop(state, noun)
        elif isinstance(noun, Route):
            state.drop_route(noun)
        else:
            state.drop(noun)
    sync_connected(state, link)


def is_broadcast(state: State, address: IPAddress) -> bool:
    """Return whether this is a broadcast address of a connected IPv4 network, or all ones."""
    if address.version == 6:
        return False
    return int(address) == 0xFFFFFFFF or any(
        hop.connected and _is_last(state, hop.link, address) for hop in state.fib.covering(address)
    )


def _is_last(state: State, link: str, address: IPAddress) -> bool:
    return any(
        noun.address.network.prefixlen < 31 and noun.address.network.broadcast_address == address
        for noun in state.addresses(link, 4)
    )


def _drop(state: State, address: Address) -> None:
    state.drop(address)
    links = state.local[address.address.ip]
    links.remove(address.link)
    if not links:
        del state.local[address.address.ip]
