"""Layer 3 of a station: IP input, forwarding and output.

Here: the path of a packet from hook to hook (net/ipv4/ip_input.c, ip_forward.c,
ip_output.c); the picture is in ``netfilter.py``.  Not here: what the hooks decide, how
a MAC is found (``arp.py``), what listens (``sockets.py``), and tunnels (``tunnels.py``),
which register themselves as ``Stack.tunnels``.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Protocol

from snnet.contract import Gre, IPAddress, Link

from ..addresses import is_broadcast
from ..fib import Hop
from ..paths import path_to, source_on
from .arp import Resolver
from .conntrack import Passage
from .frames import (
    BROADCAST,
    TIME_EXCEEDED,
    TOO_BIG,
    UNREACHABLE,
    Arp,
    Encapsulated,
    Fragment,
    Frame,
    Icmp6,
    Packet,
    Udp,
)
from .links import Links
from .sockets import Sockets
from .walk import (
    NO_FORWARDING,
    NO_ROUTE,
    NOT_MINE,
    OTHER_WAY,
    ROUTE_REFUSES,
    TOO_LONG_TO,
    Step,
)

_LIMITED_BROADCAST = IPv4Address("255.255.255.255")


class TunnelLayer(Protocol):
    """Receives encapsulated packets, and sends packets over multipoint gre."""

    def decapsulate(self, packet: Packet, outer: Encapsulated, port: int, step: Step) -> None: ...

    def send_packet(self, link: Gre, next_hop: IPAddress, packet: Packet, step: Step) -> None: ...


class Stack:
    """Receives, forwards and sends the packets of one station."""

    tunnels: TunnelLayer

    def __init__(self, links: Links) -> None:
        self.links = links
        self.station = links.station
        self.sockets = Sockets(links.station, self.send)
        self._state = links.station.state
        self._netfilter = links.netfilter
        self._resolver = Resolver(links)
        links.upper = self

    # -- in ---------------------------------------------------------------------------

    def receive(
        self,
        link: Link,
        frame: Frame,
        step: Step,
        *,
        meant: bool = False,
        untracked: bool = False,
    ) -> None:
        """Receive a frame: flooded, to the link's MAC, or ``meant`` for the host anyway."""
        station = self.station
        if not (meant or frame.flooded or frame.target == link.mac):
            station.ignore(step, link.name, NOT_MINE, frame.target)
        elif isinstance(frame.payload, Arp):
            if frame.payload.target.version == 6 and not self._netfilter.ingress(link, frame, step):
                return
            for packet in self._resolver.receive(link, frame.payload, step):
                step_on = step.then(
                    station.name, link.name, "{} is at {}", frame.payload.sender, frame.source
                )
                self._to_neighbour(link, frame.payload.sender, packet, step_on)
        elif self._netfilter.ingress(link, frame, step):
            self.receive_packet(
                link.name, frame.payload, step, untracked=untracked, mac=frame.source
            )

    def receive_packet(
        self, link: str, packet: Packet, step: Step, *, untracked: bool = False, mac: str = ""
    ) -> None:
        """Receive a packet on a link (ip_rcv); ``untracked``: without connection tracking."""
        if self.sockets.receive_raw(link, packet, step):
            return
        passage = self._netfilter.prerouting(
            Passage(packet, step, link, untracked=untracked, mac=mac)
        )
        if passage is None:
            return
        packet = passage.packet
        if packet.source.version == 4 and packet.source in self._state.local and link != "lo":
            # fib_validate_source: no other host may use an address of this one.
            why = "{} has a source address of this host"
            self.station.drop(passage.step, link, why, packet)
        elif not self._comes_right(link, packet):
            self.station.drop(passage.step, link, OTHER_WAY, packet)
        elif self._is_local(packet.target):
            self._deliver(passage)
        else:
            self._forward(passage)

    def _comes_right(self, link: str, packet: Packet) -> bool:
        """Return whether the reverse path filter lets the packet in (__fib_validate_source)."""
        if packet.source.version == 6 or link == "lo" or packet.source.is_unspecified:
            return True
        mode = self._resolver.number(link, "ipv4", "rp_filter")
        hop = self._state.lookup(packet.source, packet.target) if mode else None
        if not mode or (hop is not None and not hop.refuses and hop.link == link):
            return True
        return mode > 1 and hop is not None and not hop.refuses

    def _deliver(self, arrived: Passage) -> None:
        """Deliver a packet to the host itself (ip_local_deliver)."""
        passage = self._netfilter.input(arrived)
        if passage is None:
            return
        packet, step, payload = passage.packet, passage.step, passage.packet.payload
        if isinstance(payload, Icmp6):
            self.sockets.receive_icmp6(passage.link, packet, payload, step)
        elif isinstance(payload, (Arp, Fragment)):
            self.station.ignore(step, passage.link, "nothing listens for {}", payload)
        elif isinstance(payload, Encapsulated):
            self.tunnels.decapsulate(packet, payload, 0, step)
        elif isinstance(payload, Udp) and isinstance(payload.payload, Encapsulated):
            self.tunnels.decapsulate(packet, payload.payload, payload.target, step)
        else:
            self.sockets.receive(passage.link, packet, payload, step)

    def _forward(self, arrived: Passage) -> None:
        """Forward a packet to another host (ip_forward)."""
        station, packet, step, link = self.station, arrived.packet, arrived.step, arrived.link
        if not station.forwards(link, packet.target.version):
            station.drop(step, link, NO_FORWARDING, packet)
            return
        if packet.ttl <= 1:
            self._refuse(arrived, TIME_EXCEEDED, "TTL exceeded on the way to {}", packet.target)
            return
        hop = self._state.lookup(packet.target, packet.source)
        if hop is None:
            self._refuse(arrived, UNREACHABLE, NO_ROUTE, packet.target)
            return
        if hop.refuses:
            self._refuse(arrived, UNREACHABLE, ROUTE_REFUSES, packet.target, hop.refuses)
            return
        passage = self._netfilter.forward(arrived, hop.link)
        if passage is not None:
            step = step.then(station.name, link, "forwards {}", packet)
            self._output(hop, passage.carrying(packet.forwarded()).at(step))

    def _refuse(
        self,
        passage: Passage,
        kind: str,
        why: str,
        *values: object,
        mtu: int = 0,
        at: str | None = None,
    ) -> None:
        """Drop a packet; if it was to be forwarded and is IPv6, tell its sender (RFC 4443)."""
        packet, link = passage.packet, passage.link if at is None else at
        self.station.drop(passage.step, link, why, *values)
        payload, source = packet.payload, packet.source
        if source.version == 4 or not passage.link or isinstance(payload, (Icmp6, Arp)):
            return  # errors and multicasts are not answered (RFC 4443, 2.4)
        if source.is_unspecified or packet.target.is_multicast:
            return
        own = self.source_for(source)
        if own is not None:
            error = Icmp6(kind, mtu=mtu, about=packet)
            step = passage.step.then(self.station.name, link, "{}, to {}", error, source)
            self.send(Packet(own, source, error), step)

    def _is_local(self, address: IPAddress) -> bool:
        """Return whether the host accepts packets to the address, on any link (weak host)."""
        learned = self.station.learned.local
        found = learned.get((self.station, address))
        if found is None:
            found = learned[self.station, address] = (
                address in self._state.local
                or address.is_loopback
                or address == _LIMITED_BROADCAST
                or (address.version == 6 and address.is_multicast)
                or is_broadcast(self._state, address)
            )
        return found

    # -- out ----------------------------------------------------------------------------

    def send(self, packet: Packet, step: Step, sender: str = "") -> None:
        """Send a packet of the host; ``sender`` is the tunnel that encapsulated it, if any."""
        out = "" if self.station.others is None else self._way_out(packet)
        passage = self._netfilter.output(Passage(packet, step), out)
        if passage is None:
            return
        packet, step = passage.packet, passage.step
        if self._is_local(packet.target) and packet.target != _LIMITED_BROADCAST:
            if not self._netfilter.loops(passage):
                return
            self.station.walk.later(self.receive_packet, "lo", packet, step)
            return
        hop = self._state.lookup(packet.target, packet.source)
        if hop is None:
            self.station.drop(step, sender, NO_ROUTE, packet.target)
        elif hop.refuses:
            self.station.drop(step, sender, ROUTE_REFUSES, packet.target, hop.refuses)
        else:
            self._output(hop, passage)

    def _way_out(self, packet: Packet) -> str:
        """Return the link that a packet of the host is about to leave by."""
        if self._is_local(packet.target):
            return "lo"
        hop = self._state.lookup(packet.target, packet.source)
        return hop.link if hop else ""

    def _output(self, hop: Hop, leaving: Passage) -> None:
        """Send a routed packet out of its link (ip_output)."""
        next_hop = hop.gateway or leaving.packet.target
        passage = self._netfilter.postrouting(leaving, hop.link, next_hop)
        if passage is None:
            return
        packet, step = passage.packet, passage.step
        link = self._state.link(hop.link)
        assert link is not None
        if packet.size > (link.mtu or 0):
            values = packet.size, packet.target, link.mtu
            self._refuse(leaving, TOO_BIG, TOO_LONG_TO, *values, mtu=link.mtu or 0, at=link.name)
            return
        self._to_neighbour(link, next_hop, packet, step)

    def _to_neighbour(self, link: Link, next_hop: IPAddress, packet: Packet, step: Step) -> None:
        """Send to a neighbour on the link, after resolving its MAC."""
        if isinstance(link, Gre):
            self.tunnels.send_packet(link, next_hop, packet, step)
            return
        station = self.station
        mac = self._resolver.mac_of(link, next_hop)
        if mac is not None:
            self.links.transmit(link.name, Frame(link.mac or "", mac, packet), step)
        elif station.walk.wait(station, link.name, next_hop, packet, step):
            sender = self._asker(link, next_hop, packet.source)
            if sender is None:
                walk = station.walk
                walk.answered(station, link.name, next_hop)
                station.drop(step, link.name, "no link-local address to ask for {}", next_hop)
                return
            arp = Arp(True, sender, link.mac or "", next_hop)
            step = step.then(station.name, link.name, "{} tell {}", arp, sender)
            if not self._netfilter.arp_output(link, arp, step):
                return
            self.links.transmit(link.name, Frame(link.mac or "", BROADCAST, arp), step)

    def _asker(self, link: Link, target: IPAddress, source: IPAddress) -> IPAddress | None:
        """Return the sender of a request for a MAC: of a packet's own source, or of the link.

        IPv6 asks from a link-local address for what it forwards, and without one not at all
        (ndisc_solicit, ndisc_send_ns).
        """
        links = self._state.local.get(source, ())
        if target.version == 6:
            return source if link.name in links else self._resolver.link_local(link)
        return source if links else source_on(self._state, link.name, target) or source

    # -- its addresses -----------------------------------------------------------------------

    def answers_for(self, link: Link) -> list[IPAddress] | None:
        """Return the addresses the host may answer ARP for on the link; None for any."""
        if self._resolver.is_proxy(link):
            return None
        return [*self._state.local, *self._resolver.proxied(link)]

    def link_local(self, name: str) -> IPAddress | None:
        """Return the link-local address of a link of the host, None without one."""
        link = self._state.link(name)
        return self._resolver.link_local(link) if link is not None else None

    def source_for(self, target: IPAddress) -> IPAddress | None:
        """Return the source address for the target, None without a route."""
        learned, key = self.station.learned.sources, (self.station, target)
        if key not in learned:
            path = path_to(self._state, target)
            learned[key] = path.source if path else None
        return learned[key]
