"""Guests, that is VMs and containers on VNICs, and DHCP (RFC 2131).

Here: a guest and the configuration of its NIC, its DHCP client, and the DHCP server of a
host's bridges.  Not here: the connection between guest and host (``fabric.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Any, Protocol

from snnet.contract import (
    Add,
    Address,
    Change,
    DhcpLease,
    DhcpScope,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    Operation,
    Remove,
    Route,
    Veth,
)
from snnet.contract.addresses import gateway_of, of_family
from snnet.contract.errors import shown

from ..kernel import FakeKernel
from .dhcp6 import Client6, Server6
from .frames import BROADCAST, Dhcp, Frame, Packet, Udp
from .lease import Lease
from .stack import Stack
from .walk import Step

Interfaces = str | IPInterface | Sequence[str | IPInterface] | None
Routers = str | IPAddress | Sequence[str | IPAddress] | None
"""One, or one of each family."""

NIC = "eth0"
"""The name of a guest's only link, and of a host's first link."""
SERVER_PORT, CLIENT_PORT = 67, 68
_NOBODY = IPv4Address("0.0.0.0")
_EVERYBODY = IPv4Address("255.255.255.255")


class Vnic(Protocol):
    """What a VNIC must have; ``mac``, ``mtu``, ``ip`` ... are read if they exist."""

    @property
    def link_name(self) -> str: ...


class Guest:
    """A VM or container on a VNIC.  It has its own ``kernel``; its NIC is ``eth0``.

    ``lease`` is its DHCP lease, None if it never asked or got no answer.
    """

    def __init__(
        self,
        stack: Stack,
        host: FakeKernel,
        link_name: str,
        peer: Veth | None,
        detach: Callable[[Guest], None],
    ) -> None:
        self.kernel = stack.station.kernel
        self.name = stack.station.name
        self.host = host
        self.link_name = link_name
        self.peer = peer
        """The veth end that was moved from the host into the guest."""
        nic = self.kernel.state.link(NIC)
        assert nic is not None
        self._network = stack.station.network
        mac = nic.mac or ""
        self._clients: dict[int, DhcpClient | Client6] = {
            4: DhcpClient(stack, NIC, mac),
            6: Client6(stack, NIC, mac),
        }
        self._asked = dict.fromkeys(self._clients, self._network.walk)
        """The last walks that asked for a lease, by the version of IP."""
        self._detach = detach

    @property
    def lease(self) -> Lease | None:
        return self._clients[4].lease

    @property
    def lease6(self) -> Lease | None:
        """Its DHCPv6 lease."""
        return self._clients[6].lease

    @property
    def address(self) -> IPAddress | None:
        """The first address of the NIC, None without one."""
        found = self.kernel.state.addresses(NIC, 4) + self.kernel.state.addresses(NIC, 6)
        return found[0].address.ip if found else None

    def configure(
        self,
        addresses: Iterable[IPInterface],
        gateways: Iterable[IPAddress],
        mtu: int | None = None,
    ) -> None:
        """Replace the NIC's addresses by these, and its default routes by those to the gateways."""
        nic = self.kernel.state.link(NIC)
        assert nic is not None
        wanted = list(addresses)
        there = self.kernel.state.on_link(NIC)
        # Routes first: those of IPv4 go with the last address.
        operations: list[Operation] = [
            Remove(noun) for noun in there if isinstance(noun, Route) and _is_default(noun)
        ]
        operations += [Remove(noun) for noun in there if isinstance(noun, Address)]
        if mtu is not None and mtu != nic.mtu:
            operations.append(Change(replace(nic, mtu=mtu), nic))
        operations += [Add(Address(link=NIC, address=address)) for address in wanted]
        operations += [Add(_default(gateway, wanted)) for gateway in gateways]
        error = self.kernel.apply(operations).error
        if error is not None:
            raise error

    def renew(self) -> Lease | None:
        """Ask for leases of both families and configure the NIC with those that come.

        Return the first, that of IPv4 if there is one.  Without any nothing changes.
        """
        with self._network.lock:
            for version, client in self._clients.items():
                self._asked[version] = self._network.new_walk()
                client.ask()
                self._asked[version].run()
        leases = [client.lease for client in self._clients.values() if client.lease is not None]
        if not leases:
            return None
        addresses = [ip_interface(f"{lease.address}/{lease.prefix}") for lease in leases]
        self.configure(addresses, [lease.gateway for lease in leases], leases[0].mtu)
        return leases[0]

    def explain_lease(self, version: int | None = None) -> str:
        """Return the trace of the last request for a lease of this version of IP.

        By default it is that of the lease which ``renew`` returned, or of IPv4.
        """
        if version is None:
            version = 6 if self.lease is None and self.lease6 is not None else 4
        answer = self._clients[version].answer
        if answer is not None:
            return "\n".join(map(str, answer.path()))
        return "\n".join([*self._asked[version].endings.lines(), "no lease"])

    def detach(self) -> None:
        """Remove the guest from its VNIC; see ``Fabric.detach``."""
        self._detach(self)

    def __repr__(self) -> str:
        return f"<Guest {self.name} on {self.host.hostname}>"


