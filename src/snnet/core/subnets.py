"""Subnets of a concentrator: bridge, gateway, DHCP scope, a tunnel to each compute node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Interface, ip_interface, ip_network
from typing import Any

from snnet.contract import (
    Address,
    Attached,
    Bridge,
    DhcpScope,
    HostServices,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    MssClamp,
    Noun,
    ProtectedNetwork,
    SharedSysctl,
    Tunnel,
    Zone,
    ZoneLink,
)
from snnet.contract.addresses import gateway_of

from . import identity as ids
from .addressing import Networks, written
from .forwarding import forwarding
from .guards import port_rules, protected_networks
from .mesh import Mesh
from .site import Site
from .tunnels import tunnel_link

BRIDGED_TO_IP = {
    4: "net.bridge.bridge-nf-call-iptables",
    6: "net.bridge.bridge-nf-call-ip6tables",
}
"""By IP version, whether br_netfilter passes bridged frames to the hooks of IP."""


def sysctls(site: Site, versions: Collection[int]) -> Iterator[SharedSysctl]:
    """Yield the parameters: the host forwards, and the hooks of IP see no bridged frames.

    If br_netfilter translates the target of a frame to one behind the same bridge, it
    switches the frame instead of routing it (br_nf_pre_routing_finish,
    net/bridge/br_netfilter_hooks.c), and a bridge never sends a frame back to the port it
    came from.  Guests of one compute node could not reach each other by a port forward.
    """
    owner = str(site.owner)
    yield from forwarding(site, versions)
    for version in sorted(versions):
        yield SharedSysctl(owner=owner, name=BRIDGED_TO_IP[version], value="0")


@dataclass(frozen=True, slots=True, repr=False)
class CnciSubnet:
    """A tenant subnet on its concentrator: bridge, gateway, DHCP scope and tunnels."""

    networks: Networks
    key: int
    bridge: Bridge
    scope: DhcpScope
    site: Site
    tunnels: Mapping[IPAddress, Tunnel] = field(default_factory=dict, hash=False)
    link: str | None = None
    """A port of the bridge that others created: the way to the subnet on the same host."""
    mtu: int | None = None
    """Caps the MTU of the bridge and of what guests learn (bytes); the bridge's alias has it."""

    @property
    def network(self) -> IPNetwork:
        """Its first network: IPv4 where there is one."""
        return self.networks[0]

    def holds(self, address: IPAddress) -> bool:
        """Whether the address is in one of its networks."""
        return any(address in network for network in self.networks)

    @property
    def rules(self) -> tuple[Noun, ...]:
        """Its bridge is in the tenant's zone, from where its far ends cannot be reached."""
        far = kept_from(self.site, self.tunnels)
        return (*inside(self.site, self.bridge, self.networks), *far)

    def nouns(self) -> Iterator[Noun]:
        """Yield everything that the subnet has on the host."""
        yield self.bridge
        if self.link is not None:
            yield Attached(link=self.link, master=self.bridge.name)
        yield from self.rules
        for address in gateway_interfaces(self.networks):
            yield Address(link=self.bridge.name, address=address)
        yield self.scope
        for tunnel in self.tunnels.values():
            yield from self.beside(tunnel)
            yield tunnel

    def beside(self, tunnel: Tunnel) -> tuple[Noun, ...]:
        """The rules that come and go with one of its tunnels."""
        return tuple(port_rules(self.scope.owner, tunnel, self.bridge.mac))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "subnet_key": self.key,
            "bridge": self.bridge.name,
            "link": self.link,
            "subnets": [str(network) for network in self.networks],
            "gateway": str(self.scope.gateways[0]),
            "gateways": [str(gateway) for gateway in self.scope.gateways],
            "mtu": self.scope.mtu,
            "tunnels": {str(remote): link.name for remote, link in self.tunnels.items()},
        }

    def __repr__(self) -> str:
        tunnels = f"{len(self.tunnels)} tunnels"
        return f"<CnciSubnet {written(self.networks)} key {self.key} {self.bridge.name} {tunnels}>"

    def with_tunnel(self, tunnel: Tunnel) -> CnciSubnet:
        assert tunnel.remote is not None
        return replace(self, tunnels={**self.tunnels, tunnel.remote: tunnel})

    def with_the_rest_of(self, other: CnciSubnet) -> CnciSubnet:
        """This subnet with the added DHCP entries and the tunnels of another."""
        tunnels = {
            remote: replace(tunnel, master=self.bridge.name)
            for remote, tunnel in other.tunnels.items()
        }
        scope = replace(self.scope, entries=other.scope.entries)
        return replace(self, tunnels=tunnels, scope=scope)

    def with_mtu(self, mtu: int | None) -> CnciSubnet:
        """This subnet with another cap of its MTU."""
        own = None if mtu is None else str(mtu)
        alias = ids.with_field(self.site.owner, self.bridge.alias, ids.MTU, own)
        limit = _capped(self.site, mtu)
        return replace(
            self,
            bridge=replace(self.bridge, alias=alias, mtu=limit),
            scope=replace(self.scope, mtu=limit),
            mtu=mtu,
        )

    def without_tunnel(self, remote: IPAddress) -> CnciSubnet:
        kept = {address: link for address, link in self.tunnels.items() if address != remote}
        return replace(self, tunnels=kept)


