"""DHCP in the fabric: scopes answering, guests asking (RFC 2131)."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from snnet.contract import DhcpScope, IPAddress

from .frames import BROADCAST, Dhcp, Frame, Packet, Udp
from .trace import Step

if TYPE_CHECKING:
    from .station import Station

SERVER_PORT, CLIENT_PORT = 67, 68
_NOBODY = IPv4Address("0.0.0.0")
_EVERYBODY = IPv4Address("255.255.255.255")


class Lease(NamedTuple):
    """What a guest got by DHCP; ``mtu`` in bytes."""

    address: IPv4Address
    prefix: int
    gateway: IPv4Address
    mtu: int
    server: IPv4Address


class DhcpServer:
    """Answers on every bridge of a host that has a scope."""

    def __init__(self, station: Station) -> None:
        self._station = station
        station.stack.servers[SERVER_PORT] = self._hear

    def _hear(self, link: str, packet: Packet, step: Step) -> None:
        station, walk = self._station, self._station.network.walk
        asked = packet.payload.payload if isinstance(packet.payload, Udp) else None
        scope = station.state.nouns.get(("dhcp", link))
        if not isinstance(asked, Dhcp) or not isinstance(scope, DhcpScope):
            walk.ignore(step, station, link, "no DHCP scope here")
            return
        if not scope.running:
            walk.drop(step, station, link, "DHCP: the server is stopped")
            return
        # A server takes its range by the address of the link it hears on.
        if link not in station.state.local.get(scope.gateway, ()):
            walk.drop(step, station, link, "DHCP: {} is not on this link", scope.gateway)
            return
        address = self._leases(link, scope).get(asked.mac)
        if address is None:
            walk.drop(step, station, link, "DHCP: no entry for {}", asked.mac)
            return
        self._answer(link, scope, asked, address, step)

    def _answer(
        self, link: str, scope: DhcpScope, asked: Dhcp, address: IPAddress, step: Step
    ) -> None:
        answer = Dhcp(
            kind="OFFER" if asked.kind == "DISCOVER" else "ACK",
            mac=asked.mac,
            address=address,
            prefix=scope.subnet.prefixlen,
            server=scope.gateway,
            router=scope.gateway,
            mtu=scope.mtu,
        )
        step = step.then(self._station.name, link, "{}: {}", answer, address)
        packet = Packet(scope.gateway, address, Udp(SERVER_PORT, CLIENT_PORT, answer))
        found = self._station.state.link(link)
        mac = (found.mac if found else None) or ""
        # Straight to the asker's MAC: it cannot answer ARP yet.
        self._station.transmit(link, Frame(mac, asked.mac, packet), step)

    def _leases(self, link: str, scope: DhcpScope) -> dict[str, IPAddress]:
        learned = self._station.network.learned.leases
        found = learned.get((self._station, link))
        if found is None:
            found = {entry.mac: entry.address for entry in scope.leases()}
            learned[self._station, link] = found
        return found


class DhcpClient:
    """Asks for a lease on one link of a guest."""

    def __init__(self, station: Station, link: str, mac: str) -> None:
        self._station, self._link, self._mac = station, link, mac
        self.lease: Lease | None = None
        self.answer: Step | None = None
        """The step that brought the lease."""

    def ask(self) -> None:
        """Send the first message; ``lease`` is there, or not, once the walk has ended."""
        self.lease = self.answer = None
        self._station.stack.raw[CLIENT_PORT] = self._hear
        self._say("DISCOVER", Step(None, self._station.name, self._link, "asks for a lease", ()))

    def _hear(self, link: str, packet: Packet, step: Step) -> None:
        heard = packet.payload.payload if isinstance(packet.payload, Udp) else None
        if not isinstance(heard, Dhcp) or heard.mac != self._mac:
            return
        step = step.then(self._station.name, link, "{} arrived", heard)
        if heard.kind == "OFFER":
            self._say("REQUEST", step)
            return
        assert isinstance(heard.address, IPv4Address)
        assert isinstance(heard.server, IPv4Address)
        assert isinstance(heard.router, IPv4Address)
        self.answer = step
        self.lease = Lease(heard.address, heard.prefix, heard.router, heard.mtu, heard.server)

    def _say(self, kind: str, step: Step) -> None:
        said = Udp(CLIENT_PORT, SERVER_PORT, Dhcp(kind, self._mac))
        frame = Frame(self._mac, BROADCAST, Packet(_NOBODY, _EVERYBODY, said))
        self._station.transmit(self._link, frame, step)
