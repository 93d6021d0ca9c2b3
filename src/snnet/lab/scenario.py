"""The demo's data centre as pure data: what runs where, and who may reach whom.

One more host on the wire stands for the internet.  It belongs to no tenant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from snnet.config import NetworkMode, VnicConfig, VnicRole
from snnet.contract import IPAddress, IPInterface, IPNetwork
from snnet.contract.addresses import gateway_of, mac_of
from snnet.core.groups import Group

INTERNET = "internet"
"""Name of the host that stands for the internet."""

VERSIONS = frozenset({4, 6})
"""All IP versions: those of a guest, if its scenario does not say otherwise."""

WEB, SSH = 80, 22
"""TCP ports: the internet listens on ``WEB``, guests on ``SSH``, and those in groups on both."""

_PRIVATE = {4: ip_network("10.0.0.0/8"), 6: ip_network("fd00::/16")}
"""By IP version, a network that holds every tenant's subnets."""

Matrix = Mapping[str, Mapping[str, frozenset[int]]]
"""For each guest, by name: the IP versions by which it reaches each other guest."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of the data centre and its addresses on the wire, at most one of each family."""

    name: str
    addresses: tuple[IPInterface, ...]

    @property
    def address(self) -> IPInterface:
        """The first one, from which its tunnels start."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, and its concentrator's addresses on the wire, one of each family."""

    name: str
    addresses: tuple[IPInterface, ...]

    @property
    def address(self) -> IPInterface:
        """The first one, to which tunnels go."""
        return self.addresses[0]

    def ip(self, version: int) -> IPAddress:
        """The concentrator's address of this IP version."""
        return next(item.ip for item in self.addresses if item.version == version)

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
    networks: tuple[IPNetwork, ...]
    key: int

    @property
    def network(self) -> IPNetwork:
        return self.networks[0]

    def gateway(self, version: int) -> IPAddress:
        """The gateway of this IP version."""
        return next(gateway_of(item) for item in self.networks if item.version == version)


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or a container of a tenant.

    ``ips`` are its addresses, at most one of each family.  It must get the first one,
    ``ip``, by DHCP.
    """

    name: str
    subnet: Subnet
    machine: Machine
    role: VnicRole
    ips: tuple[IPAddress, ...]
    groups: tuple[str, ...] = ()
    """The tenant's security groups that it is in: each lets ``WEB`` in, and no ping."""

    @property
    def tenant(self) -> Tenant:
        return self.subnet.tenant

    @property
    def ip(self) -> IPAddress:
        return self.ips[0]

    def ip_of(self, version: int) -> IPAddress:
        """Its address of this IP version."""
        return next(ip for ip in self.ips if ip.version == version)

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that it listens on."""
        return (SSH, WEB) if self.groups else (SSH,)

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
            groups=self.groups,
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
            "groups": list(self.groups),
        }


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the tenant's concentrator, forwarded to the guest's SSH port.

    One forward for each address of the guest.
    """

    port: int
    guest: Guest


