"""What a guest may say by IPv6, as ``snnet.contract.rules`` defines it.

Here: lies about addresses, and what only routers and servers say (RFC 4861, RFC 6105, RFC
7113, RFC 7610).  Not here: which link has a rule (``filter.py``).
"""

from __future__ import annotations

from ipaddress import IPv6Address

from snnet.contract import AntiSpoof, IPAddress
from snnet.contract.addresses import may_be_link_local_of

from .conntrack import ends_of
from .frames import (
    ICMP6_ERRORS,
    MLD_REPORT,
    ROUTER_SOLICITATION,
    Arp,
    Dhcp,
    Fragment,
    Icmp6,
    Packet,
    Segment,
    Udp,
)

CLIENT6, SERVER6 = 546, 547  # of DHCPv6 (RFC 8415, 7.2)
RELAYED = "RELAY-FORW"
_UNSEEN = frozenset({"authentication", "mobility", "HIP", "Shim6"})
"""Headers that the kernel takes for upper layers."""
_NOBODY = IPv6Address("::")


def lie_of_ipv6(rule: AntiSpoof, said: Arp | Packet) -> str:
    """Return why the guest may not say this, an empty text if it may."""
    if not rule.ipv6_addresses:
        return f"{said} is IPv6, and the guest has no IPv6 address"
    if isinstance(said, Arp):
        return _lie_of_neighbour(rule, said)
    if said.source != _NOBODY:
        return _lie_of_content(rule, said) if _is_own(rule, said.source) else _foreign(said)
    if isinstance(said.payload, Icmp6):
        if said.payload.kind == MLD_REPORT:
            return ""
        if said.payload.kind == ROUTER_SOLICITATION and not (said.headers or said.payload.mac):
            return ""
    return _foreign(said)


def _foreign(said: Packet) -> str:
    return f"{said} has a foreign source"


def _is_own(rule: AntiSpoof, address: IPAddress) -> bool:
    named = rule.allows(address) or address in rule.ipv6_addresses
    return named or may_be_link_local_of(rule.mac, address)


def _lie_of_neighbour(rule: AntiSpoof, said: Arp) -> str:
    if said.sender_mac not in ("", rule.mac):
        return f"{said} says {said.sender} is at {said.sender_mac}"
    if said.options:
        return f"{said} has further options"
    detects = said.request and said.sender == _NOBODY
    about = said.target if detects else said.sender
    if not _is_own(rule, about) or (detects and said.sender_mac):
        return f"{said} is about {about}"
    return ""


def _lie_of_content(rule: AntiSpoof, packet: Packet) -> str:
    payload, whole = packet.payload, True
    if isinstance(payload, Fragment):
        if not payload.first:
            return ""
        if payload.of is None:
            return f"{packet} does not tell what it is"
        payload, whole = payload.of, False
    if isinstance(payload, Arp):
        return f"{packet} is about neighbours"
    unseen = not _UNSEEN.isdisjoint(packet.headers)
    if unseen and not (isinstance(payload, Segment) and payload.protocol != "udp"):
        return f"{packet} is behind headers that the kernel does not look behind"
    if isinstance(payload, Icmp6):
        return _lie_of_icmp6(rule, packet, payload)
    protocol, source, target = ends_of(packet)
    if protocol != "udp":
        return ""
    if source.port == SERVER6 or target.port == CLIENT6:
        return f"{packet} is an answer of a DHCPv6 server"
    if target.port == SERVER6 and not (whole and not _is_relayed(payload)):
        return f"{packet} is a message of a DHCPv6 relay, or a fragment"
    return ""


def _is_relayed(payload: object) -> bool:
    message = payload.payload if isinstance(payload, Udp) else None
    return isinstance(message, Dhcp) and message.kind == RELAYED


def _lie_of_icmp6(rule: AntiSpoof, packet: Packet, said: Icmp6) -> str:
    if said.kind in (*ICMP6_ERRORS, MLD_REPORT):
        return ""
    if said.kind != ROUTER_SOLICITATION:
        return f"{packet} is not what a guest says"
    if packet.headers or isinstance(packet.payload, Fragment):
        return f"{packet} is behind further headers"
    if said.mac not in ("", rule.mac):
        return f"{packet} says {packet.source} is at {said.mac}"
    return ""