ZONE = "tenant"
"""The only zone of a concentrator, which has one tenant."""


SHARED = (Zone, ProtectedNetwork)
"""Rules that all links of the zone have in common."""


def inside(site: Site, link: Link, networks: tuple[IPNetwork, ...] = ()) -> tuple[Noun, ...]:
    """The tenant's zone, what is out of its reach, and the link in it."""
    owner = str(site.owner)
    return (
        Zone(owner=owner, zone=ZONE),
        *protected_networks(owner, site.infrastructure, site.allowed, site.mesh_port),
        ZoneLink(owner=owner, link=link.name, zone=ZONE, networks=networks),
        HostServices(owner=owner, link=link.name),
        MssClamp(owner=owner, link=link.name, mtu=link.mtu or site.mtu, bridged=False),
    )


def is_outside(site: Site, remote: IPAddress) -> bool:
    """Whether a node is in none of the networks that the tenant is kept away from anyway."""
    return not any(remote in network for network in site.infrastructure)


def kept_from(site: Site, remotes: Iterable[IPAddress]) -> Iterator[ProtectedNetwork]:
    """Yield what keeps the tenant away from these nodes, where they are outside.

    They take a guest's packets, translated, for those of this end of the tunnel.
    """
    for remote in remotes:
        if is_outside(site, remote):
            alone = [ip_network(remote)]
            yield from protected_networks(str(site.owner), alone, site.allowed, site.mesh_port)


def mesh_rules(site: Site, mesh: Mesh) -> Iterator[Noun]:
    """Yield the rules that keep the link of the mesh apart from all others."""
    yield from inside(site, mesh.link)
    yield from kept_from(site, mesh.remotes())


ROUTER = IPv6Interface("fe80::1/64")
"""The sender of router advertisements, which must be link-local (RFC 4861, 4.2)."""


def gateway_interfaces(networks: Networks) -> Iterator[IPInterface]:
    """Yield the addresses of a subnet's gateway, each with its prefix."""
    for network in networks:
        yield ip_interface((gateway_of(network), network.prefixlen))
        if network.version == ROUTER.version:
            yield ROUTER


@dataclass(frozen=True, slots=True)
class Scoping:
    """The configuration of every DHCP scope."""

    reserved: int
    domain: str | None
    dns: bool

    def check(self, networks: Networks) -> None:
        """Raise InvalidRequest if the reservation leaves no address for guests."""
        for network in networks:
            # Guests cannot have the network, gateway and broadcast addresses.
            if self.reserved >= network.num_addresses - 3:
                raise InvalidRequest(
                    f"{self.reserved} reserved addresses leave none of {network}",
                    field="dhcp_reserved",
                )


def build_cnci_subnet(
    site: Site,
    tenant_id: str,
    scoping: Scoping,
    networks: Networks,
    key: int,
    bridge: str,
    alias: str | None = None,
    link: str | None = None,
    mtu: int | None = None,
) -> CnciSubnet:
    """Return a subnet without tunnels; ``bridge`` is the link name to use."""
    fields = {ids.TENANT: tenant_id, ids.NETWORK: written(networks), ids.TUNNEL_KEY: str(key)}
    if link is not None:
        fields[ids.LINK] = link
    if mtu is not None:
        fields[ids.MTU] = str(mtu)
    alias = alias or ids.encode(site.owner, ids.BRIDGE, fields)
    return CnciSubnet(
        networks=networks,
        key=key,
        bridge=Bridge(name=bridge, alias=alias, mac=ids.link_mac(bridge), mtu=_capped(site, mtu)),
        scope=DhcpScope(
            owner=str(site.owner),
            link=bridge,
            subnets=networks,
            mtu=_capped(site, mtu),
            reserved=scoping.reserved,
            domain=scoping.domain,
            dns=scoping.dns,
        ),
        site=site,
        link=link,
        mtu=mtu,
    )


def _capped(site: Site, mtu: int | None) -> int:
    return min(site.mtu, mtu or site.mtu)


def build_tunnel(
    site: Site,
    tenant_id: str,
    subnet: CnciSubnet,
    remote: IPAddress,
    name: str,
    alias: str | None = None,
    port: int | None = None,
) -> Tunnel:
    """The subnet's tunnel to the compute node at ``remote``; ``port`` as that node has it."""
    fields = {
        ids.TENANT: tenant_id,
        ids.NETWORK: written(subnet.networks),
        ids.TUNNEL_KEY: str(subnet.key),
        ids.REMOTE: str(remote),
    }
    if port is not None:
        fields[ids.PORT] = str(port)
    return tunnel_link(
        site.tunnel,
        name=name,
        alias=alias or ids.encode(site.owner, ids.TUNNEL, fields),
        key=subnet.key,
        local=site.ip,
        remote=remote,
        master=subnet.bridge.name,
        mac=ids.link_mac(name),
        mtu=site.mtu,
        port=port,
    )
