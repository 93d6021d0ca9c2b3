"""One walk through the fabric: what is under way, where it ended, what was learned.

There is no time here: a walk lasts until nothing moves any more, and whoever
still waits for an answer then will get none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from snnet.contract import IPAddress

from .conntrack import Conntrack
from .frames import Arp, Packet
from .trace import Endings, Step

if TYPE_CHECKING:
    from .sockets import Question
    from .station import Station


class Walk:
    """Frames under way on all hosts, and the ends they come to."""

    def __init__(self) -> None:
        self.endings = Endings([], [])
        self.connections = Conntrack()
        self.question: Question | None = None
        self.reached: dict[Station, IPAddress] = {}
        """Stations that the question was delivered to, and the address it came from."""
        self.answer: Step | None = None
        """The step that brought the answer back to who asked."""
        self._moves: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._waiting: dict[tuple[Station, str, IPAddress], list[tuple[Packet, Step]]] = {}

    def later(self, move: Callable[..., None], *values: object) -> None:
        """Do this once those before it are done; keeps ways long and calls shallow."""
        self._moves.append((move, values))

    def run(self) -> None:
        """Move until all has come to an end."""
        while self._moves:
            move, values = self._moves.popleft()
            move(*values)
        for (station, link, address), packets in self._waiting.items():
            for packet, step in packets:
                asked = Arp(True, packet.source, "", address)
                self.drop(step, station, link, "no answer to {}", asked)
        self._waiting.clear()

    # -- waiting for a neighbour ---------------------------------------------------

    def wait(
        self, station: Station, link: str, address: IPAddress, packet: Packet, step: Step
    ) -> bool:
        """Keep the packet until the neighbour answers; True for the first to wait."""
        packets = self._waiting.setdefault((station, link, address), [])
        packets.append((packet, step))
        return len(packets) == 1

    def answered(self, station: Station, link: str, address: IPAddress) -> list[Packet]:
        """The packets that waited for this neighbour."""
        packets = self._waiting.pop((station, link, address), [])
        return [packet for packet, _ in packets]

    # -- ends -----------------------------------------------------------------------

    def drop(self, step: Step, station: Station, link: str, why: str, *values: object) -> None:
        """The way ends here, for a reason worth telling."""
        self.endings.dropped.append(step.then(station.name, link, why, *values))

    def ignore(self, step: Step, station: Station, link: str, why: str, *values: object) -> None:
        """The way ends here, for this one was not meant."""
        self.endings.ignored.append(step.then(station.name, link, why, *values))


class Learned:
    """What stations learned from traffic, or worked out; forgotten when anything changes anywhere.

    So it is as on a network left alone until all caches have aged out after
    each change: nobody acts on what no longer holds.
    """

    def __init__(self) -> None:
        self.neighbours: dict[tuple[Station, str, IPAddress], str] = {}
        """MACs by station, link and address."""
        self.ports: dict[tuple[Station, str, str], str] = {}
        """Ports by station, bridge and MAC."""
        self.own_macs: dict[tuple[Station, str], frozenset[str]] = {}
        """The MACs of a bridge and its ports, by station and bridge."""
        self.wire: dict[str, tuple[Station, str]] = {}
        """Station and link by MAC."""
        self.answering: dict[IPAddress | None, list[tuple[Station, str]]] | None = None
        """Uplinks by the addresses they answer for, once somebody asked."""
        self.local: dict[tuple[Station, IPAddress], bool] = {}
        """Whether a station takes in packets to an address."""
        self.leases: dict[tuple[Station, str], dict[str, IPAddress]] = {}
        """Leased addresses by MAC, by station and bridge."""
