"""The fabric as its users see it: hosts, guests, ping, connect, explain."""

from __future__ import annotations

import itertools
import threading
from ipaddress import ip_address, ip_interface
from typing import Protocol

from snnet.contract import (
    PROTOCOLS,
    InvalidRequest,
    IPAddress,
    IPInterface,
    Link,
    Macvtap,
    Other,
    Tap,
    Veth,
)

from ..kernel import FakeKernel
from .frames import Echo, Packet, Segment
from .guest import Guest
from .leases import DhcpClient, DhcpServer
from .network import Network
from .sockets import Connection, Question
from .station import Cable, Station
from .trace import Step
from .walk import Walk

_NIC = "eth0"
_EPHEMERAL = 49153  # a port that a client would be given (RFC 6335, 6)

Place = FakeKernel | Guest


class Vnic(Protocol):
    """What a guest needs to know of its VNIC; the rest it reads where there is more."""

    @property
    def link_name(self) -> str: ...


class Fabric:
    """Fake hosts on one wire, and guests on their VNICs.

    There is no time: before each walk all caches are as if everything had
    been left alone since the last change.  Frames larger than a link's MTU
    are dropped, also where Linux would fragment the packet inside.  Firewall
    rules of the hosts (``FakeFirewall``) are obeyed; a connection is known to
    them for one walk.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, FakeKernel] = {}
        self._network = Network()
        self._stations: dict[FakeKernel, Station] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # -- building ----------------------------------------------------------------------

    def add_host(
        self,
        name: str,
        cidr: str | IPInterface | None,
        *,
        on: Vnic | tuple[FakeKernel, Vnic] | None = None,
        mtu: int = 1500,
    ) -> FakeKernel:
        """A new host whose ``eth0`` has this address.

        ``eth0`` is on the wire, or with ``on`` behind that CNCI VNIC: it then
        has the VNIC's MAC and MTU.  Where two hosts have a link of the VNIC's
        name, say which: ``on=(kernel, vnic)``.
        """
        with self._lock:
            if name in self.hosts:
                raise InvalidRequest(f"there is a host {name!r} already", field="name")
            below = None if on is None else self._find_port(on)
            kernel = FakeKernel(name)
            mac = None if below is None else below[1].mac
            mtu = mtu if below is None else below[1].mtu or mtu
            nic = kernel.add_uplink(_NIC, cidr, mtu=mtu, mac=mac)
            station = self._join(kernel, name)
            DhcpServer(station)
            if below is None:
                station.cables[_NIC] = Cable(nic.index)
                self._network.wire.plug(station, _NIC)
            else:
                self._connect(station, nic, *below)
            self.hosts[name] = kernel
            return kernel

    def plug(self, kernel: FakeKernel, link_name: str) -> None:
        """Put a further uplink of a host (``FakeKernel.add_uplink``) on the wire.

        Who asks for an address of a host with several believes the uplink that has
        it: on Linux all of them answer, and the first answer counts.
        """
        with self._lock:
            station = self._station(kernel)
            link = kernel.state.link(link_name)
            free_end = isinstance(link, Veth) and link.peer is None
            if link is None or not (free_end or isinstance(link, Other)) or link_name == "lo":
                raise InvalidRequest(
                    f"{link_name} on {station.name} is no uplink", field="link_name"
                )
            if station.cable(link) is not None:
                raise InvalidRequest(f"{link_name} is plugged in already", field="link_name")
            station.cables[link_name] = Cable(link.index)
            self._network.wire.plug(station, link_name)
            self._network.changes.count += 1

    def listen(self, place: Place, protocol: str, port: int | None = None) -> None:
        """Have a host or guest listen on the port; without one, on every port.

        Guests listen everywhere until they are told where, hosts nowhere.
        """
        with self._lock:
            _check_port(protocol, port)
            self._station(place).stack.sockets.listen(protocol, port)

    def attach(
        self,
        kernel: FakeKernel,
        vnic: Vnic,
        *,
        dhcp: bool = False,
        address: str | IPInterface | None = None,
        gateway: str | IPAddress | None = None,
        name: str | None = None,
    ) -> Guest:
        """A guest on the VNIC: behind its tap, or with the peer of its veth as its own.

        With ``dhcp`` it asks for a lease; without, it has ``address`` and
        ``gateway``, by default those of the VNIC (its ``ip``, ``subnet``,
        ``gateway``).  MAC and MTU are the VNIC's.
        """
        with self._lock:
            host = self._station(kernel)
            near = kernel.state.link(vnic.link_name)
            if not isinstance(near, (Tap, Veth)):
                found = "no link" if near is None else f"{near.kind} is no tap or veth:"
                raise InvalidRequest(f"{found} {vnic.link_name} on {host.name}", field="vnic")
            if host.cable(near) is not None:
                raise InvalidRequest(f"{near.name} has a guest already", field="vnic")
            interface = None if dhcp else _address_of(vnic, address)
            router = _gateway_of(vnic, gateway)
            name = name or f"guest {interface.ip if interface else next(self._numbers)}"
            guest = Guest(self, name, kernel, near.name)
            with kernel.state.lock:
                peer = kernel.links.take_peer(near) if isinstance(near, Veth) else None
            guest.peer = peer
            mac, mtu = _nic_of(vnic, near, peer, dhcp)
            nic = guest.kernel.add_uplink(
                _NIC, None, mtu=mtu, mac=mac, kind="veth" if peer else "physical"
            )
            station = self._join(guest.kernel, name)
            self._connect(station, nic, host, kernel.state.link(near.name) or near)
            station.stack.sockets.listen_to_all()
            guest.client = DhcpClient(station, _NIC, nic.mac or "")
            if interface is not None:
                guest.configure(interface, router)
            else:
                guest.renew()
            return guest

    def detach(self, guest: Guest) -> None:
        """Take the guest away; the peer of its veth goes back to the host.  May be repeated."""
        with self._lock:
            station = self._stations.pop(guest.kernel, None)
            if station is None:
                return
            self._network.changes.count += 1
            host = self._stations[guest.host]
            near = guest.host.state.link(guest.link_name)
            cable = host.cables.get(guest.link_name)
            if cable is None or cable.station is not station:
                return
            del host.cables[guest.link_name]
            if guest.peer is not None and isinstance(near, Veth) and near.index == cable.ifindex:
                with guest.host.state.lock:
                    guest.host.links.bring_peer(guest.peer, near)

    # -- asking -------------------------------------------------------------------------

    def ping(self, source: Place, target: Place | str | IPAddress, *, size: int = 56) -> bool:
        """Whether an echo request of ``size`` data bytes comes back answered.

        A ``target`` that is a guest or a host must have answered itself:
        another one with the same address does not count.
        """
        with self._lock:
            return self._ask(source, target, Echo(True, 1, size))[1] is None

    def connect(
        self, source: Place, target: Place | str | IPAddress, protocol: str, port: int
    ) -> bool:
        """Whether a connection opens: TCP's or SCTP's first packet, or a UDP datagram, is answered.

        Somebody has to listen there; a ``target`` that is a guest or a host must have
        answered itself.
        """
        return self.connected(source, target, protocol, port) is not None

    def connected(
        self, source: Place, target: Place | str | IPAddress, protocol: str, port: int
    ) -> Connection | None:
        """The same connection as its listener sees it, None if it does not open."""
        with self._lock:
            walk, failure = self._ask(source, target, _opening(protocol, port))
            if failure is not None:
                return None
            listener = self._there(target) or next(iter(walk.reached))
            return Connection(listener.name, walk.reached[listener])

    def explain(
        self,
        source: Place,
        target: Place | str | IPAddress,
        *,
        size: int = 56,
        protocol: str | None = None,
        port: int | None = None,
    ) -> str:
        """The ping, or with ``protocol`` and ``port`` the connection, told hop by hop.

        Where the packet went, what dropped or rewrote it, and why.  It is the second
        attempt that is told, for in the first one every host on the way has to ask
        for its neighbours.
        """
        ping = protocol is None and port is None
        asked = Echo(True, 1, size) if ping else _opening(protocol, port)
        with self._lock:
            first = self._ask(source, target, asked)
            second = self._ask(source, target, asked)
            walk, failure = second if second[1] == first[1] else first
            if failure is None:
                assert walk.answer is not None
                return "\n".join([*map(str, walk.answer.path()), "answered"])
            return "\n".join([*walk.endings.told(), failure])

    def lease(self, guest: Guest) -> None:
        """Have the guest ask for a lease: ``Guest.renew()`` does, and sets it up."""
        with self._lock:
            guest.asked = self._network.new_walk()
            guest.client.ask()
            guest.asked.run()

    def _ask(
        self, source: Place, target: Place | str | IPAddress, asked: Echo | Segment
    ) -> tuple[Walk, str | None]:
        """The walk, and why it failed if it did."""
        station = self._station(source)
        walk = self._network.new_walk()
        there = self._there(target)
        address = _main_address(there) if there else _address(target, "target")
        if address is None:
            return walk, f"{there.name if there else target} has no address"
        if isinstance(asked, Echo):
            step = Step(None, station.name, "", "ping {}, {} bytes of data", (address, asked.data))
        else:
            step = Step(None, station.name, "", "connect to {} on {}", (address, asked))
        own = station.stack.source_for(address)
        if own is None:
            walk.drop(step, station, "", "no route to {}", address)
        else:
            walk.question = Question(station, Packet(own, address, asked))
            walk.later(station.stack.send, walk.question.packet, step)
        walk.run()
        if walk.answer is None:
            return walk, "no answer"
        if there is not None and there not in walk.reached:
            names = ", ".join(sorted(other.name for other in walk.reached))
            return walk, f"not answered by {there.name} but by {names}"
        return walk, None

    # -- stations -------------------------------------------------------------------------

    def _join(self, kernel: FakeKernel, name: str) -> Station:
        station = Station(self._network, kernel, name)
        kernel.state.changes = self._network.changes
        self._network.changes.count += 1
        self._stations[kernel] = station
        return station

    def _connect(self, station: Station, nic: Link, below: Station, link: Link) -> None:
        station.cables[nic.name] = Cable(nic.index, below, link.name, link.index)
        below.cables[link.name] = Cable(link.index, station, nic.name, nic.index)
        self._network.changes.count += 1

    def _station(self, place: Place) -> Station:
        kernel = place.kernel if isinstance(place, Guest) else place
        station = self._stations.get(kernel) if isinstance(kernel, FakeKernel) else None
        if station is None:
            raise InvalidRequest(f"{place!r} is no host or guest of this fabric")
        return station

    def _there(self, target: Place | str | IPAddress) -> Station | None:
        """The station that has to answer, if it matters."""
        return self._station(target) if isinstance(target, (FakeKernel, Guest)) else None

    def _find_port(self, on: Vnic | tuple[FakeKernel, Vnic]) -> tuple[Station, Macvtap]:
        kernels, port = ([on[0]], on[1]) if isinstance(on, tuple) else (self.hosts.values(), on)
        found = [
            (self._station(kernel), link)
            for kernel in kernels
            if isinstance(link := kernel.state.link(port.link_name), Macvtap)
        ]
        if not found:
            raise InvalidRequest(f"no host has a macvtap {port.link_name}", field="on")
        if len(found) > 1:
            names = ", ".join(station.name for station, _ in found)
            raise InvalidRequest(f"{names} have a macvtap {port.link_name}: say which", field="on")
        station, link = found[0]
        if station.cable(link) is not None:
            raise InvalidRequest(f"{link.name} has a host already", field="on")
        return station, link


def _address_of(vnic: Vnic, given: str | IPInterface | None) -> IPInterface:
    """The guest's address: the one given, else the VNIC's in its subnet."""
    try:
        if given is not None:
            return ip_interface(given)
        ip, subnet = getattr(vnic, "ip", None), getattr(vnic, "subnet", None)
        if ip is None:
            raise InvalidRequest("the VNIC has none: give one, or dhcp=True", field="address")
        prefix = (
            str(subnet).rpartition("/")[2] if subnet is not None else ip_address(ip).max_prefixlen
        )
        return ip_interface(f"{ip}/{prefix}")
    except ValueError as error:
        raise InvalidRequest(str(error), field="address") from None


def _gateway_of(vnic: Vnic, given: str | IPAddress | None) -> IPAddress | None:
    """The guest's gateway: the one given, else the VNIC's, if it has one."""
    found = given if given is not None else getattr(vnic, "gateway", None)
    return None if found is None else _address(found, "gateway")


def _address(value: object, field: str) -> IPAddress:
    try:
        return ip_address(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidRequest(str(error), field=field) from None


def _opening(protocol: str | None, port: int | None) -> Segment:
    """The first packet of a connection."""
    _check_port(protocol, port, needed=True)
    return Segment(protocol or "", _EPHEMERAL, port or 0)


def _check_port(protocol: str | None, port: int | None, *, needed: bool = False) -> None:
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise InvalidRequest(f"{protocol!r} is none of {known}", field="protocol")
    if port is None and not needed:
        return
    if type(port) is not int or not 0 < port < 2**16:
        raise InvalidRequest(f"{port!r} is no port from 1 to 65535", field="port")


def _nic_of(vnic: Vnic, near: Link, peer: Veth | None, dhcp: bool) -> tuple[str | None, int]:
    """MAC and MTU of the guest's NIC; a VM that asks for a lease does not know its MTU yet."""
    if peer is not None:
        return peer.mac, peer.mtu or 1500
    mtu = 1500 if dhcp else getattr(vnic, "mtu", None) or near.mtu or 1500
    return getattr(vnic, "mac", None), mtu


def _main_address(station: Station) -> IPAddress | None:
    """The first address that is not a loopback's."""
    return next((ip for ip in station.state.local if not ip.is_loopback), None)
