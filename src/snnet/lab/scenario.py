"""The demo's data centre as pure data: what runs where, and who may reach whom.

One more host on the wire stands for the internet.  It belongs to no tenant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from snnet.config import NetworkMode, VnicConfig, VnicRole
from snnet.contract import IPAddress
from snnet.contract.addresses import gateway_of, mac_of

INTERNET = "internet"
"""Name of the host that stands for the internet."""

VERSIONS = frozenset({4, 6})
"""The IP versions of every guest."""

WEB, SSH = 80, 22
"""TCP ports: the internet listens on ``WEB``, guests listen on ``SSH``."""

Matrix = Mapping[str, Mapping[str, frozenset[int]]]
"""For each guest, by name: the IP versions by which it reaches each other guest."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of the data centre and its address on the wire."""

    name: str
    address: IPv4Interface


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, and its concentrator's address on the wire."""

    name: str
    address: IPv4Interface

    @property
    def concentrator(self) -> str:
        """The concentrator's id."""
        return f"cnci-{self.name}"

    @property
    def mac(self) -> str:
        """The concentrator's MAC on the wire."""
        return mac_of(self.address.ip)

    def cnci_vnic(self) -> VnicConfig:
        """The concentrator's own VNIC, on the network node."""
        return VnicConfig(
            role=VnicRole.DATA_CENTER,
            tenant_id=self.name,
            vnic_id=f"{self.concentrator}-eth0",
            instance_id=self.concentrator,
            mac=self.mac,
        )


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet of one tenant; ``key`` is its tunnel key."""

    tenant: Tenant
    name: str
    networks: tuple[IPv4Network, IPv6Network]
    key: int

    @property
    def network(self) -> IPv4Network:
        return self.networks[0]

    @property
    def gateway(self) -> IPv4Address:
        return gateway_of(self.network)


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or a container of a tenant.  ``ips`` are its addresses, one of each family.

    It must get the IPv4 one, ``ip``, by DHCP.
    """

    name: str
    subnet: Subnet
    machine: Machine
    role: VnicRole
    ips: tuple[IPv4Address, IPv6Address]

    @property
    def tenant(self) -> Tenant:
        return self.subnet.tenant

    @property
    def ip(self) -> IPv4Address:
        return self.ips[0]

    @property
    def is_vm(self) -> bool:
        return self.role is VnicRole.TENANT_VM

    def vnic(self) -> VnicConfig:
        """The guest's VNIC, on its compute node."""
        return VnicConfig(
            role=self.role,
            tenant_id=self.tenant.name,
            subnet_id=self.subnet.name,
            vnic_id=f"{self.name}-eth0",
            instance_id=self.name,
            concentrator_id=self.tenant.concentrator,
            concentrator_ip=self.tenant.address.ip,
            subnet=self.subnet.networks,
            subnet_key=self.subnet.key,
            ip=self.ips,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "tenant": self.tenant.name,
            "node": self.machine.name,
            "subnet": str(self.subnet.network),
            "subnets": [str(network) for network in self.subnet.networks],
            "kind": "vm" if self.is_vm else "container",
            "ip": str(self.ip),
            "ips": [str(ip) for ip in self.ips],
            "mac": mac_of(self.ip),
        }


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the tenant's concentrator, forwarded to the guest's SSH port."""

    port: int
    guest: Guest


@dataclass(frozen=True, slots=True)
class Public:
    """A public address that belongs to the guest."""

    address: IPv4Address
    guest: Guest


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection that a guest or the internet tries to open.

    ``server`` must answer, and must see the source address ``source``.  Where
    ``server`` is None, there must be no answer.
    """

    what: str
    client: str
    address: IPAddress
    port: int
    server: str | None = None
    source: IPAddress | None = None
    client_ip: IPAddress | None = None
    """The client's own address, for guests in routed mode."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Compute nodes, guests, the internet, and a concentrator for each tenant.

    ``internet`` is a host on the wire; guests connect to its other address ``outside``.
    In routed mode there is no network node and no concentrator, and tenants use
    different subnets.
    """

    mode: NetworkMode
    wire: IPv4Network
    internet: Machine
    outside: IPv4Address
    compute_nodes: tuple[Machine, ...]
    network_node: Machine | None
    tenants: tuple[Tenant, ...]
    guests: tuple[Guest, ...]
    forwards: tuple[Forward, ...] = ()
    publics: tuple[Public, ...] = ()
    others: tuple[Machine, ...] = ()
    """More hosts on the wire."""

    @property
    def routed(self) -> bool:
        return self.mode is NetworkMode.ROUTED

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The nodes, without the internet."""
        network = [self.network_node] if self.network_node else []
        return (*self.compute_nodes, *network, *self.others)

    def tenant_networks(self) -> list[IPv4Network]:
        """The networks that the internet has routes to: private ones and public addresses."""
        return [
            IPv4Network("10.0.0.0/8"),
            *(IPv4Network(public.address) for public in self.publics),
        ]

    def gateway_to(self, network: IPv4Network) -> IPv4Address | None:
        """The internet's next hop to one of these networks, or None if it is on the wire.

        Private networks are routed to a concentrator, so that only the concentrator's
        refusal to forward keeps the internet out of them.
        """
        on_wire = self.routed or network.prefixlen == 32
        return None if on_wire else self.tenants[0].address.ip

    def connections(self) -> Iterator[Connection]:
        """Connections from guests to the internet and back, allowed and forbidden ones."""
        yield from (self._routed() if self.routed else self._through_concentrators())

    def _through_concentrators(self) -> Iterator[Connection]:
        internet_ip = self.internet.address.ip
        public = {item.guest: item.address for item in self.publics}
        for guest in self.guests:
            source = public.get(guest, guest.tenant.address.ip)
            yield Connection("outbound NAT", guest.name, self.outside, WEB, INTERNET, source)
        for forward in self.forwards:
            to, server = forward.guest.tenant.address.ip, forward.guest.name
            yield Connection("port forward", INTERNET, to, forward.port, server, internet_ip)
            for guest in self._peers_of(forward.guest):
                source = forward.guest.subnet.gateway
                yield Connection("hairpin", guest.name, to, forward.port, server, source)
            for tenant in self.tenants:
                if tenant != forward.guest.tenant:
                    yield Connection("no forward", INTERNET, tenant.address.ip, forward.port)
        for item in self.publics:
            to, server, gateway = item.address, item.guest.name, item.guest.subnet.gateway
            yield Connection("public IP", INTERNET, to, SSH, server, internet_ip)
            for guest in self._peers_of(item.guest):
                yield Connection("hairpin", guest.name, to, SSH, server, gateway)
        for guest in self.guests[:1]:
            yield Connection("private IP", INTERNET, guest.ip, SSH)

    def _routed(self) -> Iterator[Connection]:
        for guest in self.guests:
            yield Connection(
                "outbound", guest.name, self.outside, WEB, INTERNET, guest.ip, guest.ip
            )
        for guest in (self.guests[0], self.guests[-1]):
            yield Connection("inbound", INTERNET, guest.ip, SSH)

    def _peers_of(self, guest: Guest) -> Iterator[Guest]:
        """One guest of the same tenant from each subnet, never ``guest`` itself."""
        seen = set()
        for other in self.guests:
            if other != guest and other.tenant == guest.tenant and other.subnet not in seen:
                seen.add(other.subnet)
                yield other

    def pairs(self) -> Iterator[tuple[Guest, Guest]]:
        """Every ordered pair of two different guests."""
        for source in self.guests:
            for target in self.guests:
                if source is not target:
                    yield source, target

    def expected(self) -> Matrix:
        """Guests of one tenant reach each other by both families; others never do."""
        matrix: dict[str, dict[str, frozenset[int]]] = {guest.name: {} for guest in self.guests}
        for source, target in self.pairs():
            both = VERSIONS if source.tenant == target.tenant else frozenset[int]()
            matrix[source.name][target.name] = both
        return matrix


def demo_scenario(mode: NetworkMode = NetworkMode.GRE_TUNNEL) -> Scenario:
    """Two compute nodes, two tenants, and the internet.

    Each tenant has one VM and one container on both nodes in both subnets.  With
    tunnels the tenants use the same addresses; there is a network node, a port
    forward for one tenant and a public address for the other.
    """
    routed = mode is NetworkMode.ROUTED
    wire = IPv4Network("192.0.2.0/24")

    def on_wire(number: int) -> IPv4Interface:
        return IPv4Interface((wire[number], wire.prefixlen))

    compute_nodes = (Machine("cn-1", on_wire(11)), Machine("cn-2", on_wire(12)))
    tenants = (Tenant("blue", on_wire(21)), Tenant("green", on_wire(22)))
    guests: list[Guest] = []
    for tenant_number, tenant in enumerate(tenants, 1):
        for subnet_number, name in enumerate(("web", "db"), 1):
            second = subnet_number + (10 * tenant_number if routed else 0)
            networks = (IPv4Network(f"10.{second}.0.0/24"), IPv6Network(f"fd00:{second}::/64"))
            subnet = Subnet(tenant, name, networks, 100 * tenant_number + subnet_number)
            for node_number, node in enumerate(compute_nodes, 1):
                for kind, role, host in (
                    ("vm", VnicRole.TENANT_VM, 1),
                    ("ct", VnicRole.TENANT_CONTAINER, 2),
                ):
                    guest = f"{tenant.name}-{name}-{kind}{node_number}"
                    number = 10 * node_number + host
                    ips = (networks[0][number], networks[1][number])
                    guests.append(Guest(guest, subnet, node, role, ips))
    blue = next(guest for guest in guests if guest.tenant == tenants[0])
    green = next(guest for guest in guests if guest.tenant == tenants[1])
    return Scenario(
        mode=mode,
        wire=wire,
        internet=Machine(INTERNET, on_wire(1)),
        outside=IPv4Address("198.51.100.7"),
        compute_nodes=compute_nodes,
        network_node=None if routed else Machine("nn-1", on_wire(13)),
        tenants=tenants,
        guests=tuple(guests),
        forwards=() if routed else (Forward(33022, blue),),
        publics=() if routed else (Public(IPv4Address("203.0.113.22"), green),),
    )
