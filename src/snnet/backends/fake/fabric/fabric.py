"""The fabric as users see it: hosts, guests, ping, connect, explain.

Here: what is plugged in where, and the questions that start a walk.  Not here: how
frames move (``links.py``, ``stack.py``) and what guests do (``guests.py``).
"""

from __future__ import annotations

import itertools
import logging
from functools import partial

from snnet.contract import InvalidRequest, IPAddress, IPInterface, Link, Tap, Veth
from snnet.contract.errors import shown

from ..kernel import FakeKernel
from .asking import check_port, opening, question, who_answers
from .frames import Echo, Packet, Segment
from .guests import (
    NIC,
    DhcpServer,
    Guest,
    Interfaces,
    Routers,
    Vnic,
    addresses_of,
    check_vnic,
    nic_of,
    parse_address,
    routers_of,
)
from .links import Cable, Links, Wire
from .others import Others
from .plugging import check_unused, main_address, unplugged_veths
from .ports import find_port, free_uplink
from .stack import Stack
from .trace import Connection, Trace, trace_of
from .tunnels import Tunnels
from .walk import NO_ROUTE, Network, Question, Station, Step, Walk

Place = FakeKernel | Guest
Target = Place | str | IPAddress

_log = logging.getLogger("snnet.fabric")


class Fabric:
    """Fake hosts on one wire, and guests on their VNICs.

    The fabric has no clock: every question sees caches as if they had expired since the
    last change.  Frames larger than a link's MTU are dropped, even where Linux would
    fragment the packet.  The hosts' firewall rules (``FakeFirewall``) apply; their
    connection tracking lasts for one question.  Threads may share a fabric.

    The namespaces of a host (``FakeKernel.namespace``) are part of the fabric with it.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, FakeKernel] = {}
        self._network = Network()
        self._network.look = self._join_namespaces
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
        """Add a host whose ``eth0`` has this address.

        ``eth0`` is on the wire.  With ``on`` it is behind that CNCI VNIC and has the VNIC's
        MAC and MTU.  If two hosts have a link of the VNIC's name, pass
        ``on=(kernel, vnic)``.  ``mtu`` is in bytes.  Raises InvalidRequest if the name or
        the address is taken, or if the VNIC does not exist or is in use.
        """
        with self._network.lock:
            if name in self.hosts:
                raise InvalidRequest(f"host {name!r} already exists", field="name")
            below = None if on is None else find_port(self.hosts, self._links, on)
            check_unused(self.hosts, cidr)
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
        """Put another uplink of a host (``FakeKernel.add_uplink``) on the wire.

        An ARP request for an address of a host with several uplinks is answered by the
        uplink that has it; on Linux all of them answer, and the first answer counts.
        """
        with self._network.lock:
            links = self._stack(kernel).links
            self._plug(links, free_uplink(links, link_name))

    def unplug(self, kernel: FakeKernel, link_name: str = NIC) -> None:
        """Take an uplink off the wire, as when the host dies; ``plug`` puts it back."""
        with self._network.lock:
            links = self._stack(kernel).links
            links.cables.pop(link_name, None)
            self._wire.unplug(links, link_name)
            self._network.changes.count += 1

    def listen(self, place: Place, protocol: str, port: int | None = None) -> None:
        """Make a host or guest listen on the port; without one, on every port.

        Before the first call, guests listen on every port and hosts on none.
        """
        with self._network.lock:
            check_port(protocol, port)
            self._stack(place).sockets.listen(protocol, port)

    def attach(
        self,
        kernel: FakeKernel,
        vnic: Vnic,
        *,
        dhcp: bool = False,
        address: Interfaces = None,
        gateway: Routers = None,
        name: str | None = None,
    ) -> Guest:
        """Add a guest on the VNIC: behind its tap, or with the peer of its veth as NIC.

        With ``dhcp`` it asks for leases of both families.  Otherwise it gets ``address`` and
        ``gateway``, one of each family or one alone, by default the ``ips``, ``subnets`` and
        ``gateways`` of the VNIC.  MAC and MTU are the VNIC's.  Raises InvalidRequest if the
        host has no such tap or veth, if a guest already has it, or if the address is missing
        or malformed.  A guest that gets no lease has ``lease`` None, and a warning is logged;
        ``Guest.renew`` asks again.
        """
        check_vnic(vnic, "vnic")
        with self._network.lock:
            host = self._stack(kernel).links
            near = kernel.state.link(vnic.link_name)
            if not isinstance(near, (Tap, Veth)):
                where = f"{vnic.link_name} on {host.station.name}"
                why = f"{where} is a {near.kind}, not a tap or veth" if near else f"no link {where}"
                raise InvalidRequest(why, field="vnic")
            if host.cable(near) is not None:
                raise InvalidRequest(f"{near.name} already has a guest", field="vnic")
            interfaces = [] if dhcp else addresses_of(vnic, address)
            routers = routers_of(vnic, gateway)
            name = name or f"guest {interfaces[0].ip if interfaces else next(self._numbers)}"
            with kernel.state.lock:
                peer = kernel.links.take_peer(near) if isinstance(near, Veth) else None
            mac, mtu = nic_of(vnic, near, peer, dhcp)
            inner = FakeKernel(f"{kernel.hostname}/{near.name}")
            nic = inner.add_uplink(NIC, None, mtu=mtu, mac=mac, kind="veth" if peer else "physical")
            stack = self._join(inner, name)
            self._connect(stack.links, nic, host, kernel.state.link(near.name) or near)
            stack.sockets.listen_to_all()
            guest = Guest(stack, kernel, near.name, peer, self.detach)
            if interfaces:
                own = [address.ip for address in interfaces]
                guest.configure(interfaces, [router for router in routers if router not in own])
            elif guest.renew() is None:
                last = "; ".join(guest.explain_lease().splitlines()[-2:])
                _log.warning("%s on %s has no lease: %s", name, kernel.hostname, last)
            return guest

    def join(self, name: str, kernel: FakeKernel) -> None:
        """Add a host that has its links already; none of them is on the wire."""
        with self._network.lock:
            DhcpServer(self._join(kernel, name))
            self.hosts[name] = kernel

    def leave(self, name: str) -> None:
        """Remove a host that was joined; not an error if there is none of that name."""
        with self._network.lock:
            if name in self.hosts:
                del self._stacks[self.hosts.pop(name)]
                self._network.changes.count += 1

    def wire(self, one: tuple[FakeKernel, str], other: tuple[FakeKernel, str]) -> None:
        """Connect links of two hosts by a cable of their own, if both are there."""
        with self._network.lock:
            near, far = self._stack(one[0]).links, self._stack(other[0]).links
            link, peer = one[0].state.link(one[1]), other[0].state.link(other[1])
            if link is not None and peer is not None:
                self._connect(near, link, far, peer)

    def let_judge(self, kernel: FakeKernel, others: Others) -> None:
        """Have ``others`` answer for the chains of others on this host."""
        with self._network.lock:
            self._stack(kernel).station.others = others

    def detach(self, guest: Guest) -> None:
        """Remove the guest; the peer of its veth returns to the host.  May be repeated."""
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

    def ping(
        self, source: Place, target: Target, *, size: int = 56, version: int | None = None
    ) -> bool:
        """Return whether an echo request with ``size`` data bytes is answered.

        If ``target`` is a guest or a host, its first address is asked, of this IP version if
        one is given; only its own answer counts, not that of another with the same address.
        """
        with self._network.lock:
            return self._ask(source, target, Echo(True, 1, size), version)[1] is None

    def connect(self, source: Place, target: Target, protocol: str, port: int) -> bool:
        """Return whether a TCP SYN, an SCTP INIT or a UDP datagram is answered.

        The target must listen on the port.  If ``target`` is a guest or a host, only its
        own answer counts.
        """
        return self.connected(source, target, protocol, port) is not None

    def connected(
        self, source: Place, target: Target, protocol: str, port: int
    ) -> Connection | None:
        """Return the connection as its listener sees it, None if it does not open."""
        with self._network.lock:
            walk, failure = self._ask(source, target, opening(protocol, port))
            if failure is not None:
                return None
            listener = self._there(target) or next(iter(walk.reached))
            return Connection(listener.name, walk.reached[listener])

    def explain(
        self,
        source: Place,
        target: Target,
        *,
        size: int = 56,
        protocol: str | None = None,
        port: int | None = None,
    ) -> str:
        """Return the trace of the ping, or with ``protocol`` and ``port`` of the connection.

        One line a hop: where the packet went, and which rule dropped or rewrote it, without
        the requests for neighbours if there is a way without them.
        """
        with self._network.lock:
            walk, failure = self._ask_twice(source, target, question(size, protocol, port))[1]
            if failure is None:
                assert walk.answer is not None
                return "\n".join([*map(str, walk.answer.path()), "answered"])
            return "\n".join([*walk.endings.lines(), failure])

    def trace(
        self,
        source: Place,
        target: Target,
        *,
        size: int = 56,
        protocol: str | None = None,
        port: int | None = None,
        version: int | None = None,
    ) -> Trace:
        """Return for programs what ``explain`` returns as text; no cache of before counts."""
        with self._network.lock:
            self._network.changes.count += 1
            first, shown = self._ask_twice(source, target, question(size, protocol, port), version)
            return trace_of(first[0], shown[0])

    def _ask_twice(
        self, source: Place, target: Target, asked: Echo | Segment, version: int | None = None
    ) -> tuple[tuple[Walk, str | None], tuple[Walk, str | None]]:
        """Return the first walk, and the one to show, each with why it failed, if it did."""
        first = self._ask(source, target, asked, version)
        second = self._ask(source, target, asked, version)
        return first, second if second[1] == first[1] else first

    def _ask(
        self, source: Place, target: Target, asked: Echo | Segment, version: int | None = None
    ) -> tuple[Walk, str | None]:
        """Return the walk, and why it failed, None if it did not."""
        stack = self._stack(source)
        station, walk = stack.station, self._network.new_walk()
        there = self._there(target)
        address = main_address(there, version) if there else self._address(target)
        if address is None:
            return walk, f"{there.name if there else target} has no address"
        if isinstance(asked, Echo):
            step = Step(None, station.name, "", "ping {}, {} bytes of data", (address, asked.data))
        else:
            step = Step(None, station.name, "", "connect to {} on {}", (address, asked))
        own = stack.source_for(address)
        if own is None:
            station.drop(step, "", NO_ROUTE, address)
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
        """Make a station for the kernel, with all its layers."""
        stack = Stack(Links(Station(self._network, kernel, name), self._wire))
        Tunnels(stack)
        kernel.state.changes = self._network.changes
        kernel.ask = partial(who_answers, stack)
        self._network.changes.count += 1
        self._stacks[kernel] = stack
        return stack

    def _join_namespaces(self) -> None:
        """Make stations of the namespaces of all hosts, and cables of the veths between them."""
        kernels = list(self._stacks)
        for kernel in kernels:  # which grows
            for name in kernel.state.children:
                inside = kernel.namespace(name)
                if inside not in self._stacks:
                    DhcpServer(self._join(inside, f"{self._stacks[kernel].station.name}/{name}"))
                    kernels.append(inside)
        for ends in unplugged_veths(self._stacks.values()):
            self._connect(*ends)

    def _plug(self, links: Links, uplink: Link) -> None:
        """Put a link on the wire."""
        links.cables[uplink.name] = Cable(uplink.index)
        self._wire.plug(links, uplink.name)
        self._network.changes.count += 1

    def _connect(self, links: Links, nic: Link, below: Links, link: Link) -> None:
        """Connect two links by a cable."""
        links.cables[nic.name] = Cable(nic.index, below, link.name, link.index)
        below.cables[link.name] = Cable(link.index, links, nic.name, nic.index)
        self._network.changes.count += 1

    def _stack(self, place: Place) -> Stack:
        kernel = place.kernel if isinstance(place, Guest) else place
        if isinstance(kernel, FakeKernel) and kernel not in self._stacks:
            self._join_namespaces()
        stack = self._stacks.get(kernel) if isinstance(kernel, FakeKernel) else None
        if stack is None:
            raise InvalidRequest(
                f"{shown(place)} is not a host or guest of this fabric{self._named(place)}"
            )
        return stack

    def _links(self, kernel: FakeKernel) -> Links:
        return self._stack(kernel).links

    def _named(self, name: object) -> str:
        """What to pass instead of the name of a host or guest; empty if there is none."""
        if not any(stack.station.name == name for stack in self._stacks.values()):
            return ""
        if name in self.hosts:
            return f": it is the name of a host: pass the host itself, fabric.hosts[{name!r}]"
        return ": it is the name of a guest: pass the guest itself, which attach() returned"

    def _address(self, target: object) -> IPAddress:
        try:
            return parse_address(target, "target")
        except InvalidRequest:
            hint = self._named(target)
            if not hint:
                raise
        raise InvalidRequest(f"{shown(target)} is not an address{hint}", field="target")

    def _there(self, target: Target) -> Station | None:
        """Return the station that has to answer, None if any may."""
        return self._stack(target).station if isinstance(target, (FakeKernel, Guest)) else None
