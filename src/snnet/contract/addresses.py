"""Facts about addresses, MTUs and host names that all of snnet shares."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeVar, overload

from .noun import IPAddress, IPNetwork

MTU_MIN, MTU_MAX = 68, 65535
"""IPv4 needs an MTU of at least 68 bytes (RFC 791; ETH_MIN_MTU, linux/if_ether.h).  The
length field of a packet has 16 bits."""

IPV6_MTU_MIN = 1280
"""The smallest MTU of a link that carries IPv6 (RFC 8200, section 5)."""

Family = TypeVar("Family", bound=IPAddress | IPNetwork)

NO_MAC = "00:00:00:00:00:00"
"""Not the MAC of any device.  In the fdb of a vxlan it stands for every other MAC."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_LABEL = re.compile(_LABEL)
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST_NAME_MAX = 253


def is_mac(text: str) -> bool:
    """Whether the text is a MAC address in the form of nouns: lower case, with colons."""
    return _MAC.fullmatch(text) is not None


def is_multicast_mac(mac: str) -> bool:
    """Whether a MAC address is a group address: its first byte is odd."""
    return mac[1] in "13579bdf"


IPV4_MAC = "02:00:"
"""What default MACs for IPv4 addresses begin with; the four bytes of the address follow."""


def mac_of(address: IPAddress) -> str:
    """Return the default MAC of a guest whose first address is this.

    It is 02:00 and the four bytes of an IPv4 address, or 02 and the first five bytes of the
    SHA-256 of an IPv6 address.
    """
    if isinstance(address, IPv4Address):
        return IPV4_MAC + address.packed.hex(":")
    return "02:" + hashlib.sha256(address.packed).digest()[:5].hex(":")


def ipv4_number(mac: str) -> int | None:
    """Return the number of the IPv4 address that has this default MAC, or None."""
    default = is_mac(mac) and mac.startswith(IPV4_MAC)
    return int(mac[len(IPV4_MAC) :].replace(":", ""), 16) if default else None


def address_of(mac: str) -> IPAddress | None:
    """Return the IPv4 address that has this default MAC, or None: an IPv6 address is not told."""
    number = ipv4_number(mac)
    return None if number is None else IPv4Address(number)


GATEWAY_LINK_LOCAL = IPv6Address("fe80::1")
"""The link-local address of gateways, which no guest may use."""

_LINK_LOCAL = IPv6Network("fe80::/64")
_FORMED_FROM_MAC = b"\xff\xfe"


def link_local_of(mac: str) -> IPv6Address:
    """Return the link-local address that is formed from the MAC (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([raw[0] ^ 2]) + raw[1:3] + _FORMED_FROM_MAC + raw[3:]
    return IPv6Address(_LINK_LOCAL.network_address.packed[:8] + identifier)


def may_be_link_local_of(mac: str, address: IPAddress) -> bool:
    """Whether a guest with this MAC may use the address as its link-local one.

    It may if the address is formed from its MAC or from no MAC (RFC 7217), and is no gateway's.
    """
    if address not in _LINK_LOCAL or address == GATEWAY_LINK_LOCAL:
        return False
    return address.packed[11:13] != _FORMED_FROM_MAC or address == link_local_of(mac)


def is_address(text: str) -> bool:
    """Whether the text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_host_label(text: str) -> bool:
    """Whether the text can be one label of a host name (RFC 1123, section 2.1)."""
    return _HOST_LABEL.fullmatch(text) is not None


def is_host_name(text: str) -> bool:
    """Whether the text is a host or domain name: labels joined by dots, at most 253 bytes."""
    return len(text) <= _HOST_NAME_MAX and _HOST_NAME.fullmatch(text) is not None


@overload
def gateway_of(subnet: IPv4Network) -> IPv4Address: ...
@overload
def gateway_of(subnet: IPNetwork) -> IPAddress: ...
def gateway_of(subnet: IPNetwork) -> IPAddress:
    """Return the gateway of a tenant's subnet: its first host address."""
    return subnet.network_address + 1


def of_family(values: tuple[Family, ...], version: int) -> Family | None:
    """Return the address or network of an IP version, 4 or 6, or None."""
    return next((value for value in values if value.version == version), None)


_PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+)):([0-9]{1,5})", re.ASCII)


def host_and_port(text: str) -> tuple[str, int] | None:
    """Split "host:port" or "[host]:port" into its two parts; None for anything else."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found[3]) < 65536:
        return None
    return found[1] or found[2], int(found[3])
