"""Who listens on a host, and what becomes of what arrives there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from snnet.contract import IPAddress

from .frames import Echo, Packet, Segment
from .trace import Step

if TYPE_CHECKING:
    from .station import Station


class Connection(NamedTuple):
    """A connection as its listener has it: who that is, and from which address it came."""

    station: str
    source: IPAddress


class Question(NamedTuple):
    """What a walk is about: the first packet, and who sends it."""

    station: Station
    packet: Packet


class Sockets:
    """Answers echo requests always, connections where somebody listens."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._listening: dict[str, set[int] | None] | None = {}

    def listen_to_all(self) -> None:
        """Listen on every port of each protocol, until told where to."""
        self._listening = None

    def listen(self, protocol: str, port: int | None) -> None:
        """Listen on this port too; None for every one."""
        if self._listening is None:
            self._listening = {}
        ports = self._listening.setdefault(protocol, set())
        if port is None or ports is None:
            self._listening[protocol] = None
        else:
            ports.add(port)

    def hear(self, link: str, packet: Packet, payload: Echo | Segment, step: Step) -> None:
        """Take in what was asked or answered."""
        station, walk = self._station, self._station.network.walk
        if payload.request:
            if isinstance(payload, Segment) and not self._listens(payload):
                walk.drop(step, station, link, "refused: nobody listens on {}", payload)
                return
            walk.reached.setdefault(station, packet.source)
            step = step.then(station.name, link, "{} arrived from {}", payload, packet.source)
            station.stack.send(Packet(packet.target, packet.source, payload.reply()), step)
        elif self._asked(packet, payload):
            walk.answer = step.then(
                station.name, link, "{} arrived from {}", payload, packet.source
            )
        else:
            walk.drop(step, station, link, "{} was not asked", packet)

    def _listens(self, segment: Segment) -> bool:
        if self._listening is None:
            return True
        ports = self._listening.get(segment.protocol, set())
        return ports is None or segment.target in ports

    def _asked(self, packet: Packet, payload: Echo | Segment) -> bool:
        """Whether it answers what this host asked.

        A connection is with one address and port; ``ping`` takes an echo reply from
        any, and only remarks on it.
        """
        question = self._station.network.walk.question
        if question is None or question.station is not self._station:
            return False
        asked = question.packet
        if isinstance(payload, Echo) or not isinstance(asked.payload, Segment):
            return isinstance(payload, Echo) and isinstance(asked.payload, Echo)
        return (packet.source, payload.source) == (asked.target, asked.payload.target)
