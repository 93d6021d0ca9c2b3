"""What a concentrator knows: its subnets, the mesh, and its rules."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, Self

from snnet.contract import (
    Address,
    Conflict,
    DhcpScope,
    Fdb,
    HostServices,
    IPAddress,
    IPNetwork,
    Key,
    Link,
    Macvtap,
    Masquerade,
    MssClamp,
    Neighbour,
    Noun,
    Nouns,
    PolicyRule,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    Route,
    SharedSysctl,
    Tunnel,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
    link_key,
)

from .addressing import Networks, overlapping, written
from .cnci_reading import place, place_mesh, place_remembered
from .events import TunnelEvent
from .fitting import device_addresses, with_addresses
from .forwarding import forwarded, versions_of
from .leftovers import half_born
from .mesh import Mesh
from .records import Records, Thing
from .rules import Rule, untranslated
from .site import Site
from .subnet_index import SubnetIndex
from .subnets import SHARED, CnciSubnet, Scoping, mesh_rules, sysctls
from .topology import CnciTopology
from .tunnels import Wire, collision, wire

MESH = ("mesh",)
"""The mesh, as a thing that calls work on."""

RULE = "rule"


def rule_thing(key: Key) -> tuple[str, ...]:
    """A rule, as a thing that calls work on."""
    return (RULE, *key)


class CnciRecords(Records):
    """The subnets, the mesh and the rules of one concentrator."""

    optional: ClassVar[frozenset[type[Noun]]] = Records.optional | {
        Zone,
        ProtectedNetwork,
        ZoneLink,
        HostServices,
        Untracked,
        TunnelGuard,
        MssClamp,
    }
    KINDS: ClassVar[frozenset[type[Noun]]] = frozenset(
        {Link, Address, Neighbour, Fdb, Route, PolicyRule}
    )

    def __init__(self, site: Site, tenant_id: str, scoping: Scoping) -> None:
        super().__init__(site)
        self.tenant_id = tenant_id
        self.scoping = scoping
        self.subnets: dict[Networks, CnciSubnet] = {}
        self.mesh: Mesh | None = None
        self.rules: dict[Key, Rule] = {}
        self.epoch: Hashable | None = None
        """The firewall's epoch in which the tenant's zone was seen to be complete."""
        self._wires: dict[Wire, tuple[Networks, IPAddress]] = {}
        self._index = SubnetIndex()

    # -- looking up ------------------------------------------------------------------

    def subnet_of(self, address: IPAddress) -> CnciSubnet | None:
        """Return the subnet that contains the address."""
        networks = self._index.of(address)
        return None if networks is None else self.subnets[networks]

    def subnet_on(self, bridge: str) -> CnciSubnet | None:
        """Return the subnet with this bridge."""
        networks = self._index.on(bridge)
        return None if networks is None else self.subnets[networks]

    def named(self, networks: Networks) -> CnciSubnet | None:
        """Return the subnet that has all of these networks; it may have one more."""
        known = self.subnets.get(networks)
        if known is None:
            known = self.subnet_of(networks[0].network_address)
        return known if known is not None and {*networks} <= {*known.networks} else None

    def snapshot(self) -> CnciTopology:
        """Return what the node knows now, as data that does not change."""
        return CnciTopology(tuple(self.subnets.values()), self.mesh, tuple(self.rules.values()))

    # -- conflicts -------------------------------------------------------------------

    def check_subnet(self, networks: Networks, key: int) -> None:
        """Raise Conflict if a subnet contradicts those that exist."""
        for other in map(self.subnets.__getitem__, self._index.near(networks, key)):
            what = written(other.networks)
            if other.networks == networks:
                if other.key != key:
                    raise Conflict(
                        f"subnet {what} has the key {other.key}, not {key}: correct the "
                        f"request, or {_removing(other)}"
                    )
            elif other.key == key and not {*other.networks}.isdisjoint(networks):
                raise Conflict(
                    f"subnet {what} has these networks, not {written(networks)}: correct the "
                    f"request, or {_removing(other)}"
                )
            elif overlapping(networks, other.networks):
                raise Conflict(
                    f"{written(networks)} overlaps {what} of the same tenant: choose another, or "
                    f"{_removing(other)}"
                )
            elif other.key == key:
                raise Conflict(
                    f"key {key} belongs to subnet {what} of the same tenant: choose "
                    f"another, or {_removing(other)}"
                )
        if self.mesh and (remote := overlapping(networks, self.mesh.subnets())):
            raise Conflict(f"{written(networks)} overlaps {remote}, which a peer of the mesh has")

    def check_link(self, networks: Networks, link: str) -> None:
        """Raise Conflict if a link belongs to another subnet, or the subnet has another link."""
        for other in self.subnets.values():
            if other.networks == networks and other.link != link:
                raise Conflict(
                    f"subnet {written(networks)} is served by {other.link or 'tunnels alone'}, not "
                    f"by {link}: remove_subnet it first"
                )
            if other.networks != networks and other.link == link:
                raise Conflict(f"link {link} leads to subnet {written(other.networks)}")

    def check_tunnel(
        self, networks: Networks, key: int, remote: IPAddress, port: int | None = None
    ) -> None:
        """Conflict where another tunnel has the wire that this one would have."""
        mine = wire(self.site.tunnel, key, self.site.ip, remote, port)
        other = self._wires.get(mine)
        if other is not None and other != (networks, remote):
            subnet = self.subnets[other[0]]
            raise collision(
                remote, key, subnet.tunnels[other[1]], f"subnet {written(subnet.networks)}"
            )

    def networks(self) -> tuple[IPNetwork, ...]:
        """The networks of all subnets."""
        return tuple(network for networks in self.subnets for network in networks)

    def needed(self) -> frozenset[int]:
        """The IP versions whose packets the host has to forward for what the node has."""
        busy = bool(self.subnets or self.mesh or self.rules)
        return versions_of(self.networks()) | ({4} if busy else set())

    def zone(self) -> Iterator[Noun]:
        """The rules that keep the tenant's links, as they are now, apart from all others."""
        for subnet in tuple(self.subnets.values()):
            yield from subnet.rules
        if self.mesh is not None:
            yield from mesh_rules(self.site, self.mesh)

    def leads_to(self, remote: IPAddress, *, but: Networks | None = None) -> bool:
        """Whether the mesh, or a tunnel of another subnet than ``but``, leads to a node."""
        others = (subnet for networks, subnet in self.subnets.items() if networks != but)
        return (self.mesh is not None and remote in self.mesh.remotes()) or any(
            remote in subnet.tunnels for subnet in others
        )

    def tunnels(self) -> Iterator[Link]:
        """Every tunnel of the node, the mesh included."""
        for subnet in self.subnets.values():
            yield from subnet.tunnels.values()
        if self.mesh is not None:
            yield self.mesh.link

    # -- changing --------------------------------------------------------------------

    def put_subnet(self, subnet: CnciSubnet) -> None:
        self.drop_subnet(subnet.networks)
        self.subnets[subnet.networks] = subnet
        self._index.add(subnet.networks, subnet.key, subnet.bridge.name)
        for remote, tunnel in subnet.tunnels.items():
            self._wires[tunnel.wire_identity] = (subnet.networks, remote)

    def drop_subnet(self, networks: Networks) -> None:
        old = self.subnets.pop(networks, None)
        if old is not None:
            self._index.remove(networks, old.key, old.bridge.name)
            for remote in old.tunnels:
                self._drop_wire(old, remote)

    def put_tunnel(self, networks: Networks, tunnel: Tunnel) -> None:
        """Add a tunnel to a known subnet."""
        assert tunnel.remote is not None
        self.drop_tunnel(networks, tunnel.remote)
        self.subnets[networks] = self.subnets[networks].with_tunnel(tunnel)
        self._wires[tunnel.wire_identity] = (networks, tunnel.remote)

    def drop_tunnel(self, networks: Networks, remote: IPAddress) -> None:
        """Forget a tunnel of a subnet.  An unknown tunnel is not an error."""
        subnet = self.subnets.get(networks)
        if subnet is not None and remote in subnet.tunnels:
            self._drop_wire(subnet, remote)
            self.subnets[networks] = subnet.without_tunnel(remote)

    def _drop_wire(self, subnet: CnciSubnet, remote: IPAddress) -> None:
        identity = subnet.tunnels[remote].wire_identity
        if self._wires.get(identity) == (subnet.networks, remote):
            del self._wires[identity]

    # -- as records ------------------------------------------------------------------

    @property
    def kinds(self) -> frozenset[type[Noun]]:
        return self.KINDS

    def nouns(self) -> Iterator[Noun]:
        yield from self.sysctls(self.forwarding)
        for subnet in self.subnets.values():
            yield from subnet.nouns()
        if self.mesh:
            yield from self.mesh.guards(str(self.site.owner))
            yield from self.mesh.nouns()
            yield from mesh_rules(self.site, self.mesh)
        for rule in self.rules.values():
            yield from with_addresses(rule)

    def sysctls(self, versions: Collection[int]) -> Iterator[SharedSysctl]:
        return sysctls(self.site, versions)

    def apart(self, found: Nouns) -> Iterable[Noun]:
        for rule in (*self.rules.values(), *found.values()):
            if isinstance(rule, PublicIp) and rule.owner == str(self.site.owner):
                for noun in with_addresses(rule):
                    if noun.key in found and noun is not rule:
                        yield found[noun.key]

    def read(self, ours: Nouns, remembered: Nouns = MappingProxyType({})) -> tuple[Self, set[Key]]:
        records = type(self)(self.site, self.tenant_id, self.scoping)
        place(records, list(ours.values()))
        missing = {key: noun for key, noun in remembered.items() if key not in ours}
        place_remembered(records, missing)
        mesh = place_mesh(records, ours, remembered)
        records.forwarding = forwarded(ours) | records.needed()
        useless = half_born(ours)
        bridges = {subnet.bridge.name for subnet in records.subnets.values()}
        wanted = {noun.key for noun in records.nouns()}
        for key, noun in ours.items():
            if isinstance(noun, DhcpScope):
                if noun.link not in bridges:
                    useless.add(key)
            elif key in wanted:
                continue
            elif (
                isinstance(noun, (*SHARED, ZoneLink, HostServices, MssClamp))
                or (mesh and noun.within == mesh)
                # What guards a tunnel that has no place here stays as long as it does.
                or (isinstance(noun, (Untracked, TunnelGuard)) and link_key(noun.link) not in ours)
            ):
                useless.add(key)
        return records, useless

    def intents(self, things: Iterable[Thing] | None) -> dict[tuple[str, ...], Sequence[Noun]]:
        if things is None:
            things = [MESH, *map(rule_thing, self.rules)]
        found: dict[tuple[str, ...], Sequence[Noun]] = {}
        for thing in things:
            if thing == MESH:
                found[MESH] = tuple(self.mesh.nouns()) if self.mesh else ()
            elif thing[0] == RULE:
                key = tuple(map(str, thing[1:]))
                found[rule_thing(key)] = (self.rules[key],) if key in self.rules else ()
        return found

    def outside(self) -> Iterable[Rule]:
        return list(self.rules.values())

    def warnings(self) -> Iterator[str]:
        yield from untranslated(self.rules.values())

    def refreshed(self, found: Nouns) -> dict[Key, Rule]:
        forwards = [
            rule
            for rule in self.rules.values()
            if isinstance(rule, PortForward) and rule.address is None
        ]
        if not forwards:
            return {}
        publics = {rule.public for rule in self.rules.values() if isinstance(rule, PublicIp)}
        addresses = device_addresses(found.values(), publics)
        new = [replace(rule, addresses=addresses.get(rule.device, ())) for rule in forwards]
        return {rule.key: rule for rule, old in zip(new, forwards, strict=True) if rule != old}

    def take_rules(self, rules: Mapping[Key, Rule]) -> None:
        self.rules |= rules

    def routers(self) -> Iterator[str]:
        for subnet in self.subnets.values():
            yield subnet.bridge.name
        if self.mesh:
            yield self.mesh.link.name

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


def _removing(subnet: CnciSubnet) -> str:
    return f"call remove_subnet({str(subnet.network)!r}) first"


def masquerades(records: CnciRecords) -> list[Masquerade]:
    """The rules of ``enable_nat``."""
    return [rule for rule in records.rules.values() if isinstance(rule, Masquerade)]