@dataclass(frozen=True, slots=True)
class Public:
    """A public address that belongs to the guest."""

    address: IPAddress
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

    ``internet`` is a host on the wire; guests connect to its other addresses ``outsides``.
    ``wires`` are the wire's networks, the one that tunnels use first.  In routed mode there
    is no network node and no concentrator, and tenants use different subnets.  ``versions``
    are the IP versions of the guests.
    """

    mode: NetworkMode
    wires: tuple[IPNetwork, ...]
    internet: Machine
    outsides: tuple[IPAddress, ...]
    compute_nodes: tuple[Machine, ...]
    network_node: Machine | None
    tenants: tuple[Tenant, ...]
    guests: tuple[Guest, ...]
    forwards: tuple[Forward, ...] = ()
    publics: tuple[Public, ...] = ()
    others: tuple[Machine, ...] = ()
    """More hosts on the wire."""
    versions: frozenset[int] = VERSIONS
    groups: tuple[Group, ...] = ()
    """Security groups, each of a tenant, that guests are in."""

    @property
    def wire(self) -> IPNetwork:
        """The network of the nodes' uplinks."""
        return self.wires[0]

    @property
    def outside(self) -> IPAddress:
        """The first of the internet's other addresses."""
        return self.outsides[0]

    @property
    def routed(self) -> bool:
        return self.mode is NetworkMode.ROUTED

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The nodes, without the internet."""
        network = [self.network_node] if self.network_node else []
        return (*self.compute_nodes, *network, *self.others)

    def tenant_networks(self) -> list[IPNetwork]:
        """The networks that the internet has routes to: private ones and public addresses."""
        private = [_PRIVATE[version] for version in sorted(self.versions)]
        return [*private, *(ip_network(public.address) for public in self.publics)]

    def gateway_to(self, network: IPNetwork) -> IPAddress | None:
        """The internet's next hop to one of these networks, or None if it is on the wire.

        Private networks are routed to a concentrator, so that only the concentrator's
        refusal to forward keeps the internet out of them.
        """
        on_wire = self.routed or network.prefixlen == network.max_prefixlen
        return None if on_wire else self.tenants[0].ip(network.version)

    def gateways(self, machine: Machine | Tenant) -> list[IPAddress]:
        """The machine's next hops to the internet, one of each of its families."""
        versions = {address.version for address in machine.addresses}
        return [item.ip for item in self.internet.addresses if item.version in versions]

    def connections(self) -> Iterator[Connection]:
        """Connections from guests to the internet and back, allowed and forbidden ones."""
        for version in sorted(self.versions):
            outside = next(ip for ip in self.outsides if ip.version == version)
            if self.routed:
                yield from self._routed(version, outside)
            else:
                yield from self._through_concentrators(version, outside)

    def _through_concentrators(self, version: int, outside: IPAddress) -> Iterator[Connection]:
        internet = next(item.ip for item in self.internet.addresses if item.version == version)
        publics = [item for item in self.publics if item.address.version == version]
        public = {item.guest: item.address for item in publics}
        for guest in self.guests:
            source = public.get(guest, guest.tenant.ip(version))
            yield Connection("outbound NAT", guest.name, outside, WEB, INTERNET, source)
        for forward in self.forwards:
            to, server = forward.guest.tenant.ip(version), forward.guest.name
            yield Connection("port forward", INTERNET, to, forward.port, server, internet)
            for guest in self._peers_of(forward.guest):
                source = forward.guest.subnet.gateway(version)
                yield Connection("hairpin", guest.name, to, forward.port, server, source)
            for tenant in self.tenants:
                if tenant != forward.guest.tenant:
                    yield Connection("no forward", INTERNET, tenant.ip(version), forward.port)
        for item in publics:
            to, server = item.address, item.guest.name
            gateway = item.guest.subnet.gateway(version)
            yield Connection("public IP", INTERNET, to, SSH, server, internet)
            for guest in self._peers_of(item.guest):
                yield Connection("hairpin", guest.name, to, SSH, server, gateway)
        for guest in self.guests[:1]:
            yield Connection("private IP", INTERNET, guest.ip_of(version), SSH)
        for member in (guest for guest in self.guests if guest.groups):
            what, to = f"group {member.groups[0]}", member.ip_of(version)
            peers = list(self._peers_of(member))
            for guest in peers:
                yield Connection(what, guest.name, to, WEB, member.name, guest.ip_of(version))
            for guest in peers:
                yield Connection(what, guest.name, to, SSH)

    def _routed(self, version: int, outside: IPAddress) -> Iterator[Connection]:
        for guest in self.guests:
            ip = guest.ip_of(version)
            yield Connection("outbound", guest.name, outside, WEB, INTERNET, ip, ip)
        for guest in (self.guests[0], self.guests[-1]):
            yield Connection("inbound", INTERNET, guest.ip_of(version), SSH)

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

    @property
    def pings(self) -> int:
        """How many there are: of every guest to every other, by each of their families."""
        return len(self.versions) * len(list(self.pairs()))

    def expected(self) -> Matrix:
        """Guests of one tenant reach each other by all their families, but none in a group;
        others never do."""
        matrix: dict[str, dict[str, frozenset[int]]] = {guest.name: {} for guest in self.guests}
        for source, target in self.pairs():
            may = source.tenant == target.tenant and not target.groups
            matrix[source.name][target.name] = self.versions if may else frozenset()
        return matrix
