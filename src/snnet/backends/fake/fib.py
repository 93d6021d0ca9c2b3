"""The forwarding information base: routes by longest prefix."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import NamedTuple

from snnet.contract import IPAddress, IPNetwork


class Hop(NamedTuple):
    """A next hop; ``connected`` if the route comes from an address (proto kernel).

    ``source`` is the preferred source address of a route that was found; ``refuses`` says why
    its packets go nowhere ("blackhole").
    """

    link: str
    gateway: IPAddress | None = None
    connected: bool = False
    source: IPAddress | None = None
    refuses: str = ""


class Fib:
    """Routes of the main table, IPv4 and IPv6.  A look-up probes once per prefix length."""

    def __init__(self) -> None:
        self._hops: dict[tuple[int, int, int], list[Hop]] = {}
        # Negative prefix lengths in use, by IP version: ascending order has the longest first.
        self._lengths: dict[int, list[int]] = {4: [], 6: []}
        self._users: dict[tuple[int, int], int] = {}

    def add(self, network: IPNetwork, hop: Hop) -> None:
        version, length = network.version, network.prefixlen
        hops = self._hops.setdefault((version, length, int(network.network_address)), [])
        if hop.connected and version == 6:  # preferred by metric, 256 against 1024
            hops.insert(sum(other.connected for other in hops), hop)
        else:
            hops.append(hop)
        users = self._users.get((version, length), 0)
        if not users:
            insort(self._lengths[version], -length)
        self._users[version, length] = users + 1

    def discard(self, network: IPNetwork, hop: Hop) -> None:
        version, length = network.version, network.prefixlen
        key = (version, length, int(network.network_address))
        hops = self._hops.get(key, [])
        if hop not in hops:
            return
        hops.remove(hop)
        if not hops:
            del self._hops[key]
        self._users[version, length] -= 1
        if not self._users[version, length]:
            self._lengths[version].remove(-length)

    def exact(self, network: IPNetwork) -> list[Hop]:
        """Return the hops of exactly this destination."""
        key = (network.version, network.prefixlen, int(network.network_address))
        return self._hops.get(key, [])

    def covering(self, address: IPAddress) -> Iterator[Hop]:
        """Yield each hop whose destination contains the address, longest prefix first."""
        number, bits = int(address), address.max_prefixlen
        for negative in self._lengths[address.version]:
            shift = bits + negative
            yield from self._hops.get((address.version, -negative, number >> shift << shift), ())

    def closest(self, address: IPAddress) -> list[Hop]:
        """Return the hops of the longest prefix with the address, ignoring default routes."""
        number, bits = int(address), address.max_prefixlen
        for negative in self._lengths[address.version]:
            shift = bits + negative
            hops = self._hops.get((address.version, -negative, number >> shift << shift))
            if hops and negative:
                return hops
        return []

    def find(self, address: IPAddress) -> Hop | None:
        """Return the hop that the kernel uses for the address, None without a route."""
        return next(self.covering(address), None)
