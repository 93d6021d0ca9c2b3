"""From documents to what a host must have.  Pure: nothing here touches a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from snnet.cluster import Forward, Network, PublicIp, Vnic, keys
from snnet.cluster.documents import Wanted, plain
from snnet.cluster.views import read_placements, stored
from snnet.config import NetworkConfig, VnicConfig
from snnet.contract import DhcpEntry, IPAddress, Reading
from snnet.contract.addresses import is_host_name
from snnet.core.local_requests import ConcentratorConfig, HostForward, LocalSubnet
from snnet.core.wanted import Subnet

Id = tuple[str, str, str]
"""Kind, tenant and name of an object."""


def id_of(wanted: Wanted) -> Id:
    return (wanted.kind, wanted.tenant, wanted.name)


@dataclass(slots=True)
class TenantWanted:
    """What the concentrator of one tenant must have."""

    tenant: str
    networks: list[Network] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    public_ips: list[PublicIp] = field(default_factory=list)
    entries: dict[str, list[DhcpEntry]] = field(default_factory=dict)
    """The DHCP entries of each network."""
    guests: dict[str, IPAddress] = field(default_factory=dict)
    """The first address of each VNIC, wherever it is."""
    refused: dict[Id, str] = field(default_factory=dict)
    """What cannot be had, and why."""


@dataclass(slots=True)
class HostWanted:
    """What a host must have."""

    vnics: dict[Id, tuple[Vnic, VnicConfig]] = field(default_factory=dict)
    waiting: dict[Id, tuple[Vnic, str]] = field(default_factory=dict)
    """VNICs that cannot be tried yet, and what each waits for."""
    tenants: dict[str, TenantWanted] = field(default_factory=dict)
    """The tenants whose concentrators this host runs."""


def host_wanted(reading: Reading, node: str, config: NetworkConfig) -> HostWanted:
    """What the documents say about this node."""
    wanted = HostWanted()
    networks = {(item.tenant, item.name): item for item in stored(reading, Network)}
    placed = {tenant: entry.document for tenant, entry in read_placements(reading).items()}
    for vnic in stored(reading, Vnic):
        if vnic.node != node:
            continue
        network = networks.get((vnic.tenant, vnic.network))
        if network is None:
            wanted.waiting[id_of(vnic)] = (vnic, f"network {vnic.network!r}")
            continue
        concentrator = placed.get(vnic.tenant, {})
        if config.topology == "hub" and not concentrator.get("address"):
            wanted.waiting[id_of(vnic)] = (vnic, "a concentrator of its tenant with an address")
            continue
        wanted.vnics[id_of(vnic)] = (vnic, vnic_config(vnic, network, concentrator))
    for tenant, document in placed.items():
        if document.get("node") == node:
            wanted.tenants[tenant] = _tenant_wanted(reading, tenant, networks)
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
    )


def _tenant_wanted(
    reading: Reading, tenant: str, networks: Mapping[tuple[str, str], Network]
) -> TenantWanted:
    found = TenantWanted(tenant, [item for item in networks.values() if item.tenant == tenant])
    found.forwards = [item for item in stored(reading, Forward) if item.tenant == tenant]
    found.public_ips = [item for item in stored(reading, PublicIp) if item.tenant == tenant]
    for network in found.networks:
        prefix = keys.addresses(tenant, network.name)
        entries = found.entries[network.name] = []
        for key, entry in reading.entries.items():
            if key.startswith(prefix):
                address = ip_address(key[len(prefix) : -1])
                name, mac = str(entry.document["vnic"]), str(entry.document["mac"])
                hostname = name.lower() if is_host_name(name) and not name.isdigit() else None
                entries.append(DhcpEntry(mac=mac, address=address, hostname=hostname))
                if name not in found.guests or found.guests[name].version > address.version:
                    found.guests[name] = address
    rules: list[Forward | PublicIp] = [*found.forwards, *found.public_ips]
    for item in rules:
        if item.to not in found.guests:
            found.refused[id_of(item)] = f"there is no vnic {item.to!r}"
    return found


def tunnel_key(network: Network) -> int:
    """The key of a stored network, which always has one."""
    assert network.key is not None
    return network.key


def concentrator_config(wanted: TenantWanted) -> ConcentratorConfig:
    """The concentrator as the compute node of its host takes it."""
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
    )


def subnets(wanted: TenantWanted, links: Mapping[str, str]) -> list[Subnet]:
    """The subnets as the concentrator takes them; ``links`` lead to their bridges."""
    return [
        Subnet(
            item.subnet,
            tunnel_key(item),
            link=links[item.name],
            entries=wanted.entries[item.name],
        )
        for item in wanted.networks
        if item.name in links
    ]


def forwards(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The forwards as the concentrator takes them, by its link to the outside."""
    return [
        {
            "protocol": item.protocol,
            "device": device,
            "port": plain(item.port),
            "to": wanted.guests[item.to],
            "to_port": item.to_port,
        }
        for item in wanted.forwards
        if id_of(item) not in wanted.refused
    ]


def public_ips(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The public addresses as the concentrator takes them."""
    return [
        {"address": item.address, "to": wanted.guests[item.to], "device": device}
        for item in wanted.public_ips
        if id_of(item) not in wanted.refused
    ]
