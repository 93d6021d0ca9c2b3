"""What a concentrator knows: its subnets, the mesh, and its rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import ClassVar, Self

from snnet.contract import (
    Address,
    Conflict,
    DhcpScope,
    ExternalForward,
    Fdb,
    InvalidRequest,
    IPAddress,
    Key,
    Link,
    Macvtap,
    Masquerade,
    Neighbour,
    Noun,
    Nouns,
    PortForward,
    PublicIp,
    Route,
    SharedSysctl,
    Tunnel,
    Zone,
    ZoneLink,
)

from . import identity as ids
from .addressing import check_guest, check_subnet
from .building import DAMAGE
from .events import TunnelEvent
from .leftovers import half_born
from .mesh import Mesh, read_mesh
from .records import Records
from .requests import check_remote
from .rules import Rule
from .site import Site
from .subnets import CnciSubnet, Scoping, build_cnci_subnet, build_tunnel, inside, sysctls
from .topology import CnciTopology
from .tunnels import Wire, check_key, collision, wire


class CnciRecords(Records):
    """The subnets, the mesh and the rules of one concentrator."""

    optional: ClassVar[frozenset[type[Noun]]] = Records.optional | {Zone, ZoneLink}
    KINDS: ClassVar[frozenset[type[Noun]]] = frozenset({Link, Address, Neighbour, Fdb, Route})

    def __init__(self, site: Site, tenant_id: str, scoping: Scoping) -> None:
        super().__init__(site)
        self.tenant_id = tenant_id
        self.scoping = scoping
        self.subnets: dict[IPv4Network, CnciSubnet] = {}
        self.mesh: Mesh | None = None
        self.rules: dict[Key, Rule] = {}
        self._wires: dict[Wire, tuple[IPv4Network, IPAddress]] = {}

    # -- looking up ------------------------------------------------------------------

    def subnet_of(self, address: IPv4Address) -> CnciSubnet | None:
        """Return the subnet that contains the address."""
        return next((subnet for subnet in self.subnets.values() if address in subnet.network), None)

    def snapshot(self) -> CnciTopology:
        """Return what the node knows now, as data that does not change."""
        return CnciTopology(tuple(self.subnets.values()), self.mesh, tuple(self.rules.values()))

    # -- conflicts -------------------------------------------------------------------

    def check_subnet(self, network: IPv4Network, key: int) -> None:
        """Raise Conflict if a subnet contradicts those that exist."""
        for other in self.subnets.values():
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

    def check_tunnel(self, network: IPv4Network, key: int, remote: IPAddress) -> None:
        """Raise Conflict if another tunnel has the wire identity that this one would have."""
        mine = wire(self.site.tunnel, key, self.site.ip, remote)
        other = self._wires.get(mine)
        if other is not None and other != (network, remote):
            subnet = self.subnets[other[0]]
            raise collision(remote, key, subnet.tunnels[other[1]], f"subnet {subnet.network}")

    def tunnels(self) -> Iterator[Link]:
        """Every tunnel of the node, the mesh included."""
        for subnet in self.subnets.values():
            yield from subnet.tunnels.values()
        if self.mesh is not None:
            yield self.mesh.link

    # -- changing --------------------------------------------------------------------

    def put_subnet(self, subnet: CnciSubnet) -> None:
        self.drop_subnet(subnet.network)
        self.subnets[subnet.network] = subnet
        for remote, tunnel in subnet.tunnels.items():
            self._wires[tunnel.wire_identity] = (subnet.network, remote)

    def drop_subnet(self, network: IPv4Network) -> None:
        old = self.subnets.pop(network, None)
        if old is not None:
            for remote in old.tunnels:
                self._drop_wire(old, remote)

    def put_tunnel(self, network: IPv4Network, tunnel: Tunnel) -> None:
        """Add a tunnel to a known subnet."""
        assert tunnel.remote is not None
        self.subnets[network] = self.subnets[network].with_tunnel(tunnel)
        self._wires[tunnel.wire_identity] = (network, tunnel.remote)

    def drop_tunnel(self, network: IPv4Network, remote: IPAddress) -> None:
        """Forget a tunnel of a subnet.  An unknown tunnel is not an error."""
        subnet = self.subnets.get(network)
        if subnet is not None and remote in subnet.tunnels:
            self._drop_wire(subnet, remote)
            self.subnets[network] = subnet.without_tunnel(remote)

    def _drop_wire(self, subnet: CnciSubnet, remote: IPAddress) -> None:
        identity = subnet.tunnels[remote].wire_identity
        if self._wires.get(identity) == (subnet.network, remote):
            del self._wires[identity]

    # -- as records ------------------------------------------------------------------

    @property
    def kinds(self) -> frozenset[type[Noun]]:
        return self.KINDS

    def nouns(self) -> Iterator[Noun]:
        if self.forwarding:
            yield from self.sysctls()
        for subnet in self.subnets.values():
            yield from subnet.nouns()
        if self.mesh:
            yield from self.mesh.nouns()
            yield from inside(str(self.site.owner), self.mesh.link.name)
        for rule in self.rules.values():
            yield from with_addresses(rule)

    def sysctls(self) -> Iterator[SharedSysctl]:
        return sysctls(self.site)

    def apart(self, found: Nouns) -> Iterable[Noun]:
        for rule in (*self.rules.values(), *found.values()):
            if isinstance(rule, PublicIp) and rule.owner == str(self.site.owner):
                for noun in with_addresses(rule):
                    if noun.key in found and noun is not rule:
                        yield found[noun.key]

    def read(self, ours: Nouns) -> tuple[Self, set[Key]]:
        records = type(self)(self.site, self.tenant_id, self.scoping)
        _place(records, list(ours.values()))
        records.forwarding = bool(records.subnets or records.mesh or records.rules) or any(
            isinstance(noun, SharedSysctl) for noun in ours.values()
        )
        useless = half_born(ours)
        bridges = {subnet.bridge.name for subnet in records.subnets.values()}
        wanted = {noun.key for noun in records.nouns()}
        for key, noun in ours.items():
            if (isinstance(noun, DhcpScope) and noun.link not in bridges) or (
                isinstance(noun, (Zone, ZoneLink)) and key not in wanted
            ):
                useless.add(key)
        return records, useless

    def rebuilt(self, left: Collection[Key] | None) -> list[TunnelEvent]:
        return []

    def lost(self, left: Collection[Key]) -> list[TunnelEvent]:
        return []

    def reindex(self, link: Macvtap) -> None:
        """See :meth:`Records.reindex`; a concentrator has no macvtap."""

    def remaining(self, left: Nouns) -> Self:
        """See :meth:`Records.remaining`; a rule stays while its address does."""
        records = super().remaining(left)
        for key, rule in self.rules.items():
            if any(noun.key in left for noun in with_addresses(rule)):
                records.rules[key] = rule
        return records


def with_addresses(rule: Noun) -> Iterator[Noun]:
    """A rule, and the address that a public IP puts on its device."""
    if isinstance(rule, PublicIp):
        yield Address(link=rule.device, address=IPv4Interface((rule.public, 32)))
    yield rule


def check_fits(rule: Rule, records: CnciRecords) -> None:
    """Raise InvalidRequest if a rule names a bridge or a guest that is not the concentrator's."""
    match rule:
        case ExternalForward(bridge=bridge):
            if all(subnet.bridge.name != bridge for subnet in records.subnets.values()):
                raise InvalidRequest(
                    f"{bridge!r} is not a bridge of this concentrator", field="bridge"
                )
        case PortForward(target=target, address=address):
            _check_target(target, records)
            if address is not None:
                _check_own(address, records)
        case PublicIp(internal=address, public=public):
            if public == records.site.ip or records.subnet_of(public):
                raise InvalidRequest(
                    f"{public} is this concentrator's own, or in one of its subnets",
                    field="address",
                )
            for network in records.mesh.subnets() if records.mesh else ():
                if public in network:
                    raise Conflict(f"{public} is in {network}, which a peer of the mesh has")
            _check_target(address, records)


