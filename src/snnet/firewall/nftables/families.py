"""IPv4 and IPv6 in nft: the words and the types in which they differ.

Everything else of this package is written once for both.  ``each`` repeats a template for
each family; ``{s}`` stands for the end of names of sets, maps and chains, and ``{ip}``,
``{addr}`` and ``{proto}`` for the words of nft.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, collapse_addresses

from snnet.contract import IPAddress, IPNetwork

from .types import IPV4, IPV6, NET4, NET6, RANGE4, RANGE6, Type


@dataclass(frozen=True, slots=True)
class Family:
    """One of the families."""

    s: str
    ip: str
    proto: str
    address: Type
    network: Type
    """A network in an interval set.  The kernel identifies it by its first address."""
    range: Type
    """A network as a part of a key."""
    any: IPAddress
    """In the key of a forward: any address of the device."""

    def fill(self, text: str) -> str:
        """Return the template for this family."""
        words = {"{s}": self.s, "{ip}": self.ip, "{addr}": f"{self.proto}_addr"}
        for place, word in (words | {"{proto}": self.proto}).items():
            text = text.replace(place, word)
        return text


V4 = Family("", "ip", "ipv4", IPV4, NET4, RANGE4, IPv4Address(0))
V6 = Family("6", "ip6", "ipv6", IPV6, NET6, RANGE6, IPv6Address(0))
FAMILIES = (V4, V6)


def family_of(value: IPAddress | IPNetwork) -> Family:
    """Return the family of an address or network."""
    return V4 if value.version == 4 else V6


def collapsed(networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    """Return networks without overlaps that have the same addresses."""
    given = list(networks)
    return [
        network
        for family in FAMILIES
        for network in collapse_addresses(
            one
            for one in given
            if family_of(one) is family  # type: ignore[type-var]
        )
    ]


def each(text: str) -> str:
    """Return the text; lines with places to fill stand there once for each family."""
    lines: list[str] = []
    for line in text.splitlines():
        versions = [family.fill(line) for family in FAMILIES]
        lines += dict.fromkeys(versions)
    return "\n".join(lines)
