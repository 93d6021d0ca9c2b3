"""IP of one station: input, forwarding, output (net/ipv4/ip_input.c ... ip_output.c).

A packet passes here in the order of netfilter's hooks: ``packet`` (prerouting),
``_deliver`` (input) or ``_forward`` (forward), ``send`` (output) and ``_out``
(postrouting).  Firewall rules act at the head of these (``netfilter.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from snnet.contract import Gre, IPAddress, Link

from ..addresses import is_broadcast
from ..fib import Hop
from ..paths import path_to, source_on
from ..sysctls import SysctlRules
from .arp import Resolver
from .frames import BROADCAST, Arp, Encapsulated, Frame, Packet, Udp
from .netfilter import Netfilter
from .passage import Passage
from .sockets import Sockets
from .trace import Step

if TYPE_CHECKING:
    from .station import Station

_LIMITED_BROADCAST = IPv4Address("255.255.255.255")

Listener = Callable[[str, Packet, Step], None]


class Stack:
    """Takes packets in, forwards them, sends its own."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._state = station.state
        self._sysctls = SysctlRules(station.state)
        self._resolver = Resolver(station)
        self.netfilter = Netfilter(station)
        self.sockets = Sockets(station)
        self.raw: dict[int, Listener] = {}
        """Who takes UDP packets to a port as they come in, with no address of their own."""
        self.servers: dict[int, Listener] = {}
        """Who takes UDP packets to a port of the host's addresses, and to all."""

    # -- in ---------------------------------------------------------------------------

    def enter(self, link: Link, frame: Frame, step: Step, *, meant: bool = False) -> None:
        """A frame arrived for the host, if it is its own MAC (or ``meant``) or everybody's."""
        station = self._station
        if not (meant or frame.flooded or frame.target == link.mac):
            station.network.walk.ignore(step, station, link.name, "frame to {}", frame.target)
        elif isinstance(frame.payload, Arp):
            for packet in self._resolver.hear(link, frame.payload, step):
                step_on = step.then(
                    station.name, link.name, "{} is at {}", frame.payload.sender, frame.source
                )
                self._on_link(link, frame.payload.sender, packet, step_on)
        elif self.netfilter.arrives(link, frame, step):
            self.packet(link.name, frame.payload, step)

    def packet(self, link: str, packet: Packet, step: Step) -> None:
        """A packet arrived by a link."""
        station = self._station
        payload = packet.payload
        if isinstance(payload, Udp) and payload.target in self.raw:
            self.raw[payload.target](link, packet, step)
            return
        passage = self.netfilter.prerouting(Passage(packet, step, link))
        if passage is None:
            return
        packet, step = passage.packet, passage.step
        if packet.source.version == 4 and packet.source in self._state.local and link != "lo":
            # fib_validate_source: nobody else may use an address of ours.
            station.network.walk.drop(
                step, station, link, "{} comes from an address of this host", packet
            )
        elif self._is_local(packet.target):
            self._deliver(passage)
        else:
            self._forward(passage)

    def _is_local(self, address: IPAddress) -> bool:
        """Whether the host takes it in: any of its addresses, by whatever link (weak host)."""
        learned = self._station.network.learned.local
        found = learned.get((self._station, address))
        if found is None:
            found = learned[self._station, address] = (
                address in self._state.local
                or address.is_loopback
                or address == _LIMITED_BROADCAST
                or is_broadcast(self._state, address)
            )
        return found

    def _deliver(self, arrived: Passage) -> None:
        passage = self.netfilter.input(arrived)
        if passage is None:
            return
        station, walk = self._station, self._station.network.walk
        packet, step, link = passage.packet, passage.step, passage.link
        payload = packet.payload
        if isinstance(payload, Encapsulated):
            station.tunnels.decapsulate(packet, payload, 0, step)
        elif isinstance(payload, Udp):
            if isinstance(payload.payload, Encapsulated):
                station.tunnels.decapsulate(packet, payload.payload, payload.target, step)
            elif payload.target in self.servers:
                self.servers[payload.target](link, packet, step)
            else:
                walk.ignore(step, station, link, "nobody listens for {}", payload)
        elif packet.target not in self._state.local and not packet.target.is_loopback:
            walk.ignore(step, station, link, "what is asked of all gets no answer")
        else:
            self.sockets.hear(link, packet, payload, step)

    def _forward(self, passage: Passage) -> None:
        station, walk = self._station, self._station.network.walk
        packet, step, link = passage.packet, passage.step, passage.link
        if not self.forwards(link, packet.target.version):
            walk.drop(
                step, station, link, "{} is not for this host, which does not forward", packet
            )
            return
        if packet.ttl <= 1:
            walk.drop(step, station, link, "TTL exceeded on the way to {}", packet.target)
            return
        hop = self._state.fib.find(packet.target)
        if hop is None:
            walk.drop(step, station, link, "no route to {}", packet.target)
            return
        let = self.netfilter.forward(passage, hop.link)
        if let is not None:
            onward = Packet(packet.source, packet.target, packet.payload, packet.ttl - 1)
            step = step.then(station.name, link, "forwards {}", packet)
            self._out(hop, let._replace(packet=onward, step=step))

    def forwards(self, link: str, version: int) -> bool:
        """Whether the host passes on what comes by the link for others."""
        name = f"net.ipv4.conf.{link}" if version == 4 else "net.ipv6.conf.all"
        found = self._sysctls.find(f"{name}.forwarding")
        return found is not None and found.value != "0"

    def answers_for(self, link: Link) -> list[IPAddress] | None:
        """The addresses the host may answer ARP for on the link; None if for any."""
        if self._resolver.is_proxy(link):
            return None
        return [*self._state.local, *self._resolver.proxied(link)]

    # -- out ----------------------------------------------------------------------------

    def send(self, packet: Packet, step: Step, sender: str = "") -> None:
        """Send a packet of the host's own; ``sender`` is the tunnel it comes from, if any."""
        station = self._station
        passage = self.netfilter.output(Passage(packet, step))
        packet, step = passage.packet, passage.step
        if self._is_local(packet.target) and packet.target != _LIMITED_BROADCAST:
            station.network.walk.later(self.packet, "lo", packet, step)
            return
        hop = self._state.fib.find(packet.target)
        if hop is None:
            station.network.walk.drop(step, station, sender, "no route to {}", packet.target)
        else:
            self._out(hop, passage)

    def _out(self, hop: Hop, leaving: Passage) -> None:
        next_hop = hop.gateway or leaving.packet.target
        passage = self.netfilter.postrouting(leaving, hop.link, next_hop)
        if passage is None:
            return
        packet, step = passage.packet, passage.step
        link = self._state.link(hop.link)
        assert link is not None
        if packet.size > (link.mtu or 0):
            why = "{} bytes to {} do not fit the MTU of {}"
            self._station.network.walk.drop(
                step, self._station, link.name, why, packet.size, packet.target, link.mtu
            )
            return
        self._on_link(link, next_hop, packet, step)

    def _on_link(self, link: Link, next_hop: IPAddress, packet: Packet, step: Step) -> None:
        """Send to a neighbour on the link, once its MAC is known."""
        station = self._station
        if isinstance(link, Gre):
            station.tunnels.send_packet(link, next_hop, packet, step)
            return
        mac = self._resolver.mac_of(link, next_hop)
        if mac is not None:
            station.transmit(link.name, Frame(link.mac or "", mac, packet), step)
        elif station.network.walk.wait(station, link.name, next_hop, packet, step):
            sender = packet.source
            if sender not in self._state.local:
                sender = self.source_on(link.name, next_hop) or sender
            arp = Arp(True, sender, link.mac or "", next_hop)
            step = step.then(station.name, link.name, "{} tell {}", arp, sender)
            station.transmit(link.name, Frame(link.mac or "", BROADCAST, arp), step)

    # -- addresses of our own --------------------------------------------------------------

    def source_for(self, target: IPAddress) -> IPAddress | None:
        """The address the host uses towards the target, None if it has no way there."""
        path = path_to(self._state, target)
        return path.source if path else None

    def source_on(self, link: str, towards: IPAddress) -> IPAddress | None:
        """The address of the link that it uses towards a neighbour."""
        return source_on(self._state, link, towards)
