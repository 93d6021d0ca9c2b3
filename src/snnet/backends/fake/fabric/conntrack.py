"""Connections as one host knows them, and their translation (nf_conntrack_core.c, nf_nat_core.c).

Here: what tells a packet's connection, the table of connections, a packet on its way
through the hooks (``Passage``), and which NAT rule applies to a new connection.  Not
here: when they are asked, which is ``netfilter.py``.

There is no time in the fabric: a connection is known for one walk, from its first
packet to its answer.  One walk carries one connection of each kind, so no two ever
want the same translated port.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import NamedTuple

from snnet.contract import (
    PROTOCOLS,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    ZoneLink,
)

from ..rulebook import Rulebook
from .frames import Echo, Encapsulated, Packet, Segment, Udp
from .walk import Step

# -- what tells a connection --------------------------------------------------------------


class End(NamedTuple):
    """An address, and with protocols that have them a port; an echo request's number."""

    address: IPAddress
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else self.address
        return f"{host}:{self.port}"


class Ends(NamedTuple):
    """What tells a packet's connection (nf_conntrack_tuple)."""

    protocol: str
    source: End
    target: End

    @property
    def inverted(self) -> Ends:
        return Ends(self.protocol, self.target, self.source)


def ends_of(packet: Packet) -> Ends:
    """The ends of the packet as it is now."""
    payload = packet.payload
    source, target = packet.source, packet.target
    match payload:
        case Segment():
            ports = payload.source, payload.target
            return Ends(payload.protocol, End(source, ports[0]), End(target, ports[1]))
        case Udp():
            return Ends("udp", End(source, payload.source), End(target, payload.target))
        case Echo(request=True, number=number):
            return Ends("icmp", End(source, number), End(target))
        case Echo(number=number):
            return Ends("icmp", End(source), End(target, number))
        case Encapsulated(protocol=protocol):
            return Ends(protocol, End(source), End(target))


def from_end(packet: Packet, end: End) -> Packet:
    """The packet with another source."""
    payload = packet.payload
    if isinstance(payload, (Segment, Udp)) and payload.source != end.port:
        payload = replace(payload, source=end.port)
    return Packet(end.address, packet.target, payload, packet.ttl)


def to_end(packet: Packet, end: End) -> Packet:
    """The packet with another target."""
    payload = packet.payload
    if isinstance(payload, (Segment, Udp)) and payload.target != end.port:
        payload = replace(payload, target=end.port)
    return Packet(packet.source, end.address, payload, packet.ttl)


# -- connections --------------------------------------------------------------------------


class Flow:
    """One connection on one host: what its first packet said, and what is made of that.

    ``settled`` once that packet has left or arrived: it is translated no further.
    """

    __slots__ = ("original", "settled", "source", "target")

    def __init__(self, original: Ends) -> None:
        self.original = original
        self.source, self.target = original.source, original.target
        self.settled = False

    @property
    def redirected(self) -> bool:
        """Whether it was destined for something else (IPS_DST_NAT)."""
        return self.target != self.original.target

    def label(self, end: End) -> object:
        """The end as people write it: with its port where there is one."""
        return end if self.original.protocol in PROTOCOLS else end.address


class Passage(NamedTuple):
    """The packet as it is now, and what netfilter's hooks know of it (nfctinfo, iif)."""

    packet: Packet
    step: Step
    link: str = ""
    """The link it came by; none if it is the host's own."""
    flow: Flow | None = None
    """Its connection, where there are rules; None for what belongs to none."""
    answers: bool = False


class Conntrack:
    """The connections of one host during one walk."""

    def __init__(self) -> None:
        self._originals: dict[Ends, Flow] = {}
        self._replies: dict[Ends, Flow] = {}

    def find(self, packet: Packet) -> tuple[Flow | None, bool]:
        """The packet's connection, a new one if need be, and whether it answers.

        None for what neither opens a connection nor answers on one (state INVALID).
        """
        ends = ends_of(packet)
        if (flow := self._replies.get(ends)) is not None:
            return flow, True
        if (flow := self._originals.get(ends)) is not None:
            return flow, False
        if _only_answers(packet):
            return None, False
        flow = self._originals[ends] = Flow(ends)
        return flow, False

    def settle(self, flow: Flow) -> None:
        """Know the answers from now on (__nf_conntrack_confirm)."""
        if not flow.settled:
            flow.settled = True
            reply = Ends(flow.original.protocol, flow.target, flow.source)
            self._replies[reply] = flow


def _only_answers(packet: Packet) -> bool:
    """Whether it opens nothing.  Of UDP nobody can tell."""
    payload = packet.payload
    match payload:
        case Echo():
            return not payload.request
        case Segment():
            return not payload.request and payload.protocol != "udp"
        case _:
            return False


# -- translation --------------------------------------------------------------------------


def new_target(
    rules: Rulebook, passage: Passage, local: Container[IPAddress]
) -> tuple[Noun, End] | None:
    """Destination NAT: who is meant instead, and by which rule; None if nobody else.

    ``local`` are the addresses of the host.
    """
    assert passage.flow is not None
    protocol, _, (address, port) = passage.flow.original
    public = rules.first(PublicIp, address)
    if public is not None:
        return public, End(public.internal, port)
    if protocol not in PROTOCOLS:
        return None
    direct = rules.all(PortForward, passage.link, protocol, port) if address in local else ()
    inside = {link.owner for link in rules.all(ZoneLink, passage.link)}
    hairpins = rules.all(PortForward, address, protocol, port) if inside else ()
    for forward in (*direct, *(hairpin for hairpin in hairpins if hairpin.owner in inside)):
        return forward, End(forward.target, forward.target_port)
    return None


def new_source(
    rules: Rulebook, passage: Passage, out: str, own: IPAddress | None
) -> tuple[Noun, IPAddress | None] | None:
    """Source NAT: as whom it leaves by the link ``out``, and by which rule; None as it is.

    ``own`` is the host's address there.
    """
    assert passage.flow is not None
    if passage.flow.redirected:
        inside = {link.owner for link in rules.all(ZoneLink, passage.link)}
        for link in rules.all(ZoneLink, out):
            if link.owner in inside:
                return link, own  # hairpin
    public = rules.first(PublicIp, passage.packet.source, out)
    if public is not None:
        return public, public.public
    masquerade = rules.first(Masquerade, out)
    return (masquerade, own) if masquerade else None
