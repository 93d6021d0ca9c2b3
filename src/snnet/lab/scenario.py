"""The demo's data centre as pure data: who is where, and who may reach whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from snnet.config import VnicConfig, VnicRole
from snnet.contract.dhcp import mac_of

Matrix = Mapping[str, Mapping[str, bool]]
"""For each guest, by name, whether it reaches each of the others."""


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

    def port(self) -> VnicConfig:
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
    network: IPv4Network
    key: int

    @property
    def gateway(self) -> IPv4Address:
        return self.network.network_address + 1


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or a container of a tenant; its address is what DHCP shall give it."""

    name: str
    subnet: Subnet
    machine: Machine
    role: VnicRole
    ip: IPv4Address

    @property
    def tenant(self) -> Tenant:
        return self.subnet.tenant

    @property
    def is_vm(self) -> bool:
        return self.role is VnicRole.TENANT_VM

    def vnic(self) -> VnicConfig:
        """Its VNIC, on its compute node."""
        return VnicConfig(
            role=self.role,
            tenant_id=self.tenant.name,
            subnet_id=self.subnet.name,
            vnic_id=f"{self.name}-eth0",
            instance_id=self.name,
            concentrator_id=self.tenant.concentrator,
            concentrator_ip=self.tenant.address.ip,
            subnet=self.subnet.network,
            subnet_key=self.subnet.key,
            ip=self.ip,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "tenant": self.tenant.name,
            "node": self.machine.name,
            "subnet": str(self.subnet.network),
            "kind": "vm" if self.is_vm else "container",
            "ip": str(self.ip),
            "mac": mac_of(self.ip),
        }


@dataclass(frozen=True, slots=True)
class Scenario:
    """Compute nodes, a network node with a concentrator per tenant, and guests."""

    wire: IPv4Network
    compute_nodes: tuple[Machine, ...]
    network_node: Machine
    tenants: tuple[Tenant, ...]
    guests: tuple[Guest, ...]

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (*self.compute_nodes, self.network_node)

    def pairs(self) -> Iterator[tuple[Guest, Guest]]:
        """Every guest with every other."""
        for source in self.guests:
            for target in self.guests:
                if source is not target:
                    yield source, target

    def expected(self) -> Matrix:
        """Guests of one tenant reach each other, whatever the node and subnet; others never."""
        matrix: dict[str, dict[str, bool]] = {guest.name: {} for guest in self.guests}
        for source, target in self.pairs():
            matrix[source.name][target.name] = source.tenant == target.tenant
        return matrix


def demo_scenario() -> Scenario:
    """Two compute nodes, a network node, and two tenants that use the same addresses.

    Each tenant has one VM and one container on both nodes in both subnets.
    """
    wire = IPv4Network("192.0.2.0/24")

    def on_wire(number: int) -> IPv4Interface:
        return IPv4Interface((wire[number], wire.prefixlen))

    compute_nodes = (Machine("cn-1", on_wire(11)), Machine("cn-2", on_wire(12)))
    tenants = (Tenant("blue", on_wire(21)), Tenant("green", on_wire(22)))
    guests: list[Guest] = []
    for tenant_number, tenant in enumerate(tenants, 1):
        for subnet_number, name in enumerate(("web", "db"), 1):
            network = IPv4Network(f"10.{subnet_number}.0.0/24")
            subnet = Subnet(tenant, name, network, 100 * tenant_number + subnet_number)
            for node_number, node in enumerate(compute_nodes, 1):
                for kind, role, host in (
                    ("vm", VnicRole.TENANT_VM, 1),
                    ("ct", VnicRole.TENANT_CONTAINER, 2),
                ):
                    guest = f"{tenant.name}-{name}-{kind}{node_number}"
                    ip = network[10 * node_number + host]
                    guests.append(Guest(guest, subnet, node, role, ip))
    return Scenario(wire, compute_nodes, Machine("nn-1", on_wire(13)), tenants, tuple(guests))
