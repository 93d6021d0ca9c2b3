"""From documents to what a host must have.  Pure: nothing here touches a host."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from snnet.cluster import Forward, Network, PublicIp, SecurityGroup, Vnic, keys
from snnet.cluster.documents import Wanted, plain
from snnet.cluster.networks import read_network
from snnet.cluster.views import read_placements, stored
from snnet.config import NetworkConfig, VnicConfig
from snnet.contract import DhcpEntry, Document, Entry, IPAddress, Reading
from snnet.contract.addresses import is_host_name
from snnet.core.concentrators import Concentrator
from snnet.core.groups import Group
from snnet.core.local_requests import ConcentratorConfig, HostForward, LocalSubnet
from snnet.core.requests import lowest_mtu
from snnet.core.wanted import Remote, Subnet

from .groups import needed_groups
from .settings import ROLES

Id = tuple[str, str, str]
"""Kind, tenant and name of an object."""


def id_of(wanted: Wanted) -> Id:
    return (wanted.kind, wanted.tenant, wanted.name)


@dataclass(slots=True)
class TenantWanted:
    """What the concentrator of one tenant must have."""

    tenant: str
    address: str | None = None
    """Its address on the compute network, in topology "hub"."""
    networks: list[Network] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    public_ips: list[PublicIp] = field(default_factory=list)
    entries: dict[str, list[DhcpEntry]] = field(default_factory=dict)
    """The DHCP entries of each network."""
    remotes: dict[str, list[Remote]] = field(default_factory=dict)
    """The nodes that have a part of each network."""
    guests: dict[str, dict[int, IPAddress]] = field(default_factory=dict)
    """The addresses of each VNIC, wherever it is, by their IP version."""
    refused: dict[Id, str] = field(default_factory=dict)
    """What cannot be had, and why."""

    @property
    def versions(self) -> frozenset[int]:
        """The IP versions by which it can be reached from outside."""
        if self.address is not None:
            return frozenset({ip_address(self.address).version})
        return frozenset({4, *(part.version for item in self.networks for part in item.subnet)})

    def led_to(self, forward: Forward) -> list[IPAddress]:
        """The guest's addresses that a forward leads to: one of each family that may come."""
        guest = self.guests.get(forward.to, {})
        coming = {source.version for source in forward.sources} or guest.keys()
        return [guest[version] for version in sorted(self.versions & coming & guest.keys())]

    def fits(self, sides: Mapping[str, Concentrator]) -> bool:
        """Whether the host's side, if it is there, has the right address."""
        side = sides.get(self.tenant)
        return side is None or self.address is None or str(side.ip) == self.address


@dataclass(slots=True)
class HostWanted:
    """What a host must have."""

    vnics: dict[Id, tuple[Vnic, VnicConfig]] = field(default_factory=dict)
    waiting: dict[Id, tuple[Vnic, str]] = field(default_factory=dict)
    """VNICs that cannot be tried yet, and what each waits for."""
    groups: list[tuple[SecurityGroup, Group]] = field(default_factory=list)
    """The groups that its VNICs need."""
    tenants: dict[str, TenantWanted] = field(default_factory=dict)
    """The tenants whose concentrators this host runs."""


def host_wanted(
    reading: Reading, node: str, config: NetworkConfig, roles: Collection[str] = ROLES
) -> HostWanted:
    """What the documents say about this node, which has these roles."""
    wanted = HostWanted()
    placed = {tenant: entry.document for tenant, entry in read_placements(reading).items()}
    networks: dict[str, Network | None] = {}
    for vnic in stored(reading, Vnic):
        if vnic.node != node:
            continue
        key = keys.network(vnic.tenant, vnic.network)
        if key not in networks:
            networks[key] = read_network(reading, vnic.tenant, vnic.network)
        network = networks[key]
        concentrator = placed.get(vnic.tenant, {})
        if network is None:
            wanted.waiting[id_of(vnic)] = (vnic, f"network {vnic.network!r}")
        elif config.topology == "hub" and not concentrator.get("address"):
            wanted.waiting[id_of(vnic)] = (vnic, "a concentrator of its tenant with an address")
        else:
            wanted.vnics[id_of(vnic)] = (vnic, vnic_config(vnic, network, concentrator))
    here = [vnic for vnic, _ in (*wanted.vnics.values(), *wanted.waiting.values())]
    wanted.groups = needed_groups(reading, node, here)
    if "network" in roles:
        wanted.tenants = _tenants(reading, node, config, placed)
    if config.topology == "local":
        _refuse_shared_ports(wanted.tenants.values())
    return wanted


