"""Facts about addresses, MTUs and host names that all of snnet shares."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

MTU_MIN, MTU_MAX = 68, 65535
"""IPv4 needs an MTU of at least 68 bytes (RFC 791; ETH_MIN_MTU, linux/if_ether.h).  The
length field of a packet has 16 bits."""

IPV6_MTU_MIN = 1280
"""The smallest MTU of a link that carries IPv6 (RFC 8200, section 5)."""

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
    return bool(int(mac[1], 16) & 1)


def mac_of(address: IPv4Address) -> str:
    """Return the default MAC of a guest with this address: 02:00 and its four bytes."""
    return "02:00:" + address.packed.hex(":")


def is_host_label(text: str) -> bool:
    """Whether the text can be one label of a host name (RFC 1123, section 2.1)."""
    return _HOST_LABEL.fullmatch(text) is not None


def is_host_name(text: str) -> bool:
    """Whether the text is a host or domain name: labels joined by dots, at most 253 bytes."""
    return len(text) <= _HOST_NAME_MAX and _HOST_NAME.fullmatch(text) is not None


def gateway_of(subnet: IPv4Network) -> IPv4Address:
    """Return the gateway of a tenant's subnet: its first host address."""
    return subnet.network_address + 1
