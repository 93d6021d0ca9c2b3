"""Tunnels: frames into packets and back, through the host's own IP.

Here: how each kind of tunnel finds its other end, and which link receives a packet.
Not here: the headers (``frames.py``) and the path of the outer packet (``stack.py``).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from snnet.contract import TUNNELS, Fdb, Gre, IPAddress, Link, Neighbour, Tunnel, Vxlan
from snnet.contract.addresses import NO_MAC

from .frames import Encapsulated, Frame, Packet, Udp
from .stack import Stack
from .walk import Step

_SOURCE_PORT = 49152  # the kernel uses a hash of the inner headers; any port will do
_DEPTH_MAX = 8  # XMIT_RECURSION_LIMIT, net/core/dev.h
_FRAMES = {noun.protocol: noun for noun in TUNNELS}


class Tunnels:
    """The tunnels of one station; registers itself with its links and stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._station = stack.station
        stack.tunnels = stack.links.tunnels = self

    # -- out -------------------------------------------------------------------------

    def encapsulate(self, link: Tunnel, frame: Frame, step: Step) -> None:
        """Send a frame to the tunnel's other end."""
        remotes = self._vxlan_remotes(link, frame.target) if isinstance(link, Vxlan) else []
        if link.remote is not None and not remotes:
            remotes = [link.remote]
        if not remotes:
            end = self._station.ignore if frame.flooded else self._station.drop
            end(step, link.name, "no forwarding entry for {}", frame.target)
        for far in remotes:
            local = link.wire_local or self._stack.source_for(far)
            copy = Frame(frame.source, frame.target, frame.payload, visited={*frame.visited})
            inner = Encapsulated(link.protocol, link.wire_key, copy)
            outer = Udp(_SOURCE_PORT, link.wire_port, inner) if link.over_udp else inner
            self._send(link, local, far, outer, step)

    def send_packet(self, link: Gre, next_hop: IPAddress, packet: Packet, step: Step) -> None:
        """Send a packet over multipoint gre, to the next hop's neighbour entry."""
        entry = self._station.state.nouns.get(("neighbour", link.name, str(next_hop)))
        if not isinstance(entry, Neighbour):
            self._station.drop(step, link.name, "no neighbour entry for {}", next_hop)
            return
        payload = Encapsulated("gre", link.tunnel_key, packet)
        self._send(link, link.local, IPv4Address(entry.lladdr), payload, step)

    def _vxlan_remotes(self, link: Vxlan, mac: str) -> list[IPAddress]:
        """Return where a vxlan's entries send frames to this MAC."""
        state = self._station.state
        entry = state.nouns.get(("fdb", link.name, mac))
        if isinstance(entry, Fdb):
            return [entry.remote]
        found = self._station.learned.remotes.get((self._station, link.name))
        if found is None:
            entries = state.on_link(link.name)
            found = [one.remote for one in entries if isinstance(one, Fdb) and one.mac == NO_MAC]
            self._station.learned.remotes[self._station, link.name] = found
        return found

    def _send(
        self,
        link: Link,
        local: IPAddress | None,
        remote: IPAddress,
        payload: Udp | Encapsulated,
        step: Step,
    ) -> None:
        station = self._station
        if local is None or local not in station.state.local:
            why = "the local address {} is not on this host"
            station.drop(step, link.name, why, local)
            return
        step = step.then(station.name, link.name, "{} to {}", payload, remote)
        inner = payload.payload if isinstance(payload, Udp) else payload
        if isinstance(inner, Encapsulated) and inner.depth > _DEPTH_MAX:
            station.drop(step, link.name, "the tunnel is routed into itself")
            return
        self._stack.send(Packet(local, remote, payload), step, link.name)

    # -- in ---------------------------------------------------------------------------

    def decapsulate(self, packet: Packet, outer: Encapsulated, port: int, step: Step) -> None:
        """Receive an encapsulated packet on the tunnel that has its identity."""
        station, source, target = self._station, packet.source, packet.target
        noun = _FRAMES[outer.protocol] if isinstance(outer.inner, Frame) else Gre
        identity = noun.identity(outer.key, target, source, port)
        name = station.state.tunnels.get(identity)
        if name is None:
            why = "no tunnel here for {} from {}"
            station.drop(step, "", why, outer, source)
            return
        step = step.then(station.name, name, "{} from {}", outer, source)
        if isinstance(outer.inner, Frame):
            self._stack.links.receive(name, outer.inner, step)
        elif station.state.is_up(name):
            self._stack.receive_packet(name, outer.inner, step)
        else:
            station.drop(step, name, "the link is down")
