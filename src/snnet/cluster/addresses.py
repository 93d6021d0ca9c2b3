"""Which addresses of a network are free.

A commit decides who gets an address: it expects that there is no claim.  What is
remembered here only saves reading all claims for each VNIC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from snnet.contract import Conflict, Entry, IPAddress, IPNetwork, Reading
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import check_guests

from . import keys
from .claims import Claim, ip_claim
from .documents import Network, Vnic


class AddressPool:
    """The addresses of one network that are known to be taken, or that are reserved."""

    def __init__(
        self, network: Network, reading: Reading, reserved: Collection[Claim] = ()
    ) -> None:
        prefix = keys.addresses(network.tenant, network.name)
        self.network = network
        self._taken = {key[len(prefix) : -1] for key in reading.entries if key.startswith(prefix)}
        self._reserved = reserved
        self._next = {subnet: _hosts(subnet).start for subnet in network.subnet}

    def choose(self, wanted: Vnic) -> tuple[IPAddress, ...]:
        """The addresses of a VNIC: those asked for, and the lowest free ones for the rest."""
        networks = self.network.subnet
        given = {ip.version: ip for ip in check_guests(wanted.ip, networks)}
        return tuple(given.get(net.version) or self._free(net) for net in networks)

    def take(self, addresses: Iterable[IPAddress]) -> None:
        """Remember that a commit has given these out."""
        self._taken.update(map(str, addresses))

    def _free(self, subnet: IPNetwork) -> IPAddress:
        hosts = _hosts(subnet)
        base = subnet.network_address
        for offset in range(self._next[subnet], hosts.stop):
            address = base + offset
            if self._is_free(address):
                self._next[subnet] = offset
                return address
        raise Conflict(f"{self.network.title} has no free address in {subnet}")

    def _is_free(self, address: IPAddress) -> bool:
        claim = ip_claim(self.network.tenant, self.network.name, address)
        return str(address) not in self._taken and claim not in self._reserved


def holder(claim: Entry) -> str:
    """Who has a claimed address, as messages name it."""
    name = claim.document.get("vnic")
    return f"vnic {name!r}" if name else str(claim.document.get("managed_by"))


def _hosts(subnet: IPNetwork) -> range:
    """The offsets of addresses that guests can have: not the network's, not the gateway's."""
    last = subnet.num_addresses - 1
    return range(2, last + is_guest_address(subnet.network_address + last, subnet))