def _check_target(address: IPv4Address, records: CnciRecords) -> None:
    subnet = records.subnet_of(address)
    if subnet is None:
        raise InvalidRequest(f"{address} is in no subnet of this concentrator", field="to")
    check_guest(address, subnet.network, "to")


def _check_own(address: IPv4Address, records: CnciRecords) -> None:
    """Raise InvalidRequest if packets to an address never reach a forward of its ports."""
    if subnet := records.subnet_of(address):
        raise InvalidRequest(
            f"{address} is in subnet {subnet.network} of this concentrator: give an address of "
            "an external device",
            field="address",
        )
    for rule in records.rules.values():
        if isinstance(rule, PublicIp) and rule.public == address:
            raise InvalidRequest(
                f"{address} is the public address of {rule.internal}, which gets all its packets",
                field="address",
            )


def check_mesh(mesh: Mesh, networks: Iterable[IPv4Network]) -> None:
    """Raise Conflict if a subnet of a peer overlaps one of these networks."""
    for remote in mesh.subnets():
        for local in networks:
            if local.overlaps(remote):
                raise Conflict(f"{remote} of a peer overlaps {local} of this concentrator")


_Claimed = tuple[Link, dict[str, str]]
"""A link of this owner, and the fields of its alias."""


def _place(records: CnciRecords, ours: list[Noun]) -> None:
    """Fill the records from the objects found.  An object without a place is an orphan."""
    parts: dict[str, list[_Claimed]] = {ids.BRIDGE: [], ids.TUNNEL: [], ids.MESH: []}
    for link in ours:
        if isinstance(link, Link) and (fields := ids.claimed(link, records.site.owner)):
            if fields.get(ids.TENANT) != records.tenant_id:
                records.orphans.append(f"{link}: of tenant {fields.get(ids.TENANT)}")
            else:
                parts.setdefault(fields[ids.KIND], []).append((link, fields))
    for kind, place in ((ids.BRIDGE, _place_bridge), (ids.TUNNEL, _place_tunnel)):
        for link, fields in parts[kind]:
            try:
                place(records, link, fields)
            except (*DAMAGE, Conflict) as error:
                records.orphans.append(f"{link}: {error}")
    scopes = {noun.link: noun for noun in ours if isinstance(noun, DhcpScope)}
    for network, subnet in records.subnets.items():
        if scope := scopes.get(subnet.bridge.name):
            # Added entries are recorded nowhere else.
            kept = replace(subnet.scope, entries=scope.entries)
            records.subnets[network] = replace(subnet, scope=kept)
    for link, fields in parts[ids.MESH]:
        try:
            records.mesh = read_mesh(records.site, link, fields, ours)
        except DAMAGE as error:
            records.orphans.append(f"{link}: {error}")
    records.rules = {
        noun.key: noun
        for noun in ours
        if isinstance(noun, (Masquerade, ExternalForward, PortForward, PublicIp))
    }


