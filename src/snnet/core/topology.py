"""What a compute node knows: its records, and indexes to find conflicts by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from snnet.config import VnicRole
from snnet.contract import (
    Conflict,
    InvalidRequest,
    Key,
    Link,
    Noun,
    Nouns,
    Owned,
    ProxyNeighbour,
    Route,
    Zone,
    ZoneLink,
)

from . import identity as ids
from .addressing import check_subnet
from .building import read_port, read_subnet, read_vnic
from .compute import CnciVnic, Site, Subnet, Vnic
from .encapsulation import collision, wire_identity
from .requests import PortId, SubnetId, VnicId
from .routed import build_routed_subnet, check_disjoint, zones

DAMAGE = (KeyError, ValueError, InvalidRequest)
"""What reading an alias raises where a field lacks, is not what it should be, or cannot be."""


@dataclass(slots=True)
class Topology:
    """Subnets, their VNICs and the CNCI VNICs of one compute node.

    Not thread-safe: the node guards it.
    """

    subnets: dict[SubnetId, Subnet] = field(default_factory=dict)
    ports: dict[PortId, CnciVnic] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    _vnics: dict[SubnetId, dict[str, Vnic]] = field(default_factory=dict)
    _addresses: dict[SubnetId, dict[IPv4Address, str]] = field(default_factory=dict)
    _wires: dict[tuple[object, ...], SubnetId] = field(default_factory=dict)

    def vnic(self, identity: VnicId) -> Vnic | None:
        return self._vnics.get(identity[:2], {}).get(identity[2])

    def vnics(self, subnet: SubnetId | None = None) -> Iterator[Vnic]:
        """The VNICs of one subnet, or of all."""
        if subnet is not None:
            yield from self._vnics.get(subnet, {}).values()
            return
        for vnics in self._vnics.values():
            yield from vnics.values()

    def containers(self, subnet: SubnetId) -> int:
        """How many container VNICs the subnet has here."""
        return sum(vnic.role is VnicRole.TENANT_CONTAINER for vnic in self.vnics(subnet))

    def put_subnet(self, subnet: Subnet) -> None:
        self.drop_tunnel(subnet.id)
        self.subnets[subnet.id] = subnet
        if subnet.tunnel:
            self._wires[wire_identity(subnet.tunnel)] = subnet.id

    def drop_subnet(self, identity: SubnetId) -> None:
        self.drop_tunnel(identity)
        self.subnets.pop(identity, None)
        self._vnics.pop(identity, None)
        self._addresses.pop(identity, None)

    def drop_tunnel(self, identity: SubnetId) -> None:
        """Forget the subnet's tunnel as a wire that others could collide with."""
        old = self.subnets.get(identity)
        if old and old.tunnel:
            self._wires.pop(wire_identity(old.tunnel), None)

    def put_vnic(self, vnic: Vnic) -> None:
        subnet = vnic.id[:2]
        self._vnics.setdefault(subnet, {})[vnic.vnic_id] = vnic
        self._addresses.setdefault(subnet, {})[vnic.ip] = vnic.vnic_id

    def drop_vnic(self, identity: VnicId) -> None:
        vnic = self._vnics.get(identity[:2], {}).pop(identity[2], None)
        if vnic:
            self._addresses[identity[:2]].pop(vnic.ip, None)

    def check_address(self, vnic: Vnic) -> None:
        """Conflict where another VNIC of the subnet has this VNIC's address."""
        other = self._addresses.get(vnic.id[:2], {}).get(vnic.ip)
        if other is not None and other != vnic.vnic_id:
            raise Conflict(f"ip {vnic.ip} of subnet {vnic.subnet_id} belongs to VNIC {other}")

    def check_wire(self, subnet: Subnet) -> None:
        """Conflict where another subnet's tunnel cannot be told from this one's."""
        if subnet.tunnel is None:
            return
        other = self._wires.get(wire_identity(subnet.tunnel))
        if other is not None and other != subnet.id:
            existing = self.subnets[other].tunnel
            assert existing is not None
            raise collision(subnet.tunnel, existing, f"subnet {other[1]} of tenant {other[0]}")

    def check_port_mac(self, port: CnciVnic) -> None:
        """Conflict where another CNCI VNIC has the MAC (the kernel allows one an uplink)."""
        for other in list(self.ports.values()):  # other calls may add to it meanwhile
            if other.mac == port.mac and other.id != port.id:
                raise Conflict(
                    f"MAC {port.mac} belongs to CNCI VNIC {other.vnic_id} of tenant "
                    f"{other.tenant_id} on the same uplink"
                )

    def nouns(self) -> Iterator[Noun]:
        """Everything the node wants on its host."""
        yield from zones(self.subnets.values())
        for subnet in self.subnets.values():
            yield from subnet.nouns()
        for vnic in self.vnics():
            yield from vnic.nouns()
        for port in self.ports.values():
            yield from port.nouns()

    def empty_subnets(self) -> list[Subnet]:
        """Subnets that have no VNIC: what a killed create or destroy leaves."""
        return [subnet for key, subnet in self.subnets.items() if not self._vnics.get(key)]

    def same_macs(self) -> Iterator[str]:
        """Warnings about guests of one subnet that share a MAC."""
        for subnet, vnics in self._vnics.items():
            seen: dict[str, str] = {}
            for vnic in vnics.values():
                first = seen.setdefault(vnic.mac, vnic.vnic_id)
                if first != vnic.vnic_id:
                    yield (
                        f"VNICs {first} and {vnic.vnic_id} of subnet {subnet[1]} "
                        f"share the MAC {vnic.mac}: their guests may not reach each other"
                    )


