"""The fabric as its users see it: hosts, guests, ping, connect, explain.

Here: what is plugged in where, and the questions that start a walk.  Not here: how
frames move (``links.py``, ``stack.py``) and what a guest does by itself
(``guests.py``).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

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
from .guests import NIC, DhcpServer, Guest, Vnic, address_of, gateway_of, nic_of, parse_address
from .links import Cable, Links, Wire
from .stack import Stack
from .tunnels import Tunnels
from .walk import Network, Question, Station, Step, Walk

_EPHEMERAL = 49153  # a port that a client would be given (RFC 6335, 6)

Place = FakeKernel | Guest


class Connection(NamedTuple):
    """A connection as its listener has it: who that is, and from which address it came."""

    station: str
    source: IPAddress


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
        self._wire = Wire()
        self._stacks: dict[FakeKernel, Stack] = {}
        self._numbers = itertools.count(1)

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
        with self._network.lock:
            if name in self.hosts:
                raise InvalidRequest(f"there is a host {name!r} already", field="name")
            below = None if on is None else self._find_port(on)
            kernel = FakeKernel(name)
            mac = None if below is None else below[1].mac
            mtu = mtu if below is None else below[1].mtu or mtu
            nic = kernel.add_uplink(NIC, cidr, mtu=mtu, mac=mac)
            stack = self._join(kernel, name)
            DhcpServer(stack)
            if below is None:
                self._plug(stack.links, nic)
            else:
                self._connect(stack.links, nic, *below)
            self.hosts[name] = kernel
            return kernel

    def plug(self, kernel: FakeKernel, link_name: str) -> None:
        """Put a further uplink of a host (``FakeKernel.add_uplink``) on the wire.

        Who asks for an address of a host with several believes the uplink that has
        it: on Linux all of them answer, and the first answer counts.
        """
        with self._network.lock:
            links = self._stack(kernel).links
            link = kernel.state.link(link_name)
            free_end = isinstance(link, Veth) and link.peer is None
            if link is None or not (free_end or isinstance(link, Other)) or link_name == "lo":
                name = links.station.name
                raise InvalidRequest(f"{link_name} on {name} is no uplink", field="link_name")
            if links.cable(link) is not None:
                raise InvalidRequest(f"{link_name} is plugged in already", field="link_name")
            self._plug(links, link)

    def listen(self, place: Place, protocol: str, port: int | None = None) -> None:
        """Have a host or guest listen on the port; without one, on every port.

        Guests listen everywhere until they are told where, hosts nowhere.
        """
        with self._network.lock:
            _check_port(protocol, port)
            self._stack(place).sockets.listen(protocol, port)

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
        with self._network.lock:
            host = self._stack(kernel).links
            near = kernel.state.link(vnic.link_name)
            if not isinstance(near, (Tap, Veth)):
                found = "no link" if near is None else f"{near.kind} is no tap or veth:"
                raise InvalidRequest(
                    f"{found} {vnic.link_name} on {host.station.name}", field="vnic"
                )
            if host.cable(near) is not None:
                raise InvalidRequest(f"{near.name} has a guest already", field="vnic")
            interface = None if dhcp else address_of(vnic, address)
            router = gateway_of(vnic, gateway)
            name = name or f"guest {interface.ip if interface else next(self._numbers)}"
            with kernel.state.lock:
                peer = kernel.links.take_peer(near) if isinstance(near, Veth) else None
            mac, mtu = nic_of(vnic, near, peer, dhcp)
            own = FakeKernel(f"{kernel.hostname}/{near.name}")
            nic = own.add_uplink(NIC, None, mtu=mtu, mac=mac, kind="veth" if peer else "physical")
            stack = self._join(own, name)
            self._connect(stack.links, nic, host, kernel.state.link(near.name) or near)
            stack.sockets.listen_to_all()
            guest = Guest(stack, kernel, near.name, peer, self.detach)
            if interface is not None:
                guest.configure(interface, router)
            else:
                guest.renew()
            return guest

    def detach(self, guest: Guest) -> None:
        """Take the guest away; the peer of its veth goes back to the host.  May be repeated."""
        with self._network.lock:
            stack = self._stacks.pop(guest.kernel, None)
            if stack is None:
                return
            self._network.changes.count += 1
            host = self._stacks[guest.host].links
            near = guest.host.state.link(guest.link_name)
            cable = host.cables.get(guest.link_name)
            if cable is None or cable.far is not stack.links:
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
        with self._network.lock:
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
        with self._network.lock:
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
        with self._network.lock:
            first = self._ask(source, target, asked)
            second = self._ask(source, target, asked)
            walk, failure = second if second[1] == first[1] else first
            if failure is None:
                assert walk.answer is not None
                return "\n".join([*map(str, walk.answer.path()), "answered"])
            return "\n".join([*walk.endings.lines(), failure])

    def _ask(
        self, source: Place, target: Place | str | IPAddress, asked: Echo | Segment
    ) -> tuple[Walk, str | None]:
        """The walk, and why it failed if it did."""
        stack = self._stack(source)
        station, walk = stack.station, self._network.new_walk()
        there = self._there(target)
        address = _main_address(there) if there else parse_address(target, "target")
        if address is None:
            return walk, f"{there.name if there else target} has no address"
        if isinstance(asked, Echo):
            step = Step(None, station.name, "", "ping {}, {} bytes of data", (address, asked.data))
        else:
            step = Step(None, station.name, "", "connect to {} on {}", (address, asked))
        own = stack.source_for(address)
        if own is None:
            station.drop(step, "", "no route to {}", address)
        else:
            walk.question = Question(station, Packet(own, address, asked))
            walk.later(stack.send, walk.question.packet, step)
        walk.run()
        if walk.answer is None:
            return walk, "no answer"
        if there is not None and there not in walk.reached:
            names = ", ".join(sorted(other.name for other in walk.reached))
            return walk, f"not answered by {there.name} but by {names}"
        return walk, None

    # -- stations -------------------------------------------------------------------------

    def _join(self, kernel: FakeKernel, name: str) -> Stack:
        """A station for the kernel, with all its layers."""
        stack = Stack(Links(Station(self._network, kernel, name), self._wire))
        Tunnels(stack)
        kernel.state.changes = self._network.changes
        self._network.changes.count += 1
        self._stacks[kernel] = stack
        return stack

    def _plug(self, links: Links, uplink: Link) -> None:
        """Put a link on the wire."""
        links.cables[uplink.name] = Cable(uplink.index)
        self._wire.plug(links, uplink.name)
        self._network.changes.count += 1

    def _connect(self, links: Links, nic: Link, below: Links, link: Link) -> None:
        """Put a cable between two links."""
        links.cables[nic.name] = Cable(nic.index, below, link.name, link.index)
        below.cables[link.name] = Cable(link.index, links, nic.name, nic.index)
        self._network.changes.count += 1

    def _stack(self, place: Place) -> Stack:
        kernel = place.kernel if isinstance(place, Guest) else place
        stack = self._stacks.get(kernel) if isinstance(kernel, FakeKernel) else None
        if stack is None:
            raise InvalidRequest(f"{place!r} is no host or guest of this fabric")
        return stack

    def _there(self, target: Place | str | IPAddress) -> Station | None:
        """The station that has to answer, if it matters."""
        return self._stack(target).station if isinstance(target, (FakeKernel, Guest)) else None

    def _find_port(self, on: Vnic | tuple[FakeKernel, Vnic]) -> tuple[Links, Macvtap]:
        kernels, port = ([on[0]], on[1]) if isinstance(on, tuple) else (self.hosts.values(), on)
        found = [
            (self._stack(kernel).links, link)
            for kernel in kernels
            if isinstance(link := kernel.state.link(port.link_name), Macvtap)
        ]
        if not found:
            raise InvalidRequest(f"no host has a macvtap {port.link_name}", field="on")
        if len(found) > 1:
            names = ", ".join(links.station.name for links, _ in found)
            raise InvalidRequest(f"{names} have a macvtap {port.link_name}: say which", field="on")
        links, link = found[0]
        if links.cable(link) is not None:
            raise InvalidRequest(f"{link.name} has a host already", field="on")
        return links, link


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


def _main_address(station: Station) -> IPAddress | None:
    """The first address that is not a loopback's."""
    return next((ip for ip in station.state.local if not ip.is_loopback), None)