def _network_and_key(site: Site, fields: dict[str, str]) -> tuple[IPv4Network, int]:
    network = check_subnet(IPv4Network(fields[ids.NETWORK]))
    return network, check_key(site.tunnel, int(fields[ids.TUNNEL_KEY]))


def _place_bridge(records: CnciRecords, link: Link, fields: dict[str, str]) -> None:
    network, key = _network_and_key(records.site, fields)
    if network in records.subnets:
        raise Conflict("a second bridge of the same subnet")
    records.check_subnet(network, key)
    records.put_subnet(_subnet(records, network, key, link.name, link.alias))


def _place_tunnel(records: CnciRecords, link: Link, fields: dict[str, str]) -> None:
    site = records.site
    network, key = _network_and_key(site, fields)
    remote = check_remote(fields[ids.REMOTE], site.ip, "remote")
    records.check_subnet(network, key)
    subnet = records.subnets.get(network)
    if subnet is None:
        # Another program deleted the bridge; the alias of the tunnel has the subnet too.
        name = next(ids.names(site.owner, ids.BRIDGE, str(network)))
        subnet = _subnet(records, network, key, name)
    if remote in subnet.tunnels:
        raise Conflict("a second tunnel to the same node")
    records.check_tunnel(network, key, remote)
    tunnel = build_tunnel(site, records.tenant_id, subnet, remote, link.name, link.alias)
    records.put_subnet(subnet.with_tunnel(tunnel))


def _subnet(
    records: CnciRecords, network: IPv4Network, key: int, bridge: str, alias: str | None = None
) -> CnciSubnet:
    return build_cnci_subnet(
        records.site, records.tenant_id, records.scoping, network, key, bridge, alias
    )
