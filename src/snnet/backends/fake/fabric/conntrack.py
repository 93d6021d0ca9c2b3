"""Connection tracking of one host, and NAT (nf_conntrack_core.c, nf_nat_core.c).

Here: what identifies a connection, the table of connections, a packet between two hooks
(``Passage``), and the NAT rule that applies to a new connection.  Not here: the hooks
that use them (``netfilter.py``).

The fabric has no clock: a connection lasts for one walk, from its first packet to the
answer.  A walk carries one connection of each kind, so translated ports never collide.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import NamedTuple

from snnet.contract import (
    PROTOCOLS,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    TranslatedSource,
    ZoneLink,
)

from ..rulebook import Rulebook
from .frames import Arp, Echo, Encapsulated, Fragment, Icmp6, Packet, Segment, Udp
from .walk import Step

# -- what identifies a connection ---------------------------------------------------------


class End(NamedTuple):
    """An address with a port, the number of an echo request, or 0."""

    address: IPAddress
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else self.address
        return f"{host}:{self.port}"


class Ends(NamedTuple):
    """The protocol and both ends of a connection (nf_conntrack_tuple)."""

    protocol: str
    source: End
    target: End

    @property
    def inverted(self) -> Ends:
        return Ends(self.protocol, self.target, self.source)


def ends_of(packet: Packet) -> Ends:
    """Return the ends of the packet as it is now."""
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
        case Icmp6() | Arp():
            return Ends("ipv6-icmp", End(source), End(target))
        case Fragment(of=Segment() | Udp() | Echo() as known):
            return ends_of(Packet(source, target, known))
        case Fragment():
            return Ends("fragment", End(source), End(target))


def from_end(packet: Packet, end: End) -> Packet:
    """Return the packet with another source."""
    payload = packet.payload
    if isinstance(payload, (Segment, Udp)) and payload.source != end.port:
        payload = replace(payload, source=end.port)
    return Packet(end.address, packet.target, payload, packet.ttl, packet.headers)


def to_end(packet: Packet, end: End) -> Packet:
    """Return the packet with another target."""
    payload = packet.payload
    if isinstance(payload, (Segment, Udp)) and payload.target != end.port:
        payload = replace(payload, target=end.port)
    return Packet(packet.source, end.address, payload, packet.ttl, packet.headers)


# -- connections --------------------------------------------------------------------------


class Flow:
    """One connection on one host: the ends of its first packet, and the translated ends.

    ``confirmed`` is True after that packet left the host or was delivered: the translation
    is then final.
    """

    __slots__ = ("confirmed", "original", "source", "target")

    def __init__(self, original: Ends) -> None:
        self.original = original
        self.source, self.target = original.source, original.target
        self.confirmed = False

    @property
    def redirected(self) -> bool:
        """Whether the target was translated (IPS_DST_NAT)."""
        return self.target != self.original.target

    def label(self, end: End) -> object:
        """Return the end for the trace: with the port if the protocol has ports."""
        return end if self.original.protocol in PROTOCOLS else end.address


class Passage(NamedTuple):
    """A packet between two hooks, with its connection and ingress link (nfctinfo, iif)."""

    packet: Packet
    step: Step
    link: str = ""
    """The link it arrived on; empty if the host sent it."""
    flow: Flow | None = None
    """Its connection; None if the host has no rules or the packet has no connection."""
    answers: bool = False
    untracked: bool = False
    """Whether connection tracking ignores it."""
    mac: str = ""
    """The source of the frame that brought it; empty if there was none."""

    # These do what ``_replace`` does at a fifth of the cost, which each hook pays.

    def at(self, step: Step) -> Passage:
        """Return the passage at a later step."""
        if step is self.step:
            return self
        packet, _, link, flow, answers, untracked, mac = self
        return Passage(packet, step, link, flow, answers, untracked, mac)

    def carrying(self, packet: Packet) -> Passage:
        """Return the passage with the packet as it was translated or forwarded."""
        _, step, link, flow, answers, untracked, mac = self
        return Passage(packet, step, link, flow, answers, untracked, mac)

    def of(self, flow: Flow, answers: bool) -> Passage:
        """Return the passage with its connection."""
        packet, step, link, _, _, untracked, mac = self
        return Passage(packet, step, link, flow, answers, untracked, mac)


class Conntrack:
    """The connections of one host during one walk."""

    def __init__(self) -> None:
        self._originals: dict[Ends, Flow] = {}
        self._replies: dict[Ends, Flow] = {}

    def find(self, packet: Packet) -> tuple[Flow | None, bool]:
        """Return the packet's connection, and whether the packet is an answer.

        Adds the connection if it is new.  Returns None for a packet that neither opens a
        connection nor belongs to one (state INVALID).
        """
        if isinstance(packet.payload, Icmp6) and packet.payload.about is not None:
            return self._related(packet.payload.about)
        ends = ends_of(packet)
        if (flow := self._replies.get(ends)) is not None:
            return flow, True
        if (flow := self._originals.get(ends)) is not None:
            return flow, False
        if _only_answers(packet):
            return None, False
        flow = self._originals[ends] = Flow(ends)
        return flow, False

    def _related(self, about: Packet) -> tuple[Flow | None, bool]:
        """Return the connection of a packet that an error is about, and its direction.

        An error goes the way of the packet back: it counts as an answer if the packet did not.
        """
        ends = ends_of(about)
        if (flow := self._replies.get(ends.inverted)) is not None:
            return flow, True
        return self._originals.get(ends.inverted), False

    def confirm(self, flow: Flow) -> None:
        """Make the translation final and recognise answers (__nf_conntrack_confirm)."""
        if not flow.confirmed:
            flow.confirmed = True
            reply = Ends(flow.original.protocol, flow.target, flow.source)
            self._replies[reply] = flow


def _only_answers(packet: Packet) -> bool:
    """Return whether the packet cannot open a connection; UDP always can."""
    payload = packet.payload
    match payload:
        case Echo():
            return not payload.request
        case Segment():
            return not payload.request and payload.protocol != "udp"
        case Icmp6() | Arp() | Fragment():
            return True
        case _:
            return False


# -- translation --------------------------------------------------------------------------


def new_target(
    rules: Rulebook, passage: Passage, local: Container[IPAddress]
) -> tuple[Noun, End] | None:
    """Return the rule and the new target of destination NAT, None without NAT.

    ``local`` has the addresses of the host.
    """
    assert passage.flow is not None
    protocol, _, (address, port) = passage.flow.original
    public = rules.first(PublicIp, address)
    if public is not None:
        return public, End(public.internal, port)
    if protocol not in PROTOCOLS:
        return None
    for forward in _forwards(rules, passage, local):
        if forward.target.version == address.version and forward.admits(passage.packet.source):
            return forward, End(forward.target, forward.target_port)
    return None


def _forwards(
    rules: Rulebook, passage: Passage, local: Container[IPAddress]
) -> Iterator[PortForward]:
    """Yield the forwards of the packet's port, in the order in which they apply."""
    assert passage.flow is not None
    protocol, _, (address, port) = passage.flow.original
    if address in local:
        yield from rules.all(PortForward, passage.link, protocol, port, address)
        yield from rules.all(PortForward, passage.link, protocol, port)
    inside = {link.owner for link in rules.all(ZoneLink, passage.link)}
    if inside or not passage.link:
        for hairpin in (
            *rules.all(PortForward, address, protocol, port, address),
            *rules.all(PortForward, address, protocol, port),
        ):
            if hairpin.owner in inside or not passage.link:  # the host itself
                yield hairpin


def new_source(
    rules: Rulebook, passage: Passage, out: str, own: IPAddress | None
) -> tuple[Noun, IPAddress | None] | None:
    """Return the rule and the new source of source NAT on the link ``out``, None without NAT.

    ``own`` is the host's address on that link.
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
    source = rules.first(TranslatedSource, passage.packet.source)
    if source is not None and not rules.all(ZoneLink, out):
        return source, own
    if not passage.link:
        return None
    ipv4 = passage.packet.source.version == 4
    for masquerade in rules.all(Masquerade, out):
        if ipv4 or masquerade.nat66:
            return masquerade, own
    return None
