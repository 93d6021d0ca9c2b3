"""DHCP scopes: one subnet served on one bridge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar

from .noun import Key, Owned

GENERATED_PREFIX_MIN = 20
"""Subnets of this prefix length or longer get an entry for every address."""


def mac_of(address: IPv4Address) -> str:
    """The MAC a guest with this address has by default: 02:00 and its four bytes."""
    return "02:00:" + address.packed.hex(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpEntry:
    """One static lease."""

    mac: str
    address: IPv4Address
    hostname: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpScope(Owned):
    """DHCP and DNS for one subnet on the bridge ``link``.

    The gateway (its first host address) is the server, the router and the
    name server.  ``reserved`` addresses after it are never leased.  MACs
    without an entry get no answer.  ``mtu`` is option 26 (RFC 2132, 5.1).
    Not ``running``: the scope is known, with its entries, and nobody serves it.
    """

    rank: ClassVar[int] = 70
    changeable: ClassVar[frozenset[str]] = frozenset(
        {"entries", "mtu", "domain", "reserved", "running"}
    )

    link: str
    subnet: IPv4Network
    mtu: int
    reserved: int = 0
    domain: str | None = None
    entries: tuple[DhcpEntry, ...] = ()
    running: bool = True

    @property
    def key(self) -> Key:
        return ("dhcp", self.link)

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet.network_address + 1

    def leases(self) -> Iterator[DhcpEntry]:
        """Every static lease: the added entries, then the generated ones.

        An added entry takes its address and its MAC out of the generated ones.
        """
        yield from self.entries
        if self.subnet.prefixlen < GENERATED_PREFIX_MIN:
            return
        addresses = {entry.address for entry in self.entries}
        macs = {entry.mac for entry in self.entries}
        first = int(self.gateway) + 1 + self.reserved
        for number in range(first, int(self.subnet.broadcast_address)):
            address = IPv4Address(number)
            if address not in addresses and (mac := mac_of(address)) not in macs:
                yield DhcpEntry(mac=mac, address=address)

    def __str__(self) -> str:
        extra = f" domain {self.domain}" if self.domain else ""
        if self.reserved:
            extra += f" reserved {self.reserved}"
        if self.entries:
            extra += f" entries {len(self.entries)}"
        if not self.running:
            extra += " stopped"
        return f"dhcp {self.subnet} mtu {self.mtu}{extra} dev {self.link}"
