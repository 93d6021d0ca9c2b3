"""Who a guest says it is: ``AntiSpoof``, at its bridge port or where its packets arrive."""

from __future__ import annotations

from ipaddress import IPv4Address

from snnet.contract import AntiSpoof

from ..rulebook import Rulebook
from .conntrack import End, ends_of
from .frames import Arp, Frame, Packet

_NOBODY = IPv4Address("0.0.0.0")
_SERVER, _CLIENT = 67, 68  # of DHCP (RFC 2131, 4.1)


def frame_refused(rules: Rulebook, port: str, frame: Frame) -> tuple[AntiSpoof, str] | None:
    """The rule that lets no such frame in by this bridge port, and why, if one does."""
    for rule in rules.all(AntiSpoof, port, True):
        if why := _lie_of_frame(rule, frame):
            return rule, why
    return None


def routed_refused(rules: Rulebook, link: str, frame: Frame) -> tuple[AntiSpoof, str] | None:
    """The same for one that came by a link of no bridge: of ARP nothing is asked there."""
    for rule in rules.all(AntiSpoof, link, False):
        packet = frame.payload
        if isinstance(packet, Arp):
            continue
        if frame.source != rule.mac:
            return rule, f"the frame is from {frame.source}"
        if packet.source not in rule.addresses:
            return rule, f"{packet} is from another"
    return None


def _lie_of_frame(rule: AntiSpoof, frame: Frame) -> str:
    if frame.source != rule.mac:
        return f"the frame is from {frame.source}"
    if isinstance(frame.payload, Arp):
        return _lie_of_arp(rule, frame.payload)
    return _lie_of_packet(rule, frame.payload)


def _lie_of_arp(rule: AntiSpoof, arp: Arp) -> str:
    if arp.sender_mac != rule.mac:
        return f"{arp} says {arp.sender} is at {arp.sender_mac}"
    probe = arp.request and arp.sender == _NOBODY  # RFC 5227, 2.1.1
    if arp.sender in rule.addresses or probe:
        return ""
    return f"{arp} is from {arp.sender}"


def _lie_of_packet(rule: AntiSpoof, packet: Packet) -> str:
    protocol, source, target = ends_of(packet)
    if (protocol, source.port) == ("udp", _SERVER):
        return f"{packet} is a DHCP server's"
    asks = (protocol, source, target.port) == ("udp", End(_NOBODY, _CLIENT), _SERVER)
    return "" if packet.source in rule.addresses or asks else f"{packet} is from another"
