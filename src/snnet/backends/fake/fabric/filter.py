"""Verdicts of the firewall's rules, as ``snnet.contract.rules`` defines them.

Here: whether rules drop a frame or packet, which rule, and why.  Not here: the hooks that
ask (``netfilter.py``) and NAT (``conntrack.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from snnet.contract import (
    TUNNEL_PORTS,
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    HostServices,
    IPAddress,
    Masquerade,
    Noun,
    OpenAddress,
    Owned,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    TunnelGuard,
    ZoneLink,
)

from ..rulebook import Rulebook
from .conntrack import End, Passage, ends_of
from .frames import (
    REDIRECT,
    ROUTER_ADVERTISEMENT,
    Arp,
    Dhcp,
    Echo,
    Encapsulated,
    Frame,
    Icmp6,
    Packet,
    Segment,
    Udp,
)
from .ndp import SERVER6, lie_of_ipv6

_NOBODY = IPv4Address("0.0.0.0")
_SERVER, _CLIENT = 67, 68  # of DHCP (RFC 2131, 4.1)

_SERVICES = {("udp", 53), ("udp", _SERVER), ("udp", SERVER6), ("tcp", 53)}

Refused = tuple[Noun, str]
"""The rule that drops a packet, and why."""

# -- frames: the addresses a guest may use (``AntiSpoof``) -------------------------------


def frame_refused(rules: Rulebook, port: str, frame: Frame) -> Refused | None:
    """Return the rule that drops a frame from this bridge port, None if it may pass."""
    for rule in rules.all(AntiSpoof, port, True):
        if why := _lie_of_frame(rule, frame):
            return rule, why
    for guard in rules.all(DhcpGuard, port):
        if (mac := _client_of(frame)) not in (None, guard.mac):
            return guard, f"the message is about {mac}"
    return None


def _client_of(frame: Frame) -> str | None:
    """Return the MAC that a message to DHCP servers is about, None for other frames."""
    packet = frame.payload
    message = packet.payload if isinstance(packet, Packet) else None
    if isinstance(message, Udp) and message.target == _SERVER and isinstance(message.payload, Dhcp):
        return message.payload.mac
    return None


def arp_refused(rules: Rulebook, link: str, arp: Arp) -> Refused | None:
    """Return the rule that keeps ARP from a link without a bridge away from the host."""
    for rule in rules.all(ArpGuard, link) if arp.target.version == 4 else ():
        if arp.sender_mac != rule.mac or arp.sender not in (rule.address, _NOBODY):
            return rule, f"{arp} says {arp.sender} is at {arp.sender_mac}"
    return None


def routed_refused(rules: Rulebook, link: str, frame: Frame) -> Refused | None:
    """Return the rule that drops a frame from a link without a bridge; ARP always passes."""
    for rule in rules.all(AntiSpoof, link, False):
        packet = frame.payload
        if isinstance(packet, Arp) and packet.target.version == 4:
            continue
        if frame.source != rule.mac:
            return rule, f"the frame is from {frame.source}"
        if why := lie_of_ipv6(rule, packet) if _is_ipv6(packet) else _lie_of_routed(rule, packet):
            return rule, why
    return None


def _is_ipv6(said: Arp | Packet) -> bool:
    return said.target.version == 6


def _lie_of_routed(rule: AntiSpoof, said: Arp | Packet) -> str:
    if isinstance(said, Packet) and not rule.allows(said.source):
        return f"{said} has a foreign source"
    return ""


def _lie_of_frame(rule: AntiSpoof, frame: Frame) -> str:
    if frame.source != rule.mac:
        return f"the frame is from {frame.source}"
    if _is_ipv6(frame.payload):
        return lie_of_ipv6(rule, frame.payload)
    if isinstance(frame.payload, Arp):
        return _lie_of_arp(rule, frame.payload)
    return _lie_of_packet(rule, frame.payload)


def _lie_of_arp(rule: AntiSpoof, arp: Arp) -> str:
    if arp.sender_mac != rule.mac:
        return f"{arp} says {arp.sender} is at {arp.sender_mac}"
    probe = arp.request and arp.sender == _NOBODY  # RFC 5227, 2.1.1
    if rule.allows(arp.sender) or probe:
        return ""
    return f"{arp} is from {arp.sender}"


def _lie_of_packet(rule: AntiSpoof, packet: Packet) -> str:
    protocol, source, target = ends_of(packet)
    if protocol == "udp" and (source.port == _SERVER or target.port == _CLIENT):
        return f"{packet} is an answer of a DHCP server"
    asks = (protocol, source, target.port) == ("udp", End(_NOBODY, _CLIENT), _SERVER)
    return "" if rule.allows(packet.source) or asks else f"{packet} has a foreign source"


# -- packets: forwarding, and input to the host -------------------------------------------


def forward_refused(rules: Rulebook, passage: Passage, out: str) -> Refused | None:
    """Return the rule that drops a packet on its way to the link ``out``, None if it may pass."""
    came = passage.link
    for bridge, way in ((came, "from"), (out, "to")):
        accept = rules.first(BridgeAccept, bridge)
        if accept is not None:
            return None if came == out else (accept, f"nothing is routed {way} it")
    if passage.answers:
        return None
    # Each owner has its own zones.  A drop by one owner is final.
    ours = {link.owner: link for link in rules.all(ZoneLink, came)}
    theirs = {link.owner: link for link in rules.all(ZoneLink, out)}
    for owner in {**ours, **theirs}:
        refused = _zones_refuse(rules, passage, out, ours.get(owner), theirs.get(owner))
        if refused is not None:
            return refused
    return None


def input_refused(rules: Rulebook, passage: Passage) -> Refused | None:
    """Return the rule that drops a packet to the host itself, None if it may pass."""
    if (guard := _stranger_to_tunnel(rules, passage.packet)) is not None:
        return guard, f"{passage.packet} is not from a peer"
    limit = rules.first(HostServices, passage.link)
    if limit is not None and not passage.answers and not _is_service(passage.packet):
        return limit, f"{passage.packet} is for another service"
    isolation = rules.first(HostIsolation, passage.link)
    if isolation is None or passage.answers:
        return None
    if passage.packet.target == isolation.open_address:
        return None
    return isolation, f"{passage.packet} is not an answer"


def _is_service(packet: Packet) -> bool:
    """Return whether a packet is for DHCP or DNS, or is ICMP that a router hears."""
    if isinstance(packet.payload, (Echo, Icmp6)):
        return str(packet.payload) not in (ROUTER_ADVERTISEMENT, REDIRECT)
    protocol, _, target = ends_of(packet)
    return (protocol, target.port) in _SERVICES


def _stranger_to_tunnel(rules: Rulebook, packet: Packet) -> TunnelGuard | None:
    """Return a guard of the tunnel that a packet of a stranger is for, None otherwise."""
    payload = packet.payload
    if isinstance(payload, Encapsulated):
        where: tuple[object, ...] = (payload.protocol, payload.key)
    elif isinstance(payload, (Udp, Segment)):
        where = ("udp" if isinstance(payload, Udp) else payload.protocol, payload.target)
    else:
        return None
    owners = {guard.owner: guard for guard in rules.all(TunnelGuard, *where)}
    for guard in rules.all(TunnelGuard, *where, packet.source):
        owners.pop(guard.owner, None)
    return next(iter(owners.values()), None)


def _zones_refuse(
    rules: Rulebook, passage: Passage, out: str, ours: ZoneLink | None, theirs: ZoneLink | None
) -> Refused | None:
    """Return the zone link of one owner that drops a packet which is not an answer.

    ``ours`` is the zone of the ingress link, ``theirs`` that of ``out``.
    """
    if ours is not None:
        within = theirs is not None and theirs.zone == ours.zone
        if not within and (protected := _protecting(rules, ours.owner, passage.packet)):
            return protected, f"{passage.packet} is not an answer"
        if within:
            return None
        if _may_leave(rules, ours, passage.packet.source, out):
            # What belongs to no connection would leave with its private source.
            if passage.flow is None and _is_translated(rules, ours, passage.packet.source, out):
                return ours, f"{passage.packet} opens nothing"
            return None
        source = rules.first(TranslatedSource, passage.packet.source)
        if source is not None and passage.flow is None:
            return source, f"{passage.packet} opens nothing"
        if not rules.is_outbound(ours):
            return ours, f"{passage.packet} leaves by {out} and is not an answer"
    if theirs is not None and not _may_enter(rules, theirs, passage):
        return theirs, f"{passage.packet} arrived on {passage.link} and is not an answer"
    return None


def _protecting(rules: Rulebook, owner: str, packet: Packet) -> ProtectedNetwork | None:
    """Return the rule that keeps a packet of a zone's member away from its target."""
    for rule in rules.all(ProtectedNetwork, owner):
        if packet.target in rule.network and (rule.closed or _is_tunnelled(packet, rule.port)):
            return rule
    return None


