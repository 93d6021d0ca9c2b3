"""Bridges switching frames (net/bridge/br_input.c, br_forward.c, br_fdb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnet.contract import Link

from .frames import Frame, Packet
from .trace import Step

if TYPE_CHECKING:
    from .station import Station


class Switch:
    """All bridges of one station: learning, flooding, delivery to the host itself."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def enter(self, port: Link, frame: Frame, step: Step) -> None:
        """A frame arrived at a port."""
        station, walk = self._station, self._station.network.walk
        bridge = station.state.link(port.master or "")
        assert bridge is not None
        if not bridge.up:
            walk.drop(step, station, bridge.name, "the bridge is down")
            return
        if not station.stack.netfilter.admits(port, frame, step):
            return
        if (station, bridge.name) in frame.visited:
            walk.drop(step, station, bridge.name, "the frame was here before: a loop")
            return
        frame.visited.add((station, bridge.name))
        step = step.then(station.name, bridge.name, "in by {}", port.name)
        own = self._own_macs(bridge)
        if frame.source in own:
            # br_fdb_update: "received packet with own address as source address".
            step = step.then(station.name, bridge.name, "{} is a port's own MAC", frame.source)
        else:
            learned = station.network.learned.ports
            learned[station, bridge.name, frame.source] = port.name
        if frame.flooded:
            station.stack.enter(bridge, frame, step)
            self._forward(bridge, port, frame, step)
        elif frame.target in (bridge.mac, port.mac):
            station.stack.enter(bridge, frame, step, meant=True)
        elif frame.target in own:
            # For the host, says the fdb; for another of its links, says the MAC.
            why = "{} is another port's own MAC: swallowed"
            walk.drop(step, station, bridge.name, why, frame.target)
        else:
            self._forward(bridge, port, frame, step)

    def leave(self, bridge: Link, frame: Frame, step: Step) -> None:
        """The host itself, or a macvtap above, sends out of the bridge."""
        frame.visited.add((self._station, bridge.name))
        self._forward(bridge, None, frame, step)

    def _forward(self, bridge: Link, came_in: Link | None, frame: Frame, step: Step) -> None:
        station = self._station
        avoid = came_in.name if came_in else None
        packet = frame.payload
        if (
            came_in is not None
            and isinstance(packet, Packet)
            and not station.stack.netfilter.bridged(bridge.name, packet, step)
        ):
            return
        known = station.network.learned.ports.get((station, bridge.name, frame.target))
        if known is not None and not frame.flooded:
            if known == avoid:
                station.network.walk.ignore(step, station, known, "{} is here", frame.target)
            else:
                station.transmit(known, frame, step)
            return
        step = step.then(station.name, bridge.name, "to all ports")
        for name in station.state.ports[bridge.name]:
            if name != avoid and station.state.is_up(name):
                station.transmit(name, frame, step)

    def _own_macs(self, bridge: Link) -> frozenset[str]:
        """Frames to these are for the host, and never leave by a port."""
        station = self._station
        learned = station.network.learned.own_macs
        found = learned.get((station, bridge.name))
        if found is None:
            ports = map(station.state.link, station.state.ports[bridge.name])
            found = frozenset({bridge.mac or "", *(port.mac or "" for port in ports if port)})
            learned[station, bridge.name] = found
        return found