def _refuse_shared_ports(tenants: Iterable[TenantWanted]) -> None:
    """Refuse forwards of ports of this host that an older forward of another tenant has."""
    forwards = [(item, tenant) for tenant in tenants for item in tenant.forwards]
    forwards.sort(key=lambda pair: pair[0].revision)
    granted: list[Forward] = []
    for item, tenant in forwards:
        if id_of(item) in tenant.refused:
            continue
        rival = next((other for other in granted if other.overlaps(item)), None)
        if rival is None:
            granted.append(item)
        else:
            tenant.refused[id_of(item)] = f"the port of this host belongs to {rival.title}"


def refuse_own_addresses(wanted: HostWanted, own: Container[IPAddress]) -> None:
    """Refuse public addresses that the host itself has."""
    for tenant in wanted.tenants.values():
        for public in tenant.public_ips:
            if public.address in own:
                reason = f"{public.address} is an address of the concentrator's host itself"
                tenant.refused.setdefault(id_of(public), reason)


def vnic_config(vnic: Vnic, network: Network, concentrator: Mapping[str, Any]) -> VnicConfig:
    """The VNIC as a compute node takes it."""
    limits = [mtu for mtu in (vnic.mtu, network.mtu) if mtu]
    address = concentrator.get("address")
    return VnicConfig(
        role=vnic.role,
        tenant_id=vnic.tenant,
        subnet_id=vnic.network,
        vnic_id=vnic.name,
        instance_id=vnic.name,
        concentrator_id=vnic.tenant if address else None,
        concentrator_ip=address,
        subnet=network.subnet,
        subnet_key=network.key,
        ip=vnic.ip,
        mac=vnic.guest_mac,
        mtu=min(limits, default=None),
        owner=vnic.owner,
        extra_addresses=vnic.extra_addresses,
        anti_spoofing=vnic.anti_spoofing,
        groups=vnic.groups,
    )


def _tenants(
    reading: Reading, node: str, config: NetworkConfig, placed: Mapping[str, Document]
) -> dict[str, TenantWanted]:
    """The tenants with a network whose concentrators are placed on this node."""
    hub = config.topology == "hub"
    found = {
        tenant: TenantWanted(tenant, document.get("address") if hub else None)
        for tenant, document in placed.items()
        if document.get("node") == node
    }
    # Each key is looked at once, whatever the number of tenants.
    for key, entry in reading.entries.items():
        _, kind, *names = key.rstrip("/").split("/")
        tenant = found.get(names[1] if f"{keys.ROOT}{kind}/" == keys.TUNNELS else names[0])
        if tenant is not None:
            _gather(tenant, f"{keys.ROOT}{kind}/", names, entry)
    for item in found.values():
        item.refused = _refused(item, config)
    return {tenant: item for tenant, item in found.items() if item.networks}


def _gather(tenant: TenantWanted, prefix: str, names: Sequence[str], entry: Entry) -> None:
    """Take in one document of a tenant."""
    document, revision = entry.document, entry.revision
    match prefix:
        case keys.NETWORKS:
            tenant.networks.append(Network.read(document, revision))
        case keys.FORWARDS:
            tenant.forwards.append(Forward.read(document, revision))
        case keys.PUBLIC_IPS:
            tenant.public_ips.append(PublicIp.read(document, revision))
        case keys.ADDRESSES if "vnic" in document:
            _, network, text = names
            address, name = ip_address(text), str(document["vnic"])
            hostname = name.lower() if is_host_name(name) and not name.isdigit() else None
            entries = tenant.entries.setdefault(network, [])
            mac = str(document["mac"])
            entries.append(DhcpEntry(mac=mac, address=address, hostname=hostname))
            tenant.guests.setdefault(name, {})[address.version] = address
        case keys.TUNNELS:
            remote = Remote(document["address"], document.get("port"))
            tenant.remotes.setdefault(names[2], []).append(remote)


