"""Connections as the hosts on their way know them (net/netfilter/nf_conntrack_core.c).

There is no time in the fabric: a connection is known for one walk, from its first
packet to its answer.  One walk carries one connection of each kind, so no two ever
want the same translated port.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from snnet.contract import PROTOCOLS, IPAddress

from .frames import Echo, Encapsulated, Packet, Segment, Udp

if TYPE_CHECKING:
    from .station import Station


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

    def told(self, end: End) -> object:
        """The end as people write it: with its port where there is one."""
        return end if self.original.protocol in PROTOCOLS else end.address


class Conntrack:
    """The connections of one walk on all hosts with rules."""

    def __init__(self) -> None:
        self._originals: dict[tuple[Station, Ends], Flow] = {}
        self._replies: dict[tuple[Station, Ends], Flow] = {}

    def find(self, station: Station, packet: Packet) -> tuple[Flow | None, bool]:
        """The packet's connection, a new one if need be, and whether it answers.

        None for what neither opens a connection nor answers on one (state INVALID).
        """
        ends = ends_of(packet)
        known = (station, ends)
        if (flow := self._replies.get(known)) is not None:
            return flow, True
        if (flow := self._originals.get(known)) is not None:
            return flow, False
        if _only_answers(packet):
            return None, False
        flow = self._originals[known] = Flow(ends)
        return flow, False

    def settle(self, station: Station, flow: Flow) -> None:
        """Know the answers from now on (__nf_conntrack_confirm)."""
        if not flow.settled:
            flow.settled = True
            reply = Ends(flow.original.protocol, flow.target, flow.source)
            self._replies[station, reply] = flow


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
