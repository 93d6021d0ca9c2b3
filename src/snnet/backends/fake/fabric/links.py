"""Layer 2 of a station: its links, bridges and macvtaps, and the wire between stations.

Here: where a frame goes, by link and MAC.  Not here: what the frame carries.  Frames
leave by ``Links.transmit`` and arrive by ``Links.receive``.  Frames for the station itself
go to ``Links.upper``, and frames that leave by a tunnel go to ``Links.tunnels``: the upper
layers register themselves there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from snnet.contract import Bridge, IPAddress, Link, Macvtap, Tunnel, Veth

from . import shaping, suppress
from .frames import Arp, Frame, Packet
from .netfilter import Netfilter
from .walk import BRIDGE_DOWN, LINK_DOWN, NO_LINK, SAME_PORT, TOO_LONG, Station, Step

Plug = tuple[Station, str]
"""An uplink: its station and its link."""


class NetworkLayer(Protocol):
    """Receives the frames for the station itself (netif_receive_skb)."""

    def receive(
        self,
        link: Link,
        frame: Frame,
        step: Step,
        *,
        meant: bool = False,
        untracked: bool = False,
    ) -> None:
        """Take a frame; ``meant``: it is for the station whatever its target MAC.

        ``untracked``: the host does not track its connection.
        """

    def answers_for(self, link: Link) -> list[IPAddress] | None:
        """Return the addresses the station may answer ARP for on the link; None for any."""


class Encapsulator(Protocol):
    """Sends the frames that leave by a tunnel (ndo_start_xmit)."""

    def encapsulate(self, link: Tunnel, frame: Frame, step: Step) -> None: ...


class Cable(NamedTuple):
    """The other end of a link: a link of another station, or the wire if ``far`` is None.

    Both ends are identified by ifindex too, so a link that is recreated has no cable.
    """

    ifindex: int
    far: Links | None = None
    link: str = ""
    far_ifindex: int = 0


class Wire:
    """One learning switch that connects all uplinks."""

    def __init__(self) -> None:
        self._plugs: dict[Plug, Links] = {}

    def plug(self, links: Links, name: str) -> None:
        """Put an uplink on the wire.  Repeating it is not an error."""
        self._plugs[links.station, name] = links

    def unplug(self, links: Links, name: str) -> None:
        """Take an uplink off.  Repeating it is not an error."""
        self._plugs.pop((links.station, name), None)

    def carry(self, station: Station, name: str, frame: Frame, step: Step) -> None:
        """Forward a frame to the known uplink or to all others, never back to the sender."""
        learned, sender = station.learned, (station, name)
        learned.wire[frame.source] = sender
        known = None if frame.flooded else learned.wire.get(frame.target)
        if known == sender:
            station.drop(step, name, "the wire does not send {} back", frame.target)
            return
        step = step.then(station.name, name, "onto the wire")
        for plug in [known] if known else self._receivers(station, frame):
            if plug != sender:
                station.walk.later(self._plugs[plug].receive, plug[1], frame, step)

    def _receivers(self, sender: Station, frame: Frame) -> Iterable[Plug]:
        """Return the uplinks for a flooded frame: all, or for ARP those that may answer.

        Otherwise a thousand hosts that resolve each other would receive and ignore a
        million requests.
        """
        if not isinstance(frame.payload, Arp) or not frame.payload.request:
            return self._plugs
        learned = sender.learned
        if learned.answering is None:
            learned.answering = self._find_answering()
        return [
            *learned.answering.get(frame.payload.target, ()),
            *learned.answering[None],
        ]

    def _find_answering(self) -> dict[IPAddress | None, list[Plug]]:
        """Return uplinks by the addresses they answer for; under None those without limits.

        Uplinks that own the address come first, because the first answer is believed.
        """
        answering: dict[IPAddress | None, list[Plug]] = {None: []}
        for plug, links in self._plugs.items():
            station, name = plug
            addresses = links.answers_for(name)
            for address in [None] if addresses is None else addresses:
                plugs = answering.setdefault(address, [])
                first = address is not None and name in station.state.local.get(address, ())
                plugs.insert(0 if first else len(plugs), plug)
        return answering


class Links:
    """Sends and receives the frames of one station."""

    upper: NetworkLayer
    tunnels: Encapsulator

    def __init__(self, station: Station, wire: Wire) -> None:
        self.station = station
        self.netfilter = Netfilter(station)
        self.cables: dict[str, Cable] = {}
        self._state = station.state
        self._wire = wire
        self._bridges = Bridges(self)
        self._macvtaps = Macvtaps(self)

    def transmit(self, name: str, frame: Frame, step: Step) -> None:
        """Send a frame out of a link."""
        link = self.passing(name, frame, step)
        if link is None or not self.netfilter.chains.device("egress", name, frame, step):
            return
        step = shaping.sent(self.station, name, step)
        match link:
            case Bridge():
                self._bridges.leave(link, frame, step)
            case Tunnel():
                self.tunnels.encapsulate(link, frame, step)
            case Macvtap():
                self._macvtaps.leave(link, frame, step)
            case Veth(peer=str(peer)):
                step = step.then(self.station.name, name, "to its peer {}", peer)
                self.station.walk.later(self.receive, peer, frame, step)
            case _:
                self.to_cable(link, frame, step)

    def receive(self, name: str, frame: Frame, step: Step) -> None:
        """Receive a frame on a link."""
        link = self.passing(name, frame, step)
        if link is None or (back := shaping.received(self, link, frame, step)) is None:
            return
        step = back
        if link.master is not None:
            self._bridges.enter(link, frame, step)
        elif not self._state.uppers.get(name) or self._macvtaps.enter(name, frame, step):
            self.upper.receive(link, frame, step)

    def from_cable(self, name: str, frame: Frame, step: Step) -> None:
        """Receive a frame from the cable; a macvtap sends it on to its lower link."""
        if isinstance(self._state.link(name), Macvtap):
            self.transmit(name, frame, step)
        else:
            self.receive(name, frame, step)

    def to_cable(self, link: Link, frame: Frame, step: Step) -> None:
        """Send a frame over the link's cable: to another station or onto the wire."""
        station, cable = self.station, self.cable(link)
        if cable is None:
            end = station.ignore if frame.flooded else station.drop
            end(step, link.name, "nothing is connected to the link")
        elif cable.far is None:
            self._wire.carry(station, link.name, frame, step)
        else:
            step = step.then(station.name, link.name, "to {}", cable.far.station.name)
            station.walk.later(cable.far.from_cable, cable.link, frame, step)

    def answers_for(self, name: str) -> list[IPAddress] | None:
        """Return the addresses that an ARP request on the link may ask for; None for any."""
        link = self._state.link(name)
        if link is None or link.master is not None or self._state.uppers.get(name):
            return None
        return self.upper.answers_for(link)

    def cable(self, link: Link) -> Cable | None:
        """Return the link's cable, None if it has none (any more)."""
        cable = self.cables.get(link.name)
        if cable is None or cable.ifindex != link.index:
            return None
        if cable.far is not None:
            far = cable.far.station.state.link(cable.link)
            if far is None or far.index != cable.far_ifindex:
                return None
        return cable

    def passing(self, name: str, frame: Frame, step: Step) -> Link | None:
        """Return the link if it is up and the frame fits its MTU; otherwise drop the frame.

        The MTU applies on receive too: veths, bridge ports and most hardware drop longer
        frames (is_skb_forwardable, net/core/dev.c).
        """
        link, station = self._state.link(name), self.station
        if link is None:
            station.drop(step, name, NO_LINK)
        elif not link.up:
            (station.ignore if frame.flooded else station.drop)(step, name, LINK_DOWN)
        elif frame.size > (link.mtu or 0):
            station.drop(step, name, TOO_LONG, frame.size, link.mtu)
        else:
            return link
        return None


