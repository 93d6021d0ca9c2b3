"""A concentrator's topology: its subnets, their tunnels, and its rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from snnet.contract import (
    Address,
    Bridge,
    Conflict,
    DhcpScope,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    Key,
    Link,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Tunnel,
    Zone,
    ZoneLink,
)

from . import identity as ids
from .addressing import check_subnet, gateway_of
from .compute import Site
from .encapsulation import check_key, collision, tunnel_link, wire_identity
from .identity import Owner
from .mesh import Mesh, read_mesh
from .requests import check_remote
from .topology import DAMAGE


@dataclass(frozen=True, slots=True)
class LocalSubnet:
    """A tenant subnet on its concentrator: bridge, gateway, DHCP, a tunnel a node."""

    network: IPv4Network
    key: int
    bridge: Bridge
    scope: DhcpScope
    tunnels: Mapping[IPAddress, Tunnel] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Noun, ...]:
        """Its bridge is in the tenant's zone."""
        owner = self.scope.owner
        return inside(owner, self.bridge.name, self.network)

    def nouns(self) -> Iterator[Noun]:
        """What the kernel, the firewall and the DHCP server hold for it."""
        yield self.bridge
        yield from self.rules
        yield Address(link=self.bridge.name, address=gateway_interface(self.network))
        yield self.scope
        yield from self.tunnels.values()

    def with_tunnel(self, tunnel: Tunnel) -> LocalSubnet:
        assert tunnel.remote is not None
        return replace(self, tunnels={**self.tunnels, tunnel.remote: tunnel})

    def without_tunnel(self, remote: IPAddress) -> LocalSubnet:
        kept = {address: link for address, link in self.tunnels.items() if address != remote}
        return replace(self, tunnels=kept)


ZONE = "tenant"
"""The one zone of a concentrator, which has one tenant."""


def inside(owner: str, link: str, network: IPv4Network | None = None) -> tuple[Noun, ...]:
    """The tenant's zone, and the link in it."""
    return (
        Zone(owner=owner, zone=ZONE),
        ZoneLink(owner=owner, link=link, zone=ZONE, network=network),
    )


def gateway_interface(network: IPv4Network) -> IPv4Interface:
    """The gateway's address with the subnet's prefix."""
    return IPv4Interface((gateway_of(network), network.prefixlen))


@dataclass(frozen=True, slots=True)
class Scoping:
    """What the configuration says about every DHCP scope."""

    reserved: int
    domain: str | None

    def check(self, network: IPv4Network) -> None:
        """InvalidRequest where the reservation leaves a subnet no address."""
        # Network, gateway and broadcast address are nobody's.
        if self.reserved >= network.num_addresses - 3:
            raise InvalidRequest(
                f"{self.reserved} reserved addresses leave none of {network}", field="dhcp_reserved"
            )


def build_local_subnet(
    site: Site,
    tenant_id: str,
    scoping: Scoping,
    network: IPv4Network,
    key: int,
    bridge: str,
    alias: str | None = None,
) -> LocalSubnet:
    """A subnet without tunnels; ``bridge`` is the link name to use."""
    fields = {ids.TENANT: tenant_id, ids.NETWORK: str(network), ids.TUNNEL_KEY: str(key)}
    alias = alias or ids.encode(site.owner, ids.BRIDGE, fields)
    return LocalSubnet(
        network=network,
        key=key,
        bridge=Bridge(name=bridge, alias=alias, mac=ids.link_mac(bridge), mtu=site.mtu),
        scope=DhcpScope(
            owner=str(site.owner),
            link=bridge,
            subnet=network,
            mtu=site.mtu,
            reserved=scoping.reserved,
            domain=scoping.domain,
        ),
    )


