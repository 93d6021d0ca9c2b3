"""Which addresses of a network are free.

A commit decides who gets an address: it expects that there is no claim.  What is
remembered here only saves reading all claims for each VNIC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnet.contract import Conflict, InvalidRequest, IPAddress, IPNetwork, Reading
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import check_guest

from . import keys
from .documents import Network, Vnic


class AddressPool:
    """The addresses of one network that are known to be taken."""

    def __init__(self, network: Network, reading: Reading) -> None:
        prefix = keys.addresses(network.tenant, network.name)
        self.network = network
        self._taken = {key[len(prefix) : -1] for key in reading.entries if key.startswith(prefix)}
        self._next = {subnet: _hosts(subnet).start for subnet in network.subnet}

    def choose(self, wanted: Vnic) -> tuple[IPAddress, ...]:
        """The addresses of a VNIC: those asked for, and the lowest free ones for the rest."""
        given = _by_family(wanted.ip, self.network.subnet)
        return tuple(
            given[subnet] if subnet in given else self._free(subnet)
            for subnet in self.network.subnet
        )

    def take(self, addresses: Iterable[IPAddress]) -> None:
        """Remember that a commit has given these out."""
        self._taken.update(map(str, addresses))

    def _free(self, subnet: IPNetwork) -> IPAddress:
        hosts = _hosts(subnet)
        base = subnet.network_address
        for offset in range(self._next[subnet], hosts.stop):
            address = base + offset
            if str(address) not in self._taken:
                self._next[subnet] = offset
                return address
        raise Conflict(f"{self.network.title} has no free address in {subnet}")


def _hosts(subnet: IPNetwork) -> range:
    """The offsets of addresses that guests can have: not the network's, not the gateway's."""
    last = subnet.num_addresses - 1
    return range(2, last + is_guest_address(subnet.network_address + last, subnet))


def _by_family(
    addresses: Sequence[IPAddress], subnets: Sequence[IPNetwork]
) -> dict[IPNetwork, IPAddress]:
    found: dict[IPNetwork, IPAddress] = {}
    for address in addresses:
        subnet = next((item for item in subnets if item.version == address.version), None)
        if subnet is None:
            shown = ", ".join(map(str, subnets))
            raise InvalidRequest(f"{address} is outside {shown}", field="ip")
        found[subnet] = check_guest(address, (subnet,))
    return found
