"""DHCP scopes: one subnet served on one bridge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import ClassVar

from .addresses import (
    IPV6_MTU_MIN,
    MTU_MAX,
    MTU_MIN,
    gateway_of,
    ipv4_number,
    is_address,
    is_host_name,
    is_mac,
    mac_of,
    of_family,
)
from .errors import InvalidRequest, shown
from .frozen import frozen
from .noun import IPAddress, IPNetwork, Key, Noun, Owned

GENERATED_PREFIX_MIN = 20
"""IPv4 subnets of this prefix length or longer get an entry for every address."""

PREFIXES = {4: (16, 29), 6: (48, 126)}
"""By IP version, the shortest and the longest prefix of a subnet."""


@frozen()
class DhcpEntry:
    """One static lease.  A guest with an address of each family has two."""

    mac: str
    address: IPAddress
    hostname: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """Plain data for JSON."""
        return {"mac": self.mac, "address": str(self.address), "hostname": self.hostname}

    def __str__(self) -> str:
        name = f" {self.hostname}" if self.hostname else ""
        return f"{self.address} for {self.mac}{name}"


@frozen()
class DhcpScope(Owned):
    """DHCP and DNS for one subnet on the bridge ``link``.

    ``subnets`` are its networks, at most one of each family, IPv4 first.  In each the gateway
    (the first host address) is the server, the router and the name server.  The ``reserved``
    addresses after it are never leased.  A MAC without an entry gets no answer.  ``mtu`` is
    option 26 of DHCP (RFC 2132, 5.1), and in router advertisements (RFC 4861, 4.6.4).  With
    ``running`` False the scope and its entries are kept, and no server runs for it.  With
    ``dns`` False there is no name server, and guests are not told of one.

    For an IPv6 network, router advertisements name the host as the default router and have
    guests ask by DHCPv6 (flags M and O, RFC 4861, 4.2); no guest makes an address itself.
    """

    rank: ClassVar[int] = 70
    changeable: ClassVar[frozenset[str]] = frozenset(
        {"entries", "mtu", "domain", "reserved", "running", "dns", "faults"}
    )

    link: str
    subnets: tuple[IPNetwork, ...]
    mtu: int
    reserved: int = 0
    domain: str | None = None
    entries: tuple[DhcpEntry, ...] = ()
    running: bool = True
    dns: bool = True
    faults: tuple[str, ...] = ()
    """What somebody changed of a server that runs, such as "file hosts"; a wanted scope has
    none.  Found by ``Driver.snapshot`` only."""

    def make_key(self) -> Key:
        return ("dhcp", self.link)

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        return tuple(gateway_of(subnet) for subnet in self.subnets)

    def leases(self) -> Iterator[DhcpEntry]:
        """Yield every static lease: the added entries, then the generated ones.

        An added entry replaces the generated ones with its address or its MAC.  Only
        IPv4 networks have generated entries: a /64 cannot be listed.
        """
        yield from self.entries
        for address in map(IPv4Address, self.generated()):
            yield DhcpEntry(mac=mac_of(address), address=address)

    def generated(self) -> Iterable[int]:
        """The addresses of the generated leases as numbers, of which a /20 has thousands.

        Each is leased to the default MAC of its address.
        """
        subnet = of_family(self.subnets, 4)
        if subnet is None or subnet.prefixlen < GENERATED_PREFIX_MIN:
            return ()
        added = [entry for entry in self.entries if entry.address.version == 4]
        taken = {int(entry.address) for entry in added}
        taken |= {number for entry in added if (number := ipv4_number(entry.mac)) is not None}
        first = int(subnet.network_address)
        numbers = range(first + 2 + self.reserved, first + subnet.num_addresses - 1)
        return [number for number in numbers if number not in taken] if taken else numbers

    def __str__(self) -> str:
        extra = f" domain {self.domain}" if self.domain else ""
        if self.reserved:
            extra += f" reserved {self.reserved}"
        if self.entries:
            extra += f" entries {len(self.entries)}"
        if not self.dns:
            extra += " without dns"
        if not self.running:
            extra += " stopped"
        extra += f" ({', '.join(self.faults)} changed)" if self.faults else ""
        return f"dhcp {' '.join(map(str, self.subnets))} mtu {self.mtu}{extra} dev {self.link}"


@frozen()
class DhcpLease(Noun):
    """A lease that a guest holds.  Drivers only read it; ``snapshot`` has it when asked for.

    ``expires`` is Unix time in seconds, None for a lease without an end.
    """

    link: str
    address: IPAddress
    mac: str
    hostname: str | None = None
    expires: float | None = None

    def make_key(self) -> Key:
        return ("lease", self.link, str(self.address))

    def to_dict(self) -> dict[str, str | float | None]:
        """Plain data for JSON."""
        return {
            "address": str(self.address),
            "mac": self.mac,
            "hostname": self.hostname,
            "expires": self.expires,
        }

    def __str__(self) -> str:
        return f"lease {self.address} mac {self.mac} dev {self.link}"


def check_scope(scope: DhcpScope, good: DhcpScope | None = None) -> None:
    """Raise ``InvalidRequest``, with the field, for a scope that no DHCP server can serve.

    The first entries, as far as they are those of a ``good`` scope, are not checked again.
    """
    versions = [subnet.version for subnet in scope.subnets]
    if not versions or versions != sorted(set(versions)):
        raise InvalidRequest("give one network, or one of each family", field="subnets")
    for subnet in scope.subnets:
        shortest, longest = PREFIXES[subnet.version]
        if not shortest <= subnet.prefixlen <= longest:
            raise InvalidRequest(f"{subnet} is not a /{shortest} to /{longest}", field="subnets")
    lowest = IPV6_MTU_MIN if 6 in versions else MTU_MIN
    if not lowest <= scope.mtu <= MTU_MAX:
        raise InvalidRequest(f"{scope.mtu} is not between {lowest} and {MTU_MAX}", field="mtu")
    if scope.reserved < 0:
        raise InvalidRequest(f"{scope.reserved} is negative", field="reserved")
    if scope.domain is not None and not is_host_name(scope.domain):
        raise InvalidRequest(f"{shown(scope.domain)} is not a domain name", field="domain")
    entries = scope.entries
    for entry in new_entries(scope, good):
        _check_entry(entry, scope)
    macs = {(entry.mac.lower(), type(entry.address)) for entry in entries}
    numbers = {(int(entry.address), type(entry.address)) for entry in entries}
    if len(macs) == len(numbers) == len(entries):
        return
    for field in ("mac", "address"):
        seen = Counter(
            (str(getattr(entry, field)).lower(), entry.address.version) for entry in scope.entries
        )
        for (value, _), times in seen.most_common(1):
            if times > 1:
                raise InvalidRequest(f"{field} {value} is in {times} entries", field="entries")


def new_entries(scope: DhcpScope, good: DhcpScope | None) -> Sequence[DhcpEntry]:
    """The entries after those of a ``good`` scope of the same subnets, which come first."""
    known = good.entries if good and good.subnets == scope.subnets else ()
    entries = scope.entries
    return entries[len(known) :] if entries[: len(known)] == known else entries


def _check_entry(entry: DhcpEntry, scope: DhcpScope) -> None:
    if not is_mac(entry.mac.lower()):
        raise InvalidRequest(f"{shown(entry.mac)} is not a MAC address", field="entries")
    subnet = of_family(scope.subnets, entry.address.version)
    if subnet is None or not is_guest_address(entry.address, subnet):
        networks = " ".join(map(str, scope.subnets))
        raise InvalidRequest(
            f"{entry.address} is not an address for a guest in {networks}", field="entries"
        )
    name = entry.hostname
    if name is not None and (not is_host_name(name) or is_address(name)):
        raise InvalidRequest(f"{shown(name)} is not a host name", field="entries")


def is_guest_address(address: IPAddress, subnet: IPNetwork) -> bool:
    """Whether a guest of the subnet can have the address.

    It cannot have the first one (in IPv6 that of all routers, RFC 4291, 2.6.1), the
    gateway's, and in IPv4 the last one, which is for broadcasts.
    """
    version, length = subnet.version, subnet.prefixlen
    if address.version != version:
        return False
    offset = int(address) - int(subnet.network_address)
    last = (1 << 32 - length) - 2 if version == 4 else (1 << 128 - length) - 1
    return 2 <= offset <= last