def _is_tunnelled(packet: Packet, port: int | None) -> bool:
    """Return whether the packet is for a tunnel: GRE, or a UDP port of one, this one included."""
    if isinstance(packet.payload, Encapsulated):
        return packet.payload.protocol == "gre"
    protocol, _, target = ends_of(packet)
    of_any = target.port == port or any(low <= target.port <= high for low, high in TUNNEL_PORTS)
    return protocol == "udp" and of_any


def _may_leave(rules: Rulebook, ours: ZoneLink, source: IPAddress, out: str) -> bool:
    """Return whether a new connection may leave the zone by the link ``out``."""
    public = rules.all(PublicIp, source, out)
    exits = rules.all(ExternalForward, ours.link, out)
    masquerades = rules.all(Masquerade, out)
    return _has(public, ours.owner) or (_has(exits, ours.owner) and _has(masquerades, ours.owner))


def _is_translated(rules: Rulebook, ours: ZoneLink, source: IPAddress, out: str) -> bool:
    """Return whether what may leave the zone by the link ``out`` does not keep its source."""
    if source.version == 4 or rules.first(TranslatedSource, source) is not None:
        return True
    masquerades = (rule for rule in rules.all(Masquerade, out) if rule.nat66)
    return _has(masquerades, ours.owner) or _has(rules.all(PublicIp, source, out), ours.owner)


def _may_enter(rules: Rulebook, theirs: ZoneLink, passage: Passage) -> bool:
    """Return whether a new connection from outside the owner's zones may enter this zone."""
    if passage.flow is not None and passage.flow.redirected:
        return True
    if rules.first(OpenAddress, theirs.owner, passage.packet.target) is not None:
        return True
    return rules.in_networks(theirs, passage.packet.source)


def _has(found: Iterable[Owned], owner: str) -> bool:
    return any(rule.owner == owner for rule in found)