def build_tunnel(
    site: Site,
    tenant_id: str,
    subnet: LocalSubnet,
    remote: IPAddress,
    name: str,
    alias: str | None = None,
) -> Tunnel:
    """The subnet's tunnel to the compute node at ``remote``."""
    fields = {
        ids.TENANT: tenant_id,
        ids.NETWORK: str(subnet.network),
        ids.TUNNEL_KEY: str(subnet.key),
        ids.REMOTE: str(remote),
    }
    return tunnel_link(
        site.tunnel,
        name=name,
        alias=alias or ids.encode(site.owner, ids.TUNNEL, fields),
        key=subnet.key,
        local=site.uplink.ip,
        remote=remote,
        master=subnet.bridge.name,
        mac=ids.link_mac(name),
        mtu=site.mtu,
    )


@dataclass(slots=True)
class Concentration:
    """What a concentrator knows.

    The node guards changes; checks look at copies, for they run beside other calls.
    """

    owner: str = ""
    subnets: dict[IPv4Network, LocalSubnet] = field(default_factory=dict)
    mesh: Mesh | None = None
    rules: dict[Key, Noun] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    def nouns(self) -> Iterator[Noun]:
        """Everything the node wants on its host."""
        for subnet in self.subnets.values():
            yield from subnet.nouns()
        if self.mesh:
            yield from self.mesh.nouns()
            yield from inside(self.owner, self.mesh.link.name)
        for rule in self.rules.values():
            yield from with_addresses(rule)

    def check_subnet(self, network: IPv4Network, key: int) -> None:
        """Conflict where a subnet contradicts those that exist."""
        for other in list(self.subnets.values()):
            if other.network == network:
                if other.key != key:
                    raise Conflict(f"subnet {network} has the key {other.key}, not {key}")
            elif other.network.overlaps(network):
                raise Conflict(f"{network} overlaps {other.network} of the same tenant")
            elif other.key == key:
                raise Conflict(f"key {key} belongs to subnet {other.network} of the same tenant")
        if self.mesh:
            for remote in self.mesh.subnets():
                if remote.overlaps(network):
                    raise Conflict(f"{network} overlaps {remote}, which a peer of the mesh has")

    def check_mesh(self, mesh: Mesh) -> None:
        """Conflict where a peer's subnet overlaps one of ours."""
        for remote in mesh.subnets():
            for local in list(self.subnets):
                if local.overlaps(remote):
                    raise Conflict(f"{remote} of a peer overlaps {local} of this concentrator")

    def check_wire(self, tunnel: Tunnel) -> None:
        """Conflict where another tunnel cannot be told from this one."""
        wanted = wire_identity(tunnel)
        for subnet in list(self.subnets.values()):
            for other in subnet.tunnels.values():
                if other.name != tunnel.name and wire_identity(other) == wanted:
                    raise collision(tunnel, other, f"subnet {subnet.network}")

    def subnet_of(self, address: object) -> LocalSubnet | None:
        """The subnet an address is in."""
        return next(
            (subnet for subnet in list(self.subnets.values()) if address in subnet.network), None
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "subnets": {
                str(subnet.network): {
                    "subnet_key": subnet.key,
                    "bridge": subnet.bridge.name,
                    "gateway": str(gateway_of(subnet.network)),
                    "mtu": subnet.scope.mtu,
                    "tunnels": {str(remote): link.name for remote, link in subnet.tunnels.items()},
                }
                for subnet in self.subnets.values()
            },
            "mesh": self.mesh.to_dict() if self.mesh else None,
            "rules": [str(rule) for rule in self.rules.values()],
        }


def with_addresses(rule: Noun) -> Iterator[Noun]:
    """A rule, and the address that a public IP puts on its device."""
    if isinstance(rule, PublicIp):
        yield Address(link=rule.device, address=IPv4Interface((rule.public, 32)))
    yield rule


_Found = tuple[Link, dict[str, str]]


