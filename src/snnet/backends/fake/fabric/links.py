"""Layer 2 of a station: its links, bridges and macvtaps, and the wire between stations.

Here: where a frame goes by link and by MAC.  Not here: what the frame carries.  A frame
leaves by ``Links.transmit`` and arrives by ``Links.receive``; one for the station itself
goes up to the network layer, one out of a tunnel's link to the tunnels, both of which put
themselves on top (``Links.upper``, ``Links.tunnels``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from snnet.contract import Bridge, Geneve, Gretap, IPAddress, Link, Macvtap, Veth, Vxlan

from .frames import Arp, Frame, Packet
from .netfilter import Netfilter
from .walk import Station, Step

Plug = tuple[Station, str]
"""An uplink: its station and its link."""


class NetworkLayer(Protocol):
    """What takes in frames for the station itself (netif_receive_skb)."""

    def receive(self, link: Link, frame: Frame, step: Step, *, meant: bool = False) -> None:
        """A frame arrived; ``meant`` if it is for the station whatever its target MAC."""

    def answers_for(self, link: Link) -> list[IPAddress] | None:
        """The addresses the station may answer ARP for on the link; None if any."""


class Encapsulator(Protocol):
    """What sends the frames of a tunnel's link (ndo_start_xmit)."""

    def encapsulate(self, link: Gretap | Vxlan | Geneve, frame: Frame, step: Step) -> None: ...


class Cable(NamedTuple):
    """Where a link leads: to a link of another station, or with ``far`` None to the wire.

    Links are known by their ifindex as well: a link that was recreated leads nowhere.
    """

    ifindex: int
    far: Links | None = None
    link: str = ""
    far_ifindex: int = 0


class Wire:
    """One switch that all uplinks are plugged into: by MAC where it is known, else to all."""

    def __init__(self) -> None:
        self._plugs: dict[Plug, Links] = {}

    def plug(self, links: Links, name: str) -> None:
        """Put an uplink on the wire; may be repeated."""
        self._plugs[links.station, name] = links

    def carry(self, station: Station, name: str, frame: Frame, step: Step) -> None:
        """Take a frame from an uplink to those it is for; never back to where it came from."""
        learned, sender = station.learned, (station, name)
        learned.wire[frame.source] = sender
        known = None if frame.flooded else learned.wire.get(frame.target)
        if known == sender:
            station.drop(step, name, "the wire sends {} not back", frame.target)
            return
        step = step.then(station.name, name, "onto the wire")
        for plug in [known] if known else self._everybody(station, frame):
            if plug != sender:
                station.walk.later(self._plugs[plug].receive, plug[1], frame, step)

    def _everybody(self, sender: Station, frame: Frame) -> Iterable[Plug]:
        """All uplinks, but of those asked for an address only such as may answer.

        A thousand hosts that all ask for each other would else hear a million
        questions, and ignore them.
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
        """Uplinks by the addresses they answer for; under None those that may for any.

        First those that have the address: who asks believes the first answer.
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
    """Moves frames in and out of the links of one station."""

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
        """Send a frame out of a link, as the host itself does and its bridges."""
        link = self.passing(name, frame, step)
        match link:
            case None:
                pass
            case Bridge():
                self._bridges.leave(link, frame, step)
            case Gretap() | Vxlan() | Geneve():
                self.tunnels.encapsulate(link, frame, step)
            case Macvtap():
                self._macvtaps.leave(link, frame, step)
            case Veth(peer=str(peer)):
                step = step.then(self.station.name, name, "to its peer {}", peer)
                self.station.walk.later(self.receive, peer, frame, step)
            case _:
                self.to_cable(link, frame, step)

    def receive(self, name: str, frame: Frame, step: Step) -> None:
        """Take in a frame that arrived at a link."""
        link = self.passing(name, frame, step)
        if link is None:
            return
        if link.master is not None:
            self._bridges.enter(link, frame, step)
        elif not self._state.uppers.get(name) or self._macvtaps.enter(name, frame, step):
            self.upper.receive(link, frame, step)

    def from_cable(self, name: str, frame: Frame, step: Step) -> None:
        """Take in what came over the cable: for a macvtap it is on its way out."""
        if isinstance(self._state.link(name), Macvtap):
            self.transmit(name, frame, step)
        else:
            self.receive(name, frame, step)

    def to_cable(self, link: Link, frame: Frame, step: Step) -> None:
        """Send a frame where the link leads: to a guest, or onto the wire."""
        station, cable = self.station, self.cable(link)
        if cable is None:
            end = station.ignore if frame.flooded else station.drop
            end(step, link.name, "nobody is at the other end")
        elif cable.far is None:
            self._wire.carry(station, link.name, frame, step)
        else:
            step = step.then(station.name, link.name, "to {}", cable.far.station.name)
            station.walk.later(cable.far.from_cable, cable.link, frame, step)

    def answers_for(self, name: str) -> list[IPAddress] | None:
        """The addresses that a question arriving at the link may be for; None if any."""
        link = self._state.link(name)
        if link is None or link.master is not None or self._state.uppers.get(name):
            return None
        return self.upper.answers_for(link)

    def cable(self, link: Link) -> Cable | None:
        """Where the link leads, None if nowhere (any more)."""
        cable = self.cables.get(link.name)
        if cable is None or cable.ifindex != link.index:
            return None
        if cable.far is not None:
            far = cable.far.station.state.link(cable.link)
            if far is None or far.index != cable.far_ifindex:
                return None
        return cable

    def passing(self, name: str, frame: Frame, step: Step) -> Link | None:
        """The link, if it lets the frame pass: up, and not too large for its MTU.

        On the way in as well: a veth, a bridge port and most hardware drop
        what is longer (is_skb_forwardable, net/core/dev.c).
        """
        link, station = self._state.link(name), self.station
        if link is None:
            station.drop(step, name, "no such link")
        elif not link.up:
            (station.ignore if frame.flooded else station.drop)(step, name, "the link is down")
        elif frame.size > (link.mtu or 0):
            why = "{} bytes do not fit the MTU of {}"
            station.drop(step, name, why, frame.size, link.mtu)
        else:
            return link
        return None