def read_topology(site: Site, links: Iterable[Link]) -> Topology:
    """The topology that the links' aliases tell; what has no place in it is an orphan."""
    topology = Topology()
    parts: dict[SubnetId, dict[str, tuple[Link, dict[str, str]]]] = {}
    vnics: list[tuple[Link, dict[str, str]]] = []
    for link in links:
        fields = ids.claimed(link, site.owner)
        if fields is None:
            continue
        kind = fields[ids.KIND]
        try:
            if kind in (ids.BRIDGE, ids.TUNNEL):
                halves = parts.setdefault((fields[ids.TENANT], fields[ids.SUBNET]), {})
                if halves.setdefault(kind, (link, fields))[0] is not link:
                    topology.orphans.append(f"{link}: a second {kind} of the same subnet")
            elif kind in (ids.VM, ids.CONTAINER):
                vnics.append((link, fields))
            elif kind == ids.PORT:
                _place_port(topology, read_port(site, link, fields))
        except DAMAGE as error:
            topology.orphans.append(f"{link}: its alias is damaged ({error})")
    if site.routed:
        _place_routed_subnets(topology, site, parts, vnics)
    else:
        for halves in parts.values():
            _place_subnet(topology, site, halves.get(ids.BRIDGE), halves.get(ids.TUNNEL))
    for link, fields in vnics:
        _place_vnic(topology, site, link, fields)
    return topology


_Found = tuple[Link, dict[str, str]]


def _place_port(topology: Topology, port: CnciVnic) -> None:
    if topology.ports.setdefault(port.id, port) is not port:
        topology.orphans.append(f"{port.link}: a second link of the same CNCI VNIC")


def _place_routed_subnets(
    topology: Topology,
    site: Site,
    parts: Mapping[SubnetId, Mapping[str, _Found]],
    vnics: Iterable[_Found],
) -> None:
    for halves in parts.values():
        for link, _ in halves.values():
            topology.orphans.append(
                f"{link}: of gre_tunnel mode; reset_network() in that mode removes it"
            )
    for link, fields in vnics:
        try:
            key = (fields[ids.TENANT], fields[ids.SUBNET])
            if key not in topology.subnets:
                network = check_subnet(IPv4Network(fields[ids.NETWORK]))
                subnet = build_routed_subnet(site, *key, network)
                check_disjoint(topology.subnets.values(), subnet)
                topology.put_subnet(subnet)
        except (*DAMAGE, Conflict) as error:
            topology.orphans.append(f"{link}: {error}")


def _place_subnet(
    topology: Topology, site: Site, bridge: _Found | None, tunnel: _Found | None
) -> None:
    # A half of no use must not take the other, and the VNICs on it, along.
    if bridge and not _is_of_use(topology, site, bridge, None):
        bridge = None
    if tunnel and not _is_of_use(topology, site, None, tunnel):
        tunnel = None
    if bridge or tunnel:
        topology.put_subnet(read_subnet(site, bridge, tunnel))


def _is_of_use(
    topology: Topology, site: Site, bridge: _Found | None, tunnel: _Found | None
) -> bool:
    try:
        topology.check_wire(read_subnet(site, bridge, tunnel))
    except (*DAMAGE, Conflict) as error:
        link = (tunnel or bridge or (None,))[0]
        topology.orphans.append(f"{link}: {error}")
        return False
    return True