def _refused(tenant: TenantWanted, config: NetworkConfig) -> dict[Id, str]:
    """What of a tenant's rules cannot be had, and why."""
    rules: list[Forward | PublicIp] = [*tenant.forwards, *tenant.public_ips]
    refused = {
        id_of(item): f"there is no vnic {item.to!r}"
        for item in rules
        if item.to not in tenant.guests
    }
    for forward in tenant.forwards:
        if forward.to in tenant.guests and not tenant.led_to(forward):
            refused[id_of(forward)] = (
                f"vnic {forward.to!r} has no address of a family by which packets can come"
            )
    ours, floating = set(config.concentrator_pool), set(config.floating_pool)
    for public in tenant.public_ips:
        address, guest = public.address, tenant.guests.get(public.to, {})
        if guest and address and address.version not in guest:
            refused[id_of(public)] = f"vnic {public.to!r} has no address of IPv{address.version}"
        elif address in ours:
            refused[id_of(public)] = f"{address} is in concentrator_pool"
        elif floating and address not in floating:
            refused[id_of(public)] = f"{address} is not in floating_pool"
    return refused


def tunnel_key(network: Network) -> int:
    """The key of a stored network, which always has one."""
    assert network.key is not None
    return network.key


def concentrator_config(wanted: TenantWanted) -> ConcentratorConfig:
    """The concentrator as the compute node of its host takes it."""
    publics = [
        item.address
        for item in wanted.public_ips
        if item.address and id_of(item) not in wanted.refused
    ]
    if wanted.address is not None:
        return ConcentratorConfig(
            tenant_id=wanted.tenant,
            concentrator_id=wanted.tenant,
            address=wanted.address,
            public_ips=publics,
        )
    return ConcentratorConfig(
        tenant_id=wanted.tenant,
        concentrator_id=wanted.tenant,
        subnets=[
            LocalSubnet(subnet_id=item.name, subnet=item.subnet, subnet_key=tunnel_key(item))
            for item in wanted.networks
        ],
        forwards=[
            HostForward(protocol=item.protocol, port=plain(item.port), sources=item.sources)
            for item in wanted.forwards
            if id_of(item) not in wanted.refused
        ],
        public_ips=publics,
    )


def subnets(wanted: TenantWanted, links: Mapping[str, str]) -> list[Subnet]:
    """The subnets as the concentrator takes them.

    ``links`` lead to their bridges on the same host; with an address it has tunnels instead.
    """
    return [
        Subnet(
            item.subnet,
            tunnel_key(item),
            remotes=wanted.remotes.get(item.name, ()) if wanted.address else (),
            link=links.get(item.name),
            entries=wanted.entries.get(item.name, ()),
            # VNICs of a network whose MTU is too low say so; its gateway works nevertheless.
            mtu=item.mtu and max(item.mtu, lowest_mtu(item.subnet)),
        )
        for item in wanted.networks
        if wanted.address or item.name in links
    ]


def forwards(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The forwards as the concentrator takes them, by its link to the outside.

    Without an address of its own the host has looked at the sources.
    """
    return [
        {
            "protocol": item.protocol,
            "device": device,
            "port": plain(item.port),
            "to": address,
            "to_port": item.to_port,
            "sources": [
                source
                for source in (item.sources if wanted.address else ())
                if source.version == address.version
            ],
        }
        for item in wanted.forwards
        if id_of(item) not in wanted.refused
        for address in wanted.led_to(item)
    ]


def public_ips(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The public addresses as the concentrator takes them."""
    return [
        {
            "address": item.address,
            "to": wanted.guests[item.to][item.address.version],
            "device": device,
        }
        for item in wanted.public_ips
        if item.address and id_of(item) not in wanted.refused
    ]