class Bridges:
    """The bridges of one station (net/bridge/br_input.c, br_forward.c, br_fdb.c)."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._station = links.station

    def enter(self, port: Link, frame: Frame, step: Step) -> None:
        """Receive a frame on a port: learn its source, then deliver or forward it."""
        links, station = self._links, self._station
        bridge = station.state.link(port.master or "")
        assert bridge is not None
        if not bridge.up:
            station.drop(step, bridge.name, BRIDGE_DOWN)
            return
        if frame.is_for_bridges:
            # Received by the port itself, past all that looks at the bridge (br_handle_frame).
            if links.netfilter.takes_for_itself(port, frame, step):
                links.upper.receive(port, frame, step, meant=True)
            return
        if not links.netfilter.bridge_prerouting(port, frame, step):
            return
        passed = links.netfilter.ports.leaving(port.name, frame.payload, step)
        if passed is None:
            return
        step = passed
        if (station, bridge.name) in frame.visited:
            station.drop(step, bridge.name, "loop: the frame passed this bridge before")
            return
        frame.visited.add((station, bridge.name))
        step = step.then(station.name, bridge.name, "in by {}", port.name)
        own = self._own_macs(bridge)
        if frame.source in own:
            # br_fdb_update: "received packet with own address as source address".
            step = step.then(station.name, bridge.name, "{} is a port's own MAC", frame.source)
        elif suppress.learns(port):
            station.learned.ports[station, bridge.name, frame.source] = port.name
        untracked = links.netfilter.untracks(port, frame)
        quiet = False
        if isinstance(frame.payload, Arp):
            quiet, reply = suppress.suppressed(station, bridge, port, frame.payload)
            if reply is not None:
                links.transmit(port.name, reply, step.then(station.name, bridge.name, "answers"))
        if frame.flooded:
            if links.netfilter.chains.goes_up(port, frame, step):
                links.upper.receive(bridge, frame, step, untracked=untracked)
            self._forward(bridge, port, frame, step, untracked=untracked, quiet=quiet)
        elif frame.target in (bridge.mac, port.mac):
            if links.netfilter.chains.goes_up(port, frame, step):
                links.upper.receive(bridge, frame, step, meant=True, untracked=untracked)
        elif frame.target in own:
            # The fdb has it as local, but the host drops it: the MAC is of another link.
            why = "{} is the MAC of another port: dropped by the host"
            station.drop(step, bridge.name, why, frame.target)
        else:
            self._forward(bridge, port, frame, step, untracked=untracked)

    def leave(self, bridge: Link, frame: Frame, step: Step) -> None:
        """Send a frame of the host itself, or of a macvtap above the bridge."""
        frame.visited.add((self._station, bridge.name))
        self._forward(bridge, None, frame, step)

    def _forward(
        self,
        bridge: Link,
        came_in: Link | None,
        frame: Frame,
        step: Step,
        *,
        untracked: bool = False,
        quiet: bool = False,
    ) -> None:
        """Send a frame out of the port of its target, or of all; ``quiet``: see ``suppress``."""
        links, station = self._links, self._station
        avoid = came_in.name if came_in else None
        packet = frame.payload
        if (
            came_in is not None
            and isinstance(packet, Packet)
            and not links.netfilter.bridge_forward(bridge.name, packet, step, untracked=untracked)
        ):
            return
        known = None if frame.flooded else suppress.port_of(station, bridge.name, frame.target)
        if known is not None:
            if known == avoid:
                station.ignore(step, known, SAME_PORT, frame.target)
            else:
                self._send(bridge, avoid, known, frame, step, untracked=untracked)
            return
        step = step.then(station.name, bridge.name, "to all ports")
        for name in station.state.ports[bridge.name]:
            out = station.state.link(name)
            if out is None or not out.up or (quiet and suppress.suppresses(out)):
                continue
            if name != avoid:
                self._send(bridge, avoid, name, frame, step, untracked=untracked)

    def _send(
        self,
        bridge: Link,
        came_in: str | None,
        out: str,
        frame: Frame,
        step: Step,
        *,
        untracked: bool,
    ) -> None:
        """Send a frame out of one port, past the groups and the chains of others there."""
        links, station = self._links, self._station
        passed = links.netfilter.ports.entering(out, frame.payload, step)
        if passed is None:
            return
        step = passed
        if station.others is not None:  # what is doubted is so of this port alone
            step = step.then(station.name, out, "out by port {}", out)
            passes = links.netfilter.bridge_output
            if not passes(bridge.name, came_in, out, frame, step, untracked=untracked):
                return
        links.transmit(out, frame, step)

    def _own_macs(self, bridge: Link) -> frozenset[str]:
        """Return the MACs of the bridge and its ports, which are never forwarded to."""
        station = self._station
        learned = station.learned.own_macs
        found = learned.get((station, bridge.name))
        if found is None:
            ports = map(station.state.link, station.state.ports[bridge.name])
            found = frozenset({bridge.mac or "", *(port.mac or "" for port in ports if port)})
            learned[station, bridge.name] = found
        return found


class Macvtaps:
    """The macvtaps of one station, on their lower links (drivers/net/macvlan.c).

    Macvtaps and the host's own stack cannot reach each other: both send out of the lower
    link, and no wire sends a frame back.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def leave(self, link: Macvtap, frame: Frame, step: Step) -> None:
        """Send a guest's frame (macvlan_queue_xmit); bridge mode reaches siblings directly."""
        if link.mode == "bridge":
            for sibling in self._above(link.lower):
                if sibling.mode != "bridge" or sibling.name == link.name:
                    continue
                if frame.flooded:
                    self._deliver(sibling, frame, step)
                elif sibling.mac == frame.target:
                    self._deliver(sibling, frame, step)
                    return
        step = step.then(self._links.station.name, link.name, "out by {}", link.lower)
        self._links.transmit(link.lower, frame, step)

    def enter(self, lower: str, frame: Frame, step: Step) -> bool:
        """Receive a frame below; return whether the host gets it too (macvlan_handle_frame)."""
        for link in self._above(lower):
            if frame.flooded and link.mac != frame.source:
                self._deliver(link, frame, step)
            elif link.mac == frame.target:
                self._deliver(link, frame, step)
                return False
        return True

    def _above(self, lower: str) -> Iterator[Macvtap]:
        state = self._links.station.state
        for name in state.uppers.get(lower, ()):
            link = state.link(name)
            if isinstance(link, Macvtap) and link.up:
                yield link

    def _deliver(self, link: Macvtap, frame: Frame, step: Step) -> None:
        if self._links.passing(link.name, frame, step):
            self._links.to_cable(link, frame, step)