# -- the NIC's values ------------------------------------------------------------------------


def addresses_of(vnic: Vnic, given: Interfaces = None) -> list[IPInterface]:
    """Return the guest's addresses: those given, or else the VNIC's."""
    try:
        if given is not None:
            return [ip_interface(one) for one in _several(given)]
        ips = _all_of(vnic, "ips", "ip")
        subnets = {subnet.version: subnet for subnet in map(ip_network, _all_of(vnic, "subnets"))}
        if not ips:
            raise InvalidRequest(
                "the VNIC has no address: pass address= or dhcp=True", field="address"
            )
        routers = {router.version: router for router in routers_of(vnic)}
        found = []
        for ip in map(ip_address, ips):
            subnet = subnets.get(ip.version)
            # In routed mode the node answers ARP for the whole subnet, and ND for itself alone.
            alone = ip.version == 6 and subnet and routers.get(6, ip) not in subnet
            length = subnet.prefixlen if subnet and not alone else ip.max_prefixlen
            found.append(ip_interface((ip, length)))
        return found
    except ValueError as error:
        raise InvalidRequest(str(error), field="address") from None


def routers_of(vnic: Vnic, given: Routers = None) -> list[IPAddress]:
    """Return the guest's gateways: those given, or else the VNIC's."""
    found = _several(given) if given is not None else _all_of(vnic, "gateways", "gateway")
    return [parse_address(one, "gateway") for one in found]


def _all_of(vnic: Vnic, names: str, name: str = "") -> list[Any]:
    """Return what the VNIC has of both families, or the one that it has."""
    several = getattr(vnic, names, None)
    one = getattr(vnic, name or names.removesuffix("s"), None)
    return list(several) if several else [one] if one is not None else []


def _several(given: object) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _is_default(route: Route) -> bool:
    return route.destination.prefixlen == 0


def _default(gateway: IPAddress, addresses: Iterable[IPInterface]) -> Route:
    """Return the default route to the gateway, which is reached directly."""
    everywhere = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
    near = gateway.is_link_local and gateway.version == 6
    outside = not near and all(gateway not in address.network for address in addresses)
    return Route(destination=everywhere, link=NIC, gateway=gateway, onlink=outside)


def parse_address(value: object, field: str) -> IPAddress:
    try:
        return ip_address(value)  # type: ignore[arg-type]
    except ValueError:
        raise InvalidRequest(
            f"{shown(value)} is not an IP address like '10.1.0.9'", field=field
        ) from None


def check_vnic(vnic: object, field: str) -> None:
    """Raise InvalidRequest if it is not a VNIC, and say where the VNIC is."""
    if isinstance(getattr(vnic, "link_name", None), str):
        return
    inside = isinstance(getattr(getattr(vnic, "vnic", None), "link_name", None), str)
    raise InvalidRequest(
        f"a {type(vnic).__name__} is not a VNIC"
        + (": pass its .vnic" if inside else ", it has no link_name: pass what create_vnic made"),
        field=field,
    )