def read_concentration(
    site: Site, tenant_id: str, scoping: Scoping, ours: Iterable[Noun]
) -> Concentration:
    """What the objects of this node tell; what has no place in it is an orphan."""
    ours = list(ours)
    known = Concentration(str(site.owner))
    parts: dict[str, list[_Found]] = {ids.BRIDGE: [], ids.TUNNEL: [], ids.MESH: []}
    for link in ours:
        if isinstance(link, Link) and (fields := ids.claimed(link, site.owner)):
            if fields.get(ids.TENANT) != tenant_id:
                known.orphans.append(f"{link}: of tenant {fields.get(ids.TENANT)}")
            else:
                parts.setdefault(fields[ids.KIND], []).append((link, fields))
    scopes = {noun.link: noun for noun in ours if isinstance(noun, DhcpScope)}
    for kind, place in ((ids.BRIDGE, _place_bridge), (ids.TUNNEL, _place_tunnel)):
        for link, fields in parts[kind]:
            try:
                place(known, site, tenant_id, scoping, link, fields)
            except (*DAMAGE, Conflict) as error:
                known.orphans.append(f"{link}: {error}")
    for network, subnet in known.subnets.items():
        if scope := scopes.get(subnet.bridge.name):
            # What was added by hand lives nowhere else.
            kept = replace(subnet.scope, entries=scope.entries)
            known.subnets[network] = replace(subnet, scope=kept)
    for link, fields in parts[ids.MESH]:
        try:
            known.mesh = read_mesh(site, link, fields, ours)
        except DAMAGE as error:
            known.orphans.append(f"{link}: {error}")
    known.rules = {
        noun.key: noun
        for noun in ours
        if isinstance(noun, (Masquerade, ExternalForward, PortForward, PublicIp))
    }
    return known


def check_rule(rule: Noun, known: Mapping[Key, Noun]) -> None:
    """Conflict where a rule contradicts one that exists."""
    old = known.get(rule.key)
    if old is not None and not same_rule(rule, old):
        raise Conflict(f"{old} exists: disable it before {rule}")
    if isinstance(rule, PublicIp):
        for other in known.values():
            if (
                isinstance(other, PublicIp)
                and (other.internal, other.device) == (rule.internal, rule.device)
                and other.public != rule.public
            ):
                raise Conflict(f"{rule.internal} has the public address {other.public} already")


def public_key(owner: Owner, address: IPv4Address) -> Key:
    """Identity of the rule that makes the address public."""
    return ("public-ip", str(owner), str(address))


def same_rule(rule: Noun, other: Noun | None) -> bool:
    """Whether both say the same, whatever addresses the device had at the time."""
    if isinstance(rule, PortForward) and isinstance(other, PortForward):
        return replace(rule, addresses=()) == replace(other, addresses=())
    return rule == other


def _network_and_key(site: Site, fields: dict[str, str]) -> tuple[IPv4Network, int]:
    network = check_subnet(IPv4Network(fields[ids.NETWORK]))
    return network, check_key(site.tunnel, int(fields[ids.TUNNEL_KEY]))


def _place_bridge(
    known: Concentration,
    site: Site,
    tenant_id: str,
    scoping: Scoping,
    link: Link,
    fields: dict[str, str],
) -> None:
    network, key = _network_and_key(site, fields)
    if network in known.subnets:
        raise Conflict("a second bridge of the same subnet")
    known.check_subnet(network, key)
    known.subnets[network] = build_local_subnet(
        site, tenant_id, scoping, network, key, link.name, link.alias
    )


def _place_tunnel(
    known: Concentration,
    site: Site,
    tenant_id: str,
    scoping: Scoping,
    link: Link,
    fields: dict[str, str],
) -> None:
    network, key = _network_and_key(site, fields)
    remote = check_remote(fields[ids.REMOTE], site.uplink.ip, "remote")
    known.check_subnet(network, key)
    subnet = known.subnets.get(network)
    if subnet is None:
        # The bridge was deleted behind our back: the tunnel knows the subnet too.
        name = next(ids.names(site.owner, ids.BRIDGE, str(network)))
        subnet = build_local_subnet(site, tenant_id, scoping, network, key, name)
    if remote in subnet.tunnels:
        raise Conflict("a second tunnel to the same node")
    tunnel = build_tunnel(site, tenant_id, subnet, remote, link.name, link.alias)
    known.check_wire(tunnel)
    known.subnets[network] = subnet.with_tunnel(tunnel)
