"""Which addresses of a network are free.

A commit decides who gets an address: it expects that there is no claim.  What is
remembered here only saves reading all claims for each VNIC.
"""

from __future__ import annotations

from collections.abc import Collection

from snnet.contract import Conflict, Entry, IPAddress, IPNetwork, Reading
from snnet.contract.addresses import mac_of
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import check_guests

from . import keys
from .claims import Claim, ip_claim, mac_claim
from .documents import Network, Vnic


class AddressPool:
    """The addresses and MACs of one network that are known to be taken, or that are reserved."""

    def __init__(
        self, network: Network, reading: Reading, reserved: Collection[Claim] = ()
    ) -> None:
        prefix = keys.addresses(network.tenant, network.name)
        claims = [(key, one) for key, one in reading.entries.items() if key.startswith(prefix)]
        self.network = network
        self.epoch = epoch(reading, network)
        """Since which revision no VNIC with a MAC of its own was created."""
        self._taken = {key[len(prefix) : -1] for key, _ in claims}
        self._macs = {str(one.document["mac"]): one for _, one in claims if "mac" in one.document}
        self._reserved = reserved
        self._next = {subnet: _hosts(subnet).start for subnet in network.subnet}

    @staticmethod
    def reads(network: Network) -> list[str]:
        """What it must be made of, all of one moment."""
        place = network.tenant, network.name
        return [keys.addresses(*place), keys.macs(*place)]

    def choose(self, wanted: Vnic) -> tuple[IPAddress, ...]:
        """The addresses of a VNIC: those asked for, and the lowest free ones for the rest."""
        networks = self.network.subnet
        given = {ip.version: ip for ip in check_guests(wanted.ip, networks)}
        return tuple(
            given.get(net.version) or self._free(net, wanted.mac is None and net is networks[0])
            for net in networks
        )

    def rival(self, made: Vnic) -> Entry | None:
        """The claim of another VNIC that has the MAC, as far as is known."""
        claim = self._macs.get(made.guest_mac)
        return claim if claim is not None and is_rival(made, claim) else None

    def has(self, address: IPAddress) -> bool:
        """Whether an address is known to be taken."""
        return str(address) in self._taken

    def take(self, made: Vnic) -> None:
        """Remember that a commit has given these out."""
        self._taken.update(map(str, made.ip))

    def _free(self, subnet: IPNetwork, gives_mac: bool) -> IPAddress:
        """The lowest free address, with ``gives_mac`` the lowest whose MAC is free, too."""
        place = self.network.tenant, self.network.name
        hosts = _hosts(subnet)
        base = subnet.network_address
        lowest: int | None = None
        for offset in range(self._next[subnet], hosts.stop):
            address = base + offset
            if self.has(address) or ip_claim(*place, address) in self._reserved:
                continue
            lowest = offset if lowest is None else lowest
            mac = mac_of(address)
            if gives_mac and (mac in self._macs or mac_claim(*place, mac) in self._reserved):
                continue
            self._next[subnet] = lowest
            return address
        raise Conflict(f"{self.network.title} has no free address in {subnet}")


def epoch(reading: Reading, network: Network) -> int:
    """When the last VNIC of the network with a MAC of its own was created, as it was read."""
    entry = reading.entries.get(keys.macs(network.tenant, network.name))
    return entry.revision if entry else 0


def is_rival(made: Vnic, claim: Entry) -> bool:
    """Whether the claim of an address has the MAC of a VNIC, and is another one's.

    Whoever has an address of the VNIC itself is told of by that address.
    """
    own = {keys.address(made.tenant, made.network, ip) for ip in made.ip}
    document = claim.document
    return (
        document.get("mac") == made.guest_mac
        and document.get("vnic") != made.name
        and claim.key not in own
    )


def mac_taken(made: Vnic, claim: Entry) -> Conflict:
    """The error for a VNIC whose MAC another one has."""
    if made.guest_mac != mac_of(made.ip[0]):
        return Conflict(f"MAC {made.guest_mac} belongs to {holder(claim)}: choose another MAC")
    return Conflict(
        f"MAC {made.guest_mac}, that of {made.ip[0]}, belongs to {holder(claim)}: choose another "
        "address, or another MAC"
    )


def holder(claim: Entry) -> str:
    """Who has a claimed address, as messages name it."""
    name = claim.document.get("vnic")
    return f"vnic {name!r}" if name else str(claim.document.get("managed_by"))


def _hosts(subnet: IPNetwork) -> range:
    """The offsets of addresses that guests can have: not the network's, not the gateway's."""
    last = subnet.num_addresses - 1
    return range(2, last + is_guest_address(subnet.network_address + last, subnet))
