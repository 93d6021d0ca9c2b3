"""The link and source address that a host uses for a remote address (inet_select_addr)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

from snnet.contract import Address, IPAddress, Path

from .fib import Hop
from .refusal import Refusal
from .state import State

_LOOPBACK = IPv4Address("127.0.0.1")
_LENGTH = 128
_LABELS = tuple(
    (IPv6Network(network), label)
    for network, label in (
        ("::ffff:0:0/96", 4), ("::/96", 3), ("2001::/32", 6), ("2001:10::/28", 7),
        ("2002::/16", 2), ("fc00::/7", 5), ("::/0", 1),
    )
)  # fmt: skip


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
        return Path(remote=remote, link="lo", source=_primary(state, remote))
    hop = state.fib.find(remote)
    if hop is None:
        return None
    if remote.version == 6:
        source = hop.source or source_on(state, hop.link, remote)
    else:
        source = hop.source or _preferred(state, hop, remote) or _chosen(state, hop)
    if source is None and remote.version == 6:
        # Falls back to the loopback address (ipv6_dev_get_saddr, net/ipv6/addrconf.c).
        source = IPv6Address("::1")
    return Path(remote=remote, link=hop.link, source=source) if source else None


def _primary(state: State, own: IPAddress) -> IPAddress:
    """Return the source of packets to an address of the host itself.

    It is that address, or, of a secondary one, the primary of its network (fib_add_ifaddr in
    net/ipv4/fib_frontend.c).
    """
    if own.version == 6:
        return own
    if own not in state.local:  # of 127.0.0.0/8, which is local as a whole
        return _LOOPBACK
    addresses = [one.address for one in state.addresses(state.local[own][0], 4)]
    network = next(one.network for one in addresses if one.ip == own)
    return next(one.ip for one in addresses if one.network == network)


def _preferred(state: State, hop: Hop, remote: IPAddress) -> IPAddress | None:
    """Return the preferred source of a connected route: the address that added it."""
    if not hop.connected:
        return None
    addresses = state.addresses(hop.link, remote.version)
    fitting = [noun.address for noun in addresses if remote in noun.address.network]
    return max(fitting, key=lambda address: address.network.prefixlen).ip if fitting else None


def _chosen(state: State, hop: Hop) -> IPAddress | None:
    """Return the source for a route without a preferred one.

    It is chosen once for the whole route (fib_info_update_nhc_saddr): it fits the gateway, or
    else is the link's first address.
    """
    if hop.gateway is None:
        addresses = state.addresses(hop.link, 4)
        return addresses[0].address.ip if addresses else _any_address(state, 4)
    return source_on(state, hop.link, hop.gateway)


def source_on(state: State, link: str, towards: IPAddress) -> IPAddress | None:
    """Return the source of packets that leave by the link.

    ``towards`` is the next hop for IPv4: an address of the link in its network, or else any
    (inet_select_addr).  For IPv6 it is the destination.
    """
    if isinstance(towards, IPv6Address):
        return _like(state, link, towards)
    addresses = state.addresses(link, towards.version)
    for noun in addresses:
        if towards in noun.address.network:
            return noun.address.ip
    return addresses[0].address.ip if addresses else _any_address(state, towards.version)


def _like(state: State, link: str, target: IPv6Address) -> IPAddress | None:
    """Return the address of the host that fits the IPv6 destination best.

    The rules of RFC 6724, 5, as ipv6_get_saddr_eval (net/ipv6/addrconf.c) orders them, but
    for temporary addresses.  Of equal ones it is the newest of the oldest link
    (ipv6_link_dev_addr puts an address before those that are there).
    """

    def rank(noun: Address) -> tuple[bool, int, bool, bool, bool, int]:
        ip = noun.address.ip
        assert isinstance(ip, IPv6Address)
        scope, least = _scope(ip), _scope(target)
        fit = -scope if scope >= least else scope - 128
        same = _LENGTH - (int(ip) ^ int(target)).bit_length()
        return (
            ip == target, fit, not noun.deprecated, noun.link == link,
            _label(ip) == _label(target), min(same, noun.address.network.prefixlen),
        )  # fmt: skip

    links = [link] if target.is_link_local or target.is_multicast else state.indexes.values()
    nouns = [
        noun
        for name in links
        for noun in reversed(state.addresses(name, 6))
        if not noun.address.ip.is_loopback
    ]
    return max(nouns, key=rank).address.ip if nouns else None


def _scope(address: IPv6Address) -> int:
    """The scope as a number: link-local, or global (RFC 4007, 4)."""
    return 2 if address.is_link_local else 14


def _label(address: IPv6Address) -> int:
    """The label of the policy table that Linux starts with (net/ipv6/addrlabel.c)."""
    return next(label for network, label in _LABELS if address in network)


def _any_address(state: State, version: int) -> IPAddress | None:
    for link in state.indexes.values():  # in order of creation, like the kernel
        if link != "lo" and (addresses := state.addresses(link, version)):
            return addresses[0].address.ip
    return None
