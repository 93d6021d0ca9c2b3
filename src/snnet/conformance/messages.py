"""Kinds of IPv6 messages that guests send, hostile and honest, by name.

A rig makes each of them: see ``Rig.says``.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from .endpoints import Endpoint

NOBODY6 = IPv6Address("::")
ALL_NODES, ALL_ROUTERS = IPv6Address("ff02::1"), IPv6Address("ff02::2")
SNOOPERS = IPv6Address("ff02::16")
"""Routers that listen for MLD reports (RFC 3810, 5.2.14)."""

ANOTHER_MAC = "02:00:00:00:00:77"

FORGED = (
    "echo from another address",
    "echo from another's link-local address",
    "echo from the gateway's link-local address",
    "echo from nobody",
    "datagram from another address",
    "advert for the gateway",
    "advert for the gateway's link-local address",
    "advert for another",
    "advert for another without option",
    "advert for another's link-local address",
    "advert with another mac",
    "advert with two options",
    "advert behind options",
    "advert in a fragment",
    "advert behind a mobility header",
    "solicit with another mac",
    "solicit from another address",
    "detection for another",
    "detection for the gateway",
    "router solicit with another mac",
)
"""Lies about addresses (RFC 4861, RFC 6980)."""

ROGUE = (
    "router advert",
    "router advert in a tag",
    "router advert behind options",
    "router advert behind many headers",
    "router advert in an atomic fragment",
    "router advert behind a fragment's options",
    "router advert in fragments",
    "router advert, first fragment",
    "router advert behind padding",
    "router advert behind authentication",
    "router advert behind a fragment's authentication",
    "redirect",
    "redirect behind options",
    "redirect in fragments",
    "router renumbering",
    "mld query",
    "dhcpv6 answer",
    "dhcpv6 answer from another port",
    "dhcpv6 answer to another port",
    "dhcpv6 answer behind options",
    "dhcpv6 answer in fragments",
    "dhcpv6 answer, first fragment",
    "dhcpv6 answer behind padding",
    "dhcpv6 answer behind two strange headers",
    "dhcpv6 relay",
    "dhcpv6 relay from a client's port",
    "unfinished headers",
)
"""What only routers and servers say (RFC 6105, RFC 7113, RFC 7610)."""

HOSTILE6 = (*FORGED, *ROGUE)

HONEST6 = (
    "echo",
    "echo from the link-local address",
    "echo from a private link-local address",
    "datagram",
    "datagram behind options",
    "segment",
    "segment behind authentication",
    "first fragment",
    "later fragment",
    "later fragment of an echo",
    "fragment at byte 8",
    "too big",
    "unreachable",
    "solicit",
    "solicit without option",
    "solicit from the link-local address",
    "advert",
    "advert without option",
    "advert for the link-local address",
    "advert for a private link-local address",
    "detection",
    "detection with nonce",
    "detection for the link-local address",
    "router solicit",
    "router solicit from nobody",
    "mld report",
    "mld report from nobody",
    "mld report of version 1",
    "mld done",
    "dhcpv6 request",
)

MESSAGES = (*HOSTILE6, *HONEST6)


def privacy_address(endpoint: Endpoint) -> IPv6Address:
    """Return a link-local address that is not formed from a MAC (RFC 7217)."""
    return IPv6Address(f"fe80::a1b2:c3d4:e5f6:{int(endpoint.mac[-2:], 16):x}")
