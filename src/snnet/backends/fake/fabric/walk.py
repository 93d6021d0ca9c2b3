"""What all layers share: stations, the walk under way and its trace, and caches.

Here: the participants (``Station``), the frames under way (``Walk``), the trace as text
(``Step``, ``Endings``), and the caches (``Learned``).  Not here: what a layer does with
a frame.  The fabric has no clock: a walk runs until nothing moves, then drops the packets
that still wait for a neighbour.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from snnet.contract import IPAddress
from snnet.contract.network import link_sysctl

from ..kernel import FakeKernel
from ..sysctls import SysctlRules
from ..watch import Changes
from .frames import Arp, Packet
from .others import Others

NO_NEIGHBOUR = "no answer to {}"
"""What the trace says of a packet that waited for a neighbour in vain."""

ROUTE_REFUSES = "the route to {} says {}"
AN_ERROR = "{} says {}{}"
"""What it says of an error that somebody on the way sent back."""

LINK_DOWN, BRIDGE_DOWN, NO_LINK = "the link is down", "the bridge is down", "no such link"

NO_ROUTE = "no route to {}"
NO_FORWARDING = "{} is not for this host, which does not forward"
OTHER_WAY = "{} came by another link than answers would leave by (rp_filter)"
NO_LISTENER = "refused: nothing listens on {}"

TOO_LONG = "{} bytes do not fit the MTU of {}"
TOO_LONG_TO = "{} bytes to {} do not fit the MTU of {}"
"""What it says of a frame on a link, and of a packet on its way out; the MTU is the last value."""

NOT_MINE, SAME_PORT = "frame to {}", "{} is on this port"
"""What it says of frames that came to the wrong host: it is not for it, or came from there."""

_LINES_MAX = 80
"""Most lines printed for a failed walk; a flood through a thousand hosts has more."""

# -- the trace ------------------------------------------------------------------------


class Step:
    """One event of a walk, caused by the event ``before``.

    The text is formatted only when it is printed, because most walks are not printed.
    """

    __slots__ = ("before", "host", "link", "said", "values")

    def __init__(
        self, before: Step | None, host: str, link: str, said: str, values: tuple[object, ...]
    ) -> None:
        self.before, self.host, self.link = before, host, link
        self.said, self.values = said, values

    def then(self, host: str, link: str, said: str, *values: object) -> Step:
        """Return the next step; ``said`` has a ``{}`` for each value."""
        return Step(self, host, link, said, values)

    def path(self) -> list[Step]:
        """Return all steps from the first to this one."""
        path: list[Step] = []
        step: Step | None = self
        while step is not None:
            path.append(step)
            step = step.before
        return path[::-1]

    def __str__(self) -> str:
        place = f"{self.link} on {self.host}" if self.link else self.host
        return f"{place}: {self.said.format(*self.values)}"


class Endings(NamedTuple):
    """Where the branches of one walk ended."""

    dropped: list[Step]
    ignored: list[Step]

    def lines(self) -> list[str]:
        """Return the steps that led to each ending, indented where the path forks.

        Ignored frames are included while there is room: they show how far a flood went.
        """
        kept = [*self.dropped, *self.ignored][:_LINES_MAX]
        kept.sort(key=self.dropped.__contains__)  # dropped frames come last
        after: dict[Step | None, list[Step]] = {}
        for leaf in kept:
            for step in leaf.path():
                siblings = after.setdefault(step.before, [])
                if step not in siblings:
                    siblings.append(step)
        lines = _tree(after)
        if len(lines) > _LINES_MAX:
            half = _LINES_MAX // 2
            lines[half:-half] = [f"... {len(lines) - _LINES_MAX} lines left out ..."]
        hidden = len(self.dropped) + len(self.ignored) - len(kept)
        return [*lines, f"... and {hidden} more endings like these"] if hidden else lines


def _tree(after: dict[Step | None, list[Step]]) -> list[str]:
    lines = []
    waiting = [(step, 0) for step in reversed(after.get(None, []))]
    while waiting:
        step, depth = waiting.pop()
        lines.append("  " * depth + str(step))
        following = after.get(step, [])
        deeper = depth + (len(following) > 1)
        waiting += [(next_step, deeper) for next_step in reversed(following)]
    return lines


# -- stations -------------------------------------------------------------------------


class Station:
    """The network namespace of a host or a guest in the fabric."""

    def __init__(self, network: Network, kernel: FakeKernel, name: str) -> None:
        self.network = network
        self.kernel = kernel
        self.state = kernel.state
        self.sysctls = SysctlRules(kernel.state)
        self.name = name
        self.others: Others | None = None
        """Who knows the rules of others on this host."""

    @property
    def walk(self) -> Walk:
        """The walk under way."""
        return self.network.walk

    @property
    def learned(self) -> Learned:
        """The caches, which are valid since the last change of any station."""
        return self.network.learned

    def forwards(self, link: str, version: int) -> bool:
        """Return whether the host forwards packets that arrive on the link."""
        # IPv6 forwards on all links or on none.
        table, which = ("ipv4.conf", link) if version == 4 else ("ipv6.conf", "all")
        return self.parameter(link_sysctl(table, which, "forwarding")) != 0

    def parameter(self, name: str) -> int:
        """Return a kernel parameter, 0 where the host has none of that name."""
        learned = self.network.learned.parameters
        found = learned.get((self, name))
        if found is None:
            sysctl = self.sysctls.find(name)
            found = learned[self, name] = 0 if sysctl is None else int(sysctl.value)
        return found

    def drop(self, step: Step, link: str, why: str, *values: object) -> None:
        """End this branch of the walk because something is wrong: it is always printed."""
        self.network.walk.endings.dropped.append(step.then(self.name, link, why, *values))

    def ignore(self, step: Step, link: str, why: str, *values: object) -> None:
        """End this branch of the walk because the frame is not for this station."""
        self.network.walk.endings.ignored.append(step.then(self.name, link, why, *values))

    def doubt(self, step: Step, what: str, about: object = None) -> None:
        """Note that the packet may be lost after this step."""
        self.network.walk.doubts.setdefault(step, []).append(Doubt(self.name, what, about))

    def __repr__(self) -> str:
        return f"<Station {self.name}>"


class Doubt(NamedTuple):
    """Something on a station of which nobody can tell whether it lets the packet through."""

    station: str
    what: str
    about: object = None
    """For those who know what it is."""


class Question(NamedTuple):
    """The packet that a walk starts with, and its sender."""

    station: Station
    packet: Packet


class Walk:
    """The frames under way on all stations, and where they ended."""

    def __init__(self) -> None:
        self.endings = Endings([], [])
        self.doubts: dict[Step, list[Doubt]] = {}
        """What may have ended the walk after a step."""
        self.question: Question | None = None
        self.reached: dict[Station, IPAddress] = {}
        """The stations that received the question, and the source address each one saw."""
        self.answer: Step | None = None
        """The step that delivered the answer to the sender of the question."""
        self._moves: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._waiting: dict[tuple[Station, str, IPAddress], list[tuple[Packet, Step]]] = {}

    def later(self, move: Callable[..., None], *values: object) -> None:
        """Queue a move; a queue instead of a call keeps the Python stack shallow."""
        self._moves.append((move, values))

    def run(self) -> None:
        """Carry out queued moves until none is left."""
        while self._moves:
            move, values = self._moves.popleft()
            move(*values)
        for (station, link, address), packets in self._waiting.items():
            for packet, step in packets:
                asked = Arp(True, packet.source, "", address)
                lost = step.then(station.name, link, NO_NEIGHBOUR, asked)
                self.endings.dropped.append(lost)
        self._waiting.clear()

    def wait(
        self, station: Station, link: str, address: IPAddress, packet: Packet, step: Step
    ) -> bool:
        """Keep the packet until the neighbour answers; return whether it is the first to wait."""
        packets = self._waiting.setdefault((station, link, address), [])
        packets.append((packet, step))
        return len(packets) == 1

    def answered(self, station: Station, link: str, address: IPAddress) -> list[Packet]:
        """Return the packets that waited for this neighbour."""
        packets = self._waiting.pop((station, link, address), [])
        return [packet for packet, _ in packets]


# -- what they share --------------------------------------------------------------------


class Learned:
    """Caches of all stations: learned from traffic or computed from the state.

    Any change on any station clears them.  A walk therefore sees the network as if every
    cache had expired since the last change, and never acts on stale entries.
    """

    def __init__(self) -> None:
        self.neighbours: dict[tuple[Station, str, IPAddress], str] = {}
        """MACs by station, link and address."""
        self.ports: dict[tuple[Station, str, str], str] = {}
        """Ports by station, bridge and MAC."""
        self.vxlans: dict[tuple[Station, str], tuple[str, ...]] = {}
        """The ports of a bridge that are vxlans, by station and bridge."""
        self.remotes: dict[tuple[Station, str], list[IPAddress]] = {}
        """Where a vxlan sends frames to MACs without an entry, by station and vxlan."""
        self.own_macs: dict[tuple[Station, str], frozenset[str]] = {}
        """The MACs of a bridge and its ports, by station and bridge."""
        self.wire: dict[str, tuple[Station, str]] = {}
        """Station and link by MAC."""
        self.answering: dict[IPAddress | None, list[tuple[Station, str]]] | None = None
        """Uplinks by the addresses they answer for; None until first needed."""
        self.parameters: dict[tuple[Station, str], int] = {}
        """Kernel parameters by station and name."""
        self.sources: dict[tuple[Station, IPAddress], IPAddress | None] = {}
        """The source address that a station uses for a target."""
        self.local: dict[tuple[Station, IPAddress], bool] = {}
        """Whether a station accepts packets to an address."""
        self.leases: dict[tuple[Station, str], dict[str, IPAddress]] = {}
        """Leased addresses by MAC, by station and bridge."""


class Network:
    """What the stations of one fabric share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held during each walk, and while hosts and guests are added or removed."""
        self.walk = Walk()
        self.learned = Learned()
        self.changes = Changes()
        """Counts the changes of every kernel of the fabric."""
        self.look: Callable[[], None] = lambda: None
        """Called before the first walk after a change: stations may have come."""
        self._settled_at = -1

    def new_walk(self) -> Walk:
        """Start a walk; clear the caches if anything changed since the last one."""
        if self.changes.count != self._settled_at:
            self.look()
            self.learned = Learned()
            self._settled_at = self.changes.count
        self.walk = Walk()
        return self.walk
