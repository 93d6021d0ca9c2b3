"""What listens and answers on a station: layer 4, and packet sockets."""

from __future__ import annotations

from collections.abc import Callable

from .frames import Echo, Icmp6, Packet, Segment, Udp
from .walk import AN_ERROR, NO_LISTENER, Station, Step

Handler = Callable[[str, Packet, Step], None]
"""Receives a packet: its ingress link, the packet, and the step before."""


class Sockets:
    """Answers every echo request, and connections to ports that are listened on."""

    def __init__(self, station: Station, send: Callable[[Packet, Step], None]) -> None:
        self._station = station
        self._send = send
        self._listening: dict[str, set[int] | None] | None = {}
        self.raw: dict[int, Handler] = {}
        """Handlers by UDP port that receive packets before IP does, without an address."""
        self.servers: dict[int, Handler] = {}
        """Handlers by UDP port for the host's addresses and broadcasts."""
        self.icmp6: dict[str, Handler] = {}
        """Handlers by kind of ICMPv6 message."""

    def listen_to_all(self) -> None:
        """Listen on every port of every protocol, until ``listen`` is called."""
        self._listening = None

    def listen(self, protocol: str, port: int | None) -> None:
        """Listen on this port too; None for every port of the protocol."""
        if self._listening is None:
            self._listening = {}
        ports = self._listening.setdefault(protocol, set())
        if port is None or ports is None:
            self._listening[protocol] = None
        else:
            ports.add(port)

    def receive_raw(self, link: str, packet: Packet, step: Step) -> bool:
        """Give a packet to a raw handler (packet(7)); return whether there is one."""
        payload = packet.payload
        handler = self.raw.get(payload.target) if isinstance(payload, Udp) else None
        if handler is not None:
            handler(link, packet, step)
        return handler is not None

    def receive_icmp6(self, link: str, packet: Packet, payload: Icmp6, step: Step) -> None:
        """Receive an ICMPv6 message; an error ends what the host asked."""
        handler = self.icmp6.get(payload.kind)
        if handler is not None:
            handler(link, packet, step)
        elif payload.about is not None:
            at = f", the path carries {payload.mtu} bytes" if payload.mtu else ""
            self._station.drop(step, link, AN_ERROR, packet.source, payload, at)
        else:
            self._station.ignore(step, link, "nothing listens for {}", payload)

    def receive(self, link: str, packet: Packet, payload: Echo | Segment | Udp, step: Step) -> None:
        """Receive a packet to one of the host's addresses or a broadcast address."""
        station, local = self._station, self._station.state.local
        if isinstance(payload, Udp):
            handler = self.servers.get(payload.target)
            if handler is not None:
                handler(link, packet, step)
            else:
                station.ignore(step, link, "nothing listens for {}", payload)
        elif packet.target not in local and not packet.target.is_loopback:
            station.ignore(step, link, "a broadcast request is not answered")
        elif payload.request:
            self._answer(link, packet, payload, step)
        elif self._asked(packet, payload):
            said = "{} arrived from {}"
            station.walk.answer = step.then(station.name, link, said, payload, packet.source)
        else:
            station.drop(step, link, "{} answers no request of this host", packet)

    def _answer(self, link: str, packet: Packet, payload: Echo | Segment, step: Step) -> None:
        station = self._station
        if isinstance(payload, Segment) and not self._listens(payload):
            station.drop(step, link, NO_LISTENER, payload)
            return
        station.walk.reached.setdefault(station, packet.source)
        step = step.then(station.name, link, "{} arrived from {}", payload, packet.source)
        self._send(Packet(packet.target, packet.source, payload.reply()), step)

    def _listens(self, segment: Segment) -> bool:
        if self._listening is None:
            return True
        ports = self._listening.get(segment.protocol, set())
        return ports is None or segment.target in ports

    def _asked(self, packet: Packet, payload: Echo | Segment) -> bool:
        """Return whether the packet answers the question of this host.

        A connection accepts answers from its address and port only; ``ping`` accepts an
        echo reply from any address.
        """
        question = self._station.walk.question
        if question is None or question.station is not self._station:
            return False
        asked = question.packet
        if isinstance(payload, Echo) or not isinstance(asked.payload, Segment):
            return isinstance(payload, Echo) and isinstance(asked.payload, Echo)
        return (packet.source, payload.source) == (asked.target, asked.payload.target)