class Bridges:
    """The bridges of one station (net/bridge/br_input.c, br_forward.c, br_fdb.c).

    They learn, flood, and deliver to the host itself.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._station = links.station

    def enter(self, port: Link, frame: Frame, step: Step) -> None:
        """A frame arrived at a port."""
        links, station = self._links, self._station
        bridge = station.state.link(port.master or "")
        assert bridge is not None
        if not bridge.up:
            station.drop(step, bridge.name, "the bridge is down")
            return
        if not links.netfilter.bridge_prerouting(port, frame, step):
            return
        if (station, bridge.name) in frame.visited:
            station.drop(step, bridge.name, "the frame was here before: a loop")
            return
        frame.visited.add((station, bridge.name))
        step = step.then(station.name, bridge.name, "in by {}", port.name)
        own = self._own_macs(bridge)
        if frame.source in own:
            # br_fdb_update: "received packet with own address as source address".
            step = step.then(station.name, bridge.name, "{} is a port's own MAC", frame.source)
        else:
            station.learned.ports[station, bridge.name, frame.source] = port.name
        if frame.flooded:
            links.upper.receive(bridge, frame, step)
            self._forward(bridge, port, frame, step)
        elif frame.target in (bridge.mac, port.mac):
            links.upper.receive(bridge, frame, step, meant=True)
        elif frame.target in own:
            # For the host, says the fdb; for another of its links, says the MAC.
            why = "{} is another port's own MAC: swallowed"
            station.drop(step, bridge.name, why, frame.target)
        else:
            self._forward(bridge, port, frame, step)

    def leave(self, bridge: Link, frame: Frame, step: Step) -> None:
        """The host itself, or a macvtap above, sends out of the bridge."""
        frame.visited.add((self._station, bridge.name))
        self._forward(bridge, None, frame, step)

    def _forward(self, bridge: Link, came_in: Link | None, frame: Frame, step: Step) -> None:
        links, station = self._links, self._station
        avoid = came_in.name if came_in else None
        packet = frame.payload
        if (
            came_in is not None
            and isinstance(packet, Packet)
            and not links.netfilter.bridge_forward(bridge.name, packet, step)
        ):
            return
        known = station.learned.ports.get((station, bridge.name, frame.target))
        if known is not None and not frame.flooded:
            if known == avoid:
                station.ignore(step, known, "{} is here", frame.target)
            else:
                links.transmit(known, frame, step)
            return
        step = step.then(station.name, bridge.name, "to all ports")
        for name in station.state.ports[bridge.name]:
            if name != avoid and station.state.is_up(name):
                links.transmit(name, frame, step)

    def _own_macs(self, bridge: Link) -> frozenset[str]:
        """Frames to these are for the host, and never leave by a port."""
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

    Their frames never reach the host's own stack, nor its frames them: what
    leaves goes out of the lower link, and no wire sends it back.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def leave(self, link: Macvtap, frame: Frame, step: Step) -> None:
        """A guest sends (macvlan_queue_xmit): in bridge mode siblings are reached directly."""
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
        """A frame arrived below (macvlan_handle_frame); True if the host gets it, too."""
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
