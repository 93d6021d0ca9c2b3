"""DHCP scopes: one subnet served on one bridge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import ClassVar

from .addresses import MTU_MAX, MTU_MIN, gateway_of, is_host_name, is_mac, mac_of
from .errors import InvalidRequest
from .noun import Key, Owned

GENERATED_PREFIX_MIN = 20
"""Subnets of this prefix length or longer get an entry for every address."""

_PREFIX_MIN, _PREFIX_MAX = 16, 29


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpEntry:
    """One static lease."""

    mac: str
    address: IPv4Address
    hostname: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """Plain data for JSON."""
        return {"mac": self.mac, "address": str(self.address), "hostname": self.hostname}


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpScope(Owned):
    """DHCP and DNS for one subnet on the bridge ``link``.

    The gateway (the first host address) is the server, the router and the name
    server.  The ``reserved`` addresses after it are never leased.  A MAC without
    an entry gets no answer.  ``mtu`` is option 26 (RFC 2132, 5.1).  With ``running``
    False the scope and its entries are kept, and no server runs for it.
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

    def make_key(self) -> Key:
        return ("dhcp", self.link)

    @property
    def gateway(self) -> IPv4Address:
        return gateway_of(self.subnet)

    def leases(self) -> Iterator[DhcpEntry]:
        """Yield every static lease: the added entries, then the generated ones.

        An added entry replaces the generated ones with its address or its MAC.
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


def check_scope(scope: DhcpScope) -> None:
    """Raise ``InvalidRequest``, with the field, for a scope that no DHCP server can serve."""
    if not _PREFIX_MIN <= scope.subnet.prefixlen <= _PREFIX_MAX:
        raise InvalidRequest(
            f"{scope.subnet} is not a /{_PREFIX_MIN} to /{_PREFIX_MAX}", field="subnet"
        )
    if not MTU_MIN <= scope.mtu <= MTU_MAX:
        raise InvalidRequest(f"{scope.mtu} is not between {MTU_MIN} and {MTU_MAX}", field="mtu")
    if scope.reserved < 0:
        raise InvalidRequest(f"{scope.reserved} is negative", field="reserved")
    if scope.domain is not None and not is_host_name(scope.domain):
        raise InvalidRequest(f"{scope.domain!r} is not a domain name", field="domain")
    for entry in scope.entries:
        _check_entry(entry, scope)
    for field in ("mac", "address"):
        seen = Counter(str(getattr(entry, field)).lower() for entry in scope.entries)
        for value, times in seen.most_common(1):
            if times > 1:
                raise InvalidRequest(f"{field} {value} is in {times} entries", field="entries")


def _check_entry(entry: DhcpEntry, scope: DhcpScope) -> None:
    if not is_mac(entry.mac.lower()):
        raise InvalidRequest(f"{entry.mac!r} is not a MAC address", field="entries")
    taken = (scope.subnet.network_address, scope.gateway, scope.subnet.broadcast_address)
    if entry.address not in scope.subnet or entry.address in taken:
        raise InvalidRequest(
            f"{entry.address} is not an address for a guest in {scope.subnet}", field="entries"
        )
    name = entry.hostname
    if name is not None and (not is_host_name(name) or _is_address(name)):
        raise InvalidRequest(f"{name!r} is not a host name", field="entries")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