def nic_of(vnic: Vnic, near: Link, peer: Veth | None, dhcp: bool) -> tuple[str | None, int]:
    """Return MAC and MTU of the guest's NIC; with DHCP, a VM learns the MTU from its lease."""
    if peer is not None:
        return peer.mac, peer.mtu or 1500
    mtu = 1500 if dhcp else getattr(vnic, "mtu", None) or near.mtu or 1500
    return getattr(vnic, "mac", None), mtu


# -- DHCP ------------------------------------------------------------------------------------


class DhcpServer:
    """Answers requests on every bridge of a host that has a scope."""

    def __init__(self, stack: Stack) -> None:
        self._links = stack.links
        self._station = stack.station
        stack.sockets.servers[SERVER_PORT] = self._receive
        Server6(stack)

    def _receive(self, link: str, packet: Packet, step: Step) -> None:
        station = self._station
        asked = packet.payload.payload if isinstance(packet.payload, Udp) else None
        scope = station.state.nouns.get(("dhcp", link))
        if not isinstance(asked, Dhcp) or not isinstance(scope, DhcpScope):
            station.ignore(step, link, "no DHCP scope here")
            return
        if not scope.running:
            station.drop(step, link, "DHCP: the server is stopped")
            return
        # A server selects the scope by the address of the receiving link.
        subnet = of_family(scope.subnets, 4)
        if subnet is None:
            station.drop(step, link, "DHCP: the scope has no IPv4 network")
            return
        gateway = gateway_of(subnet)
        if link not in station.state.local.get(gateway, ()):
            station.drop(step, link, "DHCP: {} is not on this link", gateway)
            return
        address = self._leases(link, scope).get(asked.mac)
        if address is None:
            station.drop(step, link, "DHCP: no entry for {}", asked.mac)
            return
        self._answer(link, scope, subnet, asked, address, step)

    def _answer(
        self,
        link: str,
        scope: DhcpScope,
        subnet: IPNetwork,
        asked: Dhcp,
        address: IPAddress,
        step: Step,
    ) -> None:
        gateway = gateway_of(subnet)
        if asked.kind == "REQUEST":
            held = DhcpLease(link=link, address=address, mac=asked.mac)
            self._station.state.leases[held.key] = held
        answer = Dhcp(
            kind="OFFER" if asked.kind == "DISCOVER" else "ACK",
            mac=asked.mac,
            address=address,
            prefix=subnet.prefixlen,
            server=gateway,
            router=gateway,
            mtu=scope.mtu,
        )
        step = step.then(self._station.name, link, "{}: {}", answer, address)
        packet = Packet(gateway, address, Udp(SERVER_PORT, CLIENT_PORT, answer))
        found = self._station.state.link(link)
        mac = (found.mac if found else None) or ""
        # Sent to the client's MAC, because it cannot answer ARP yet.
        self._links.transmit(link, Frame(mac, asked.mac, packet), step)

    def _leases(self, link: str, scope: DhcpScope) -> dict[str, IPAddress]:
        learned = self._station.learned.leases
        found = learned.get((self._station, link))
        if found is None:
            found = {
                entry.mac: entry.address for entry in scope.leases() if entry.address.version == 4
            }
            learned[self._station, link] = found
        return found


class DhcpClient:
    """Requests a lease on one link of a guest."""

    def __init__(self, stack: Stack, link: str, mac: str) -> None:
        self._stack, self._link, self._mac = stack, link, mac
        self._station = stack.station
        self.lease: Lease | None = None
        self.answer: Step | None = None
        """The step that delivered the lease."""

    def ask(self) -> None:
        """Send the first message; ``lease`` is set when the walk has ended, if one was given."""
        self.lease = self.answer = None
        self._stack.sockets.raw[CLIENT_PORT] = self._receive
        self._say("DISCOVER", Step(None, self._station.name, self._link, "asks for a lease", ()))

    def _receive(self, link: str, packet: Packet, step: Step) -> None:
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
        self._stack.links.transmit(self._link, frame, step)
