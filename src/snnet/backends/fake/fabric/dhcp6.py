"""Router advertisements and DHCPv6 (RFC 4861, RFC 8415), at the level of messages.

Here: the router and server of a host's bridges, and a guest's client.  Not here: DHCP of IPv4,
and what a guest does with its leases (``guests.py``).
"""

from __future__ import annotations

from ipaddress import IPv6Address

from snnet.contract import DhcpScope, IPNetwork
from snnet.contract.addresses import gateway_of, link_local_of, of_family

from .frames import (
    BROADCAST,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    Dhcp,
    Frame,
    Icmp6,
    Packet,
    Udp,
)
from .lease import Lease
from .ndp import CLIENT6, SERVER6
from .stack import Stack
from .walk import Step

_ALL_NODES, _ALL_ROUTERS = IPv6Address("ff02::1"), IPv6Address("ff02::2")
_ALL_SERVERS = IPv6Address("ff02::1:2")  # RFC 8415, 7.1
_ANSWERS = {"SOLICIT": "ADVERTISE", "REQUEST": "REPLY"}


class Server6:
    """Answers guests on every bridge of a host that has a scope with an IPv6 network."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._station = stack.station
        stack.sockets.icmp6[ROUTER_SOLICITATION] = self._advertise
        stack.sockets.servers[SERVER6] = self._lease

    def _advertise(self, link: str, packet: Packet, step: Step) -> None:
        found = self._scope(link, step)
        own = self._stack.link_local(link)
        if found is None or not isinstance(packet.payload, Icmp6):
            return
        scope, network = found
        if own is None:
            self._station.drop(step, link, "no router advertisement: no link-local address")
            return
        said = Icmp6(ROUTER_ADVERTISEMENT, self._mac(link), mtu=scope.mtu, network=network)
        step = step.then(self._station.name, link, "{}: DHCPv6 on {}", said, network)
        self._send(link, packet.payload.mac, Packet(own, _ALL_NODES, said), step)

    def _lease(self, link: str, packet: Packet, step: Step) -> None:
        station = self._station
        asked = packet.payload.payload if isinstance(packet.payload, Udp) else None
        found = self._scope(link, step)
        own = self._stack.link_local(link)
        if found is None or not isinstance(asked, Dhcp) or asked.kind not in _ANSWERS:
            return
        scope, network = found
        address = next(
            (
                entry.address
                for entry in scope.entries
                if entry.mac == asked.mac and entry.address.version == 6
            ),
            None,
        )
        if address is None or own is None:
            station.drop(step, link, "DHCPv6: no entry for {}", asked.mac)
            return
        kind, gateway = _ANSWERS[asked.kind], gateway_of(network)
        said = Dhcp(kind, asked.mac, address, network.prefixlen, gateway, own, scope.mtu, six=True)
        step = step.then(station.name, link, "{}: {}", said, address)
        answer = Packet(own, packet.source, Udp(SERVER6, CLIENT6, said))
        self._send(link, asked.mac, answer, step)

    def _scope(self, link: str, step: Step) -> tuple[DhcpScope, IPNetwork] | None:
        """Return the scope of the bridge and its IPv6 network, None if nothing is served."""
        station = self._station
        scope = station.state.nouns.get(("dhcp", link))
        network = of_family(scope.subnets, 6) if isinstance(scope, DhcpScope) else None
        if not isinstance(scope, DhcpScope) or network is None:
            station.ignore(step, link, "no DHCPv6 scope here")
        elif not scope.running:
            station.drop(step, link, "DHCPv6: the server is stopped")
        elif link not in station.state.local.get(gateway_of(network), ()):
            station.drop(step, link, "DHCPv6: {} is not on this link", gateway_of(network))
        else:
            return scope, network
        return None

    def _mac(self, link: str) -> str:
        found = self._station.state.link(link)
        return (found.mac if found else None) or ""

    def _send(self, link: str, mac: str, packet: Packet, step: Step) -> None:
        self._stack.links.transmit(link, Frame(self._mac(link), mac or BROADCAST, packet), step)


class Client6:
    """Asks routers, and then a DHCPv6 server, on one link of a guest."""

    def __init__(self, stack: Stack, link: str, mac: str) -> None:
        self._stack, self._link, self._mac = stack, link, mac
        self._station = stack.station
        self._router: Packet | None = None
        self.lease: Lease | None = None
        self.answer: Step | None = None
        """The step that delivered the lease."""

    def ask(self) -> None:
        """Send the first message; ``lease`` is set when the walk has ended, if one was given."""
        self.lease = self.answer = self._router = None
        self._stack.sockets.icmp6[ROUTER_ADVERTISEMENT] = self._hear_router
        self._stack.sockets.raw[CLIENT6] = self._hear_server
        asked = Packet(self._own, _ALL_ROUTERS, Icmp6(ROUTER_SOLICITATION, self._mac))
        self._send(asked, Step(None, self._station.name, self._link, "asks for a router", ()))

    @property
    def _own(self) -> IPv6Address:
        return link_local_of(self._mac)

    def _hear_router(self, link: str, packet: Packet, step: Step) -> None:
        if self._router is None and link == self._link:
            self._router = packet
            step = step.then(self._station.name, link, "{} of {} arrived", packet.payload, packet)
            self._say("SOLICIT", step)

    def _hear_server(self, link: str, packet: Packet, step: Step) -> None:
        heard = packet.payload.payload if isinstance(packet.payload, Udp) else None
        router = self._router
        if not isinstance(heard, Dhcp) or heard.mac != self._mac or router is None:
            return
        step = step.then(self._station.name, link, "{} arrived", heard)
        if heard.kind == "ADVERTISE":
            self._say("REQUEST", step)
            return
        told = router.payload
        assert isinstance(told, Icmp6)
        assert isinstance(heard.address, IPv6Address)
        assert heard.server is not None
        # The address comes alone; what is on the link, the router says (RFC 8415, 1).
        on_link = told.network is not None and heard.address in told.network
        prefix = told.network.prefixlen if told.network is not None and on_link else 128
        self.answer = step
        self.lease = Lease(heard.address, prefix, router.source, told.mtu, heard.server)

    def _say(self, kind: str, step: Step) -> None:
        said = Udp(CLIENT6, SERVER6, Dhcp(kind, self._mac, six=True))
        self._send(Packet(self._own, _ALL_SERVERS, said), step)

    def _send(self, packet: Packet, step: Step) -> None:
        self._stack.links.transmit(self._link, Frame(self._mac, BROADCAST, packet), step)
