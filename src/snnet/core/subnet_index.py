"""An index of a tenant's subnets, whose networks do not overlap."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator

from snnet.contract import IPAddress, IPNetwork

from .addressing import Networks


class SubnetIndex:
    """Subnets by address, key and bridge: the cost does not grow with their number.

    Their networks never overlap, so their order is that of their addresses, and what an
    address or another network meets is found by bisection.
    """

    def __init__(self) -> None:
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._at: dict[tuple[int, int], tuple[IPNetwork, Networks]] = {}
        self._keys: dict[int, Networks] = {}
        self._bridges: dict[str, Networks] = {}

    def add(self, networks: Networks, key: int, bridge: str) -> None:
        """Add a subnet, whose networks overlap no others."""
        for network in networks:
            start = int(network.network_address)
            insort(self._starts[network.version], start)
            self._at[network.version, start] = network, networks
        self._keys[key] = self._bridges[bridge] = networks

    def remove(self, networks: Networks, key: int, bridge: str) -> None:
        """Remove a subnet that was added like this."""
        for network in networks:
            start = int(network.network_address)
            self._starts[network.version].remove(start)
            del self._at[network.version, start]
        del self._keys[key], self._bridges[bridge]

    def of(self, address: IPAddress) -> Networks | None:
        """Return the subnet that contains the address, or None."""
        found = self._last(address)
        return found[1] if found is not None and address in found[0] else None

    def on(self, bridge: str) -> Networks | None:
        """Return the subnet with this bridge, or None."""
        return self._bridges.get(bridge)

    def near(self, networks: Networks, key: int) -> Iterator[Networks]:
        """Yield subnets that overlap one of the networks or have the key, each once.

        If subnets overlap a network, one of them is among those.
        """
        near: dict[Networks, None] = {}
        for network in networks:
            found = self._last(network.broadcast_address)
            if found is not None and found[0].overlaps(network):
                near[found[1]] = None
        if key in self._keys:
            near[self._keys[key]] = None
        yield from near

    def __copy__(self) -> SubnetIndex:
        """Return a copy that does not change with this index."""
        other = SubnetIndex()
        other._starts = {version: list(starts) for version, starts in self._starts.items()}
        other._at, other._keys = dict(self._at), dict(self._keys)
        other._bridges = dict(self._bridges)
        return other

    def _last(self, address: IPAddress) -> tuple[IPNetwork, Networks] | None:
        """The last network of the address's family that begins there or before, with its subnet."""
        version = address.version
        starts = self._starts[version]
        place = bisect_right(starts, int(address))
        return self._at[version, starts[place - 1]] if place else None
