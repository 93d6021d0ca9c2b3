"""A picture of this host, by what its kernel and the runtime directory know."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from snnet.core.subnets import CnciSubnet
from snnet.core.topology import CnciTopology, Topology
from snnet.core.vnics import TenantSubnet, Vnic
from snnet.doctor.survey import FoundNode, Seen

from .picture import CONCENTRATOR, HOST, MESH, Bridge, Host, Nic, Picture, Tunnel, joined


def picture(seen: Sequence[Seen]) -> Picture:
    """Draw the nodes of this host; one that cannot be read has a card that says why.

    A tunnel to another host ends at a card with nothing but that host's address.
    """
    read = [_Read(one.node, one.address, one.topology) for one in seen if one.topology]
    broken = [
        Host(one.node.title, one.node.id, facts=(f"cannot be read: {one.error}",))
        for one in seen
        if one.topology is None
    ]
    tunnels = [tunnel for one in read for tunnel in _tunnels(one, read)]
    return joined(f"host {socket.gethostname()}", [*map(_card, read), *broken], tunnels)


@dataclass(frozen=True, slots=True)
class _Read:
    """A node, its address on the wire, and what it has."""

    node: FoundNode
    address: str
    topology: Topology | CnciTopology

    @property
    def tenant(self) -> str:
        """The tenant of a concentrator."""
        return str(self.node.settings.get("tenant_id") or self.node.id)

    def bridge(self, subnet: TenantSubnet | CnciSubnet) -> str:
        """The id of the bridge of a subnet."""
        if isinstance(subnet, TenantSubnet):
            return f"{self.node.title} {subnet.tenant_id}/{subnet.subnet_id}"
        return f"{self.node.title} {subnet.network}"


def _card(one: _Read) -> Host:
    where = (one.node.netns,) if one.node.netns else ()
    if isinstance(one.topology, CnciTopology):
        bridges = tuple(_cnci_bridge(one, subnet) for subnet in one.topology.subnets)
        facts = (one.tenant, one.address, *where)
        return Host(one.node.title, one.node.id, CONCENTRATOR, facts, bridges)
    found = (*_bridges(one, one.topology), *_ports(one, one.topology))
    return Host(one.node.title, one.node.id, HOST, (one.address, *where), found)


def _bridges(one: _Read, topology: Topology) -> Iterator[Bridge]:
    plugged: dict[tuple[str, str], list[Nic]] = {}
    for vnic in topology.vnics:
        plugged.setdefault((vnic.tenant_id, vnic.subnet_id), []).append(_nic(vnic))
    for subnet in topology.subnets:
        nics = tuple(plugged.get(subnet.id, ()))
        facts = [*map(str, subnet.networks), *_key(subnet)]
        facts += [subnet.bridge.name] if subnet.bridge else ["routed"]
        yield Bridge(one.bridge(subnet), subnet.tenant_id, subnet.subnet_id, tuple(facts), nics)


def _ports(one: _Read, topology: Topology) -> Iterator[Bridge]:
    """What concentrators in VMs are plugged into: the uplink."""
    for tenant in topology.tenants:
        nics = tuple(
            Nic(vnic.vnic_id, (), (vnic.link_name, vnic.mac))
            for vnic in topology.cnci_vnics
            if vnic.tenant_id == tenant
        )
        if nics:
            yield Bridge(f"{one.node.title} {tenant} uplink", tenant, "uplink", (), nics)


def _nic(vnic: Vnic) -> Nic:
    return Nic(vnic.vnic_id, tuple(map(str, vnic.ips)), (vnic.link_name, vnic.mac))


def _cnci_bridge(one: _Read, subnet: CnciSubnet) -> Bridge:
    facts = (*map(str, subnet.networks), *_key(subnet), subnet.bridge.name)
    return Bridge(one.bridge(subnet), one.tenant, facts[0], facts[1:])


def _key(subnet: TenantSubnet | CnciSubnet) -> list[str]:
    return [f"key {subnet.key}"] if subnet.key is not None else []


def _tunnels(one: _Read, read: Sequence[_Read]) -> Iterator[Tunnel]:
    """What leads from the bridges of a node to others, known or elsewhere."""
    if isinstance(one.topology, CnciTopology):
        for served in one.topology.subnets:
            name = _network(read, one.tenant, served)
            for address, link in served.tunnels.items():
                far = _end(read, str(address), one.tenant, served.key, Topology) or str(address)
                yield Tunnel(one.tenant, name, (one.bridge(served), far), link.kind)
        for peer in one.topology.mesh.peers if one.topology.mesh else ():
            yield Tunnel(one.tenant, "", (one.node.title, str(peer.physical_ip)), MESH)
        return
    for subnet in one.topology.subnets:
        if subnet.tunnel is not None:
            remote = str(subnet.concentrator_ip)
            far = _end(read, remote, subnet.tenant_id, subnet.key, CnciTopology) or remote
            ends = (one.bridge(subnet), far)
            yield Tunnel(subnet.tenant_id, subnet.subnet_id, ends, subnet.tunnel.kind)
        for side in one.topology.concentrators:
            inner = [other for other in read if other.node.netns == side.netns]
            end = _end(inner, None, subnet.tenant_id, subnet.key, CnciTopology)
            if end and subnet.subnet_id in side.plugs and subnet.tenant_id == side.tenant_id:
                ends = (one.bridge(subnet), end)
                yield Tunnel(subnet.tenant_id, subnet.subnet_id, ends, "veth")


def _end(
    read: Sequence[_Read], address: str | None, tenant: str, key: int | None, kind: type
) -> str | None:
    """The bridge of a network on the node of this kind at an address, or None."""
    for other in read:
        if not isinstance(other.topology, kind) or address not in (None, other.address):
            continue
        for subnet in other.topology.subnets:
            owner = subnet.tenant_id if isinstance(subnet, TenantSubnet) else other.tenant
            if (owner, subnet.key) == (tenant, key):
                return other.bridge(subnet)
    return None


def _network(read: Sequence[_Read], tenant: str, served: CnciSubnet) -> str:
    """The name of a concentrator's network as a compute node of this host has it."""
    for other in read:
        for subnet in other.topology.subnets:
            if isinstance(subnet, TenantSubnet) and (subnet.tenant_id, subnet.key) == (
                tenant,
                served.key,
            ):
                return subnet.subnet_id
    return str(served.network)