def _place_vnic(topology: Topology, site: Site, link: Link, fields: dict[str, str]) -> None:
    try:
        key = (fields[ids.TENANT], fields[ids.SUBNET])
        subnet = topology.subnets.get(key)
        if subnet is None:
            if not site.routed:  # where it was said already
                topology.orphans.append(
                    f"{link}: neither bridge nor tunnel of subnet {key[1]} is left; "
                    "destroy the VNIC, or create it again"
                )
            return
        vnic = read_vnic(site, link, fields, subnet)
        topology.check_address(vnic)
    except (*DAMAGE, Conflict) as error:
        topology.orphans.append(f"{link}: {error}")
        return
    if topology.vnic(vnic.id):
        topology.orphans.append(f"{link}: a second link of the same VNIC")
        return
    topology.put_vnic(vnic)


def tunnel_less(topology: Topology) -> list[str]:
    """Orphan notes about subnets whose tunnel is gone and whose concentrator is unknown."""
    return [
        f"{subnet.bridge.name}: subnet {subnet.subnet_id} of tenant {subnet.tenant_id} lost its "
        "tunnel, and with it its concentrator; create one of its VNICs again to name it"
        for subnet in topology.subnets.values()
        if subnet.bridge and subnet.tunnel is None
    ]


def useless_beside(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Rules, routes and proxies of ours that serve nothing: what a killed call left.

    Those about an orphan are left alone, as it is.
    """
    orphans = {noun.name for noun in ours.values() if isinstance(noun, Link)} - {
        noun.name for noun in wanted.values() if isinstance(noun, Link)
    }
    unwanted = {
        key: noun
        for key, noun in ours.items()
        if key not in wanted and isinstance(noun, (Owned, ProxyNeighbour, Route))
    }
    kept = {
        key
        for key, noun in unwanted.items()
        if getattr(noun, "link", None) in orphans or getattr(noun, "bridge", None) in orphans
    }
    zones = {noun.zone for key in kept if isinstance(noun := unwanted[key], ZoneLink)}
    return {
        key
        for key, noun in unwanted.items()
        if key not in kept and not (isinstance(noun, Zone) and noun.zone in zones)
    }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node's topology at one moment, as data."""

    subnets: tuple[Subnet, ...]
    vnics: tuple[Vnic, ...]
    cnci_vnics: tuple[CnciVnic, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        """The ids of all tenants present, sorted."""
        ids = {subnet.tenant_id for subnet in self.subnets}
        ids |= {vnic.tenant_id for vnic in self.vnics}
        ids |= {port.tenant_id for port in self.cnci_vnics}
        return tuple(sorted(ids))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tenants, their subnets, their VNICs."""
        return {
            "tenants": {
                tenant: {
                    "subnets": {
                        subnet.subnet_id: {
                            "subnet": str(subnet.network),
                            "subnet_key": subnet.key,
                            "bridge": subnet.bridge.name if subnet.bridge else None,
                            "tunnel": subnet.tunnel.name if subnet.tunnel else None,
                            "concentrator_id": subnet.concentrator_id,
                            "concentrator_ip": str(subnet.concentrator_ip or "") or None,
                            "vnics": [
                                _vnic_data(vnic) for vnic in self.vnics if vnic.id[:2] == subnet.id
                            ],
                        }
                        for subnet in self.subnets
                        if subnet.tenant_id == tenant
                    },
                    "cnci_vnics": [
                        {"vnic_id": port.vnic_id, "link_name": port.link_name, "mac": port.mac}
                        for port in self.cnci_vnics
                        if port.tenant_id == tenant
                    ],
                }
                for tenant in self.tenants
            }
        }


def _vnic_data(vnic: Vnic) -> dict[str, Any]:
    return {
        "vnic_id": vnic.vnic_id,
        "role": vnic.role.value,
        "instance_id": vnic.instance_id,
        "link_name": vnic.link_name,
        "ip": str(vnic.ip),
        "mac": vnic.mac,
        "mtu": vnic.mtu,
    }


def snapshot(topology: Topology) -> Snapshot:
    """The topology as it is now, safe to keep."""
    return Snapshot(
        subnets=tuple(topology.subnets.values()),
        vnics=tuple(topology.vnics()),
        cnci_vnics=tuple(topology.ports.values()),
    )
