"""What a compute node knows: its subnets and VNICs, and indexes to find conflicts."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import ClassVar, Self

from snnet.config import VnicRole
from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    Conflict,
    DockerAccept,
    HostIsolation,
    IPAddress,
    Key,
    Link,
    Macvtap,
    Noun,
    Nouns,
    PortForward,
    SharedSysctl,
    keyed,
)
from snnet.contract.guards import GUARDS

from .compute_kinds import kinds_of
from .compute_places import close_lost, learn_peers, place, without_tunnel
from .concentrator_reading import leftovers, misplaced, read_concentrators
from .concentrators import Concentrator, concentrator_thing
from .conflicts import over_path, same_macs
from .events import TunnelEvent, TunnelEventType
from .fitting import device_addresses
from .forwarding import forwarded, versions_of
from .groups import Group, GroupId, group_thing, read_groups
from .held import LostPorts
from .leftovers import half_born, useless_dependents
from .local_requests import ConcentratorId
from .marked import is_marked, marked_of
from .meshing import Reaches, peers_thing, stale_entries
from .policies import Policies
from .records import Records, Thing
from .requests import CnciVnicId, GuestRequest, SubnetId, VnicId
from .routed import sysctls, zones
from .rules import Rule
from .shaping import adjust_blocks
from .site import Site
from .telling import tunnel_events
from .topology import Topology
from .tunnels import Wire, collision, wire
from .vnics import CnciVnic, TenantSubnet, Vnic


class ComputeRecords(Records):
    """The subnets, their VNICs and the CNCI VNICs of one compute node."""

    optional: ClassVar[frozenset[type[Noun]]] = (
        Records.optional | GUARDS | {BridgeAccept, HostIsolation, AntiSpoof, DockerAccept}
    )

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.subnets: dict[SubnetId, TenantSubnet] = {}
        self.cnci_vnics: dict[CnciVnicId, CnciVnic] = {}
        self.concentrators: dict[ConcentratorId, Concentrator] = {}
        self.plugged: dict[SubnetId, ConcentratorId] = {}
        """The subnets that concentrators on this host serve."""
        self.lost_ports = LostPorts(site.owner)
        self.groups: dict[GroupId, Group] = {}
        self.group_epochs: dict[GroupId, Hashable] = {}  # as epoch() of a subnet
        self._vnics: dict[SubnetId, dict[str, Vnic]] = {}
        self._addresses: dict[SubnetId, dict[IPAddress, str]] = {}
        self._wires: dict[Wire, SubnetId] = {}
        self._containers: dict[SubnetId, int] = {}
        self._epochs: dict[SubnetId, Hashable] = {}

    # -- looking up ------------------------------------------------------------------

    def vnic(self, identity: VnicId) -> Vnic | None:
        return self._vnics.get(identity[:2], {}).get(identity[2])

    def vnics(self, subnet: SubnetId | None = None) -> Iterator[Vnic]:
        """Return the VNICs of one subnet, or of all subnets."""
        if subnet is not None:
            return iter(self._vnics.get(subnet, {}).values())
        return chain.from_iterable(vnics.values() for vnics in self._vnics.values())

    def has_vnics(self, subnet: SubnetId) -> bool:
        return bool(self._vnics.get(subnet))

    def having(self, tenant: str, address: IPAddress) -> Iterator[Vnic]:
        """Yield the tenant's VNICs with this address of their own: one of a subnet at most."""
        for subnet, known in self._addresses.items():
            if subnet[0] == tenant and address in known:
                yield self._vnics[subnet][known[address]]

    def containers(self, subnet: SubnetId) -> int:
        """Return the number of container VNICs of the subnet on this node."""
        return self._containers.get(subnet, 0)

    def epoch(self, subnet: SubnetId) -> Hashable | None:
        """The firewall's epoch in which the subnet's rules were seen to be complete, if any."""
        return self._epochs.get(subnet)

    def empty_subnets(self) -> list[TenantSubnet]:
        """Return the subnets that nothing needs: a killed create or destroy leaves them."""
        return [subnet for key, subnet in self.subnets.items() if not self.is_used(key)]

    def is_used(self, subnet: SubnetId) -> bool:
        """Whether the subnet has a VNIC, perhaps, or a concentrator on this host serves it."""
        return (
            bool(self._vnics.get(subnet)) or subnet in self.plugged or self.lost_ports.keep(subnet)
        )

    def snapshot(self) -> Topology:
        """Return what the node knows now, as data that does not change."""
        return Topology(
            subnets=tuple(self.subnets.values()),
            vnics=tuple(self.vnics()),
            cnci_vnics=tuple(self.cnci_vnics.values()),
            concentrators=tuple(self.concentrators.values()),
            groups=tuple(self.groups.values()),
        )

    # -- conflicts -------------------------------------------------------------------

    def check_addresses(
        self, identity: VnicId, addresses: Iterable[IPAddress], gone: Collection[VnicId] = ()
    ) -> None:
        """Raise Conflict if another VNIC of the subnet, not in ``gone``, has an address."""
        known = self._addresses.get(identity[:2], {})
        for address in addresses:
            other = known.get(address)
            if other not in (None, identity[2]) and (*identity[:2], other) not in gone:
                raise Conflict(f"ip {address} of subnet {identity[1]} belongs to VNIC {other}")

    def check_mac(self, request: GuestRequest, gone: Collection[VnicId] = ()) -> None:
        """Raise Conflict if another VNIC of the subnet has the MAC of the request.

        Only a MAC that is the hash of an address needs this.
        """
        for other in self.vnics(request.id[:2]):
            if other.mac == request.mac and other.id != request.id and other.id not in gone:
                raise Conflict(
                    f"the default MAC {request.mac} of {request.ips[0]} belongs to VNIC "
                    f"{other.vnic_id} of subnet {other.subnet_id}: choose another with mac="
                )

    def check_tunnel(self, identity: SubnetId, key: int, remote: IPAddress | None = None) -> None:
        """Raise Conflict if another subnet's tunnel has the wire of one to ``remote``, or all."""
        local = self.site.ip
        mine = wire(self.site.tunnel, key, local, remote or local, self.site.port)
        self._check_wire(identity, mine, key, remote)

    def check_subnet(self, subnet: TenantSubnet) -> None:
        """Raise Conflict if another subnet's tunnel has the wire identity of this one's."""
        if (tunnel := subnet.tunnel) is not None:
            self._check_wire(subnet.id, tunnel.wire_identity, tunnel.wire_key, tunnel.remote)

    def _check_wire(
        self, identity: SubnetId, mine: Wire, key: int, remote: IPAddress | None
    ) -> None:
        other = self._wires.get(mine)
        if other is not None and other != identity:
            existing = self.subnets[other].tunnel
            assert existing is not None
            raise collision(remote, key, existing, f"subnet {other[1]} of tenant {other[0]}")

    def check_cnci_mac(self, identity: CnciVnicId, mac: str) -> None:
        """Raise Conflict if another CNCI VNIC has the MAC: an uplink takes each MAC once."""
        for other in self.cnci_vnics.values():
            if other.mac == mac and other.id != identity:
                raise Conflict(
                    f"MAC {mac} belongs to CNCI VNIC {other.vnic_id} of tenant "
                    f"{other.tenant_id} on the same uplink"
                )

    # -- changing --------------------------------------------------------------------

    def put_subnet(self, subnet: TenantSubnet) -> None:
        self._drop_wire(subnet.id)
        self._move_vnics(subnet)
        self.subnets[subnet.id] = subnet
        if self.site.routed:
            self.forwarding |= versions_of(subnet.networks)
        if subnet.tunnel:
            self._wires[subnet.tunnel.wire_identity] = subnet.id

    def _move_vnics(self, subnet: TenantSubnet) -> None:
        """Know the VNICs of a subnet as ports of its bridge, whose name may be another now."""
        old, vnics = self.subnets.get(subnet.id), self._vnics.get(subnet.id)
        if not vnics or old is None or old.bridge is None or subnet.bridge is None:
            return
        if old.bridge.name != subnet.bridge.name:
            for name, vnic in vnics.items():
                vnics[name] = vnic.on_bridge(subnet.bridge)

    def vouch(self, subnet: SubnetId, epoch: Hashable | None) -> None:
        """Record that the subnet's rules were seen to be complete in this epoch."""
        self._epochs[subnet] = epoch

    def drop_subnet(self, identity: SubnetId) -> None:
        self._drop_wire(identity)
        self._epochs.pop(identity, None)
        self.subnets.pop(identity, None)
        self._vnics.pop(identity, None)
        self._addresses.pop(identity, None)
        self._containers.pop(identity, None)

    def _drop_wire(self, identity: SubnetId) -> None:
        old = self.subnets.get(identity)
        if old and old.tunnel:
            self._wires.pop(old.tunnel.wire_identity, None)

    def put_vnic(self, vnic: Vnic) -> None:
        subnet, name = vnic.id[:2], vnic.id[2]
        vnics = self._vnics.setdefault(subnet, {})
        if vnic.role is VnicRole.TENANT_CONTAINER and name not in vnics:
            self._containers[subnet] = self._containers.get(subnet, 0) + 1
        vnics[name] = vnic
        self.lost_ports = self.lost_ports.without([vnic.id])
        known = self._addresses.setdefault(subnet, {})
        for ip in vnic.ips:
            known[ip] = name

    def drop_vnic(self, identity: VnicId) -> None:
        vnic = self._vnics.get(identity[:2], {}).pop(identity[2], None)
        if vnic:
            for ip in vnic.ips:
                self._addresses[identity[:2]].pop(ip, None)
            if vnic.role is VnicRole.TENANT_CONTAINER:
                self._containers[identity[:2]] -= 1

    def put_concentrator(self, one: Concentrator) -> None:
        self.drop_concentrator(one.id)
        self.concentrators[one.id] = one
        self.plugged |= dict.fromkeys(one.subnets, one.id)
        self.forwarding |= one.versions

    def drop_concentrator(self, identity: ConcentratorId) -> None:
        old = self.concentrators.pop(identity, None)
        for subnet in old.subnets if old else ():
            self.plugged.pop(subnet, None)

    def reindex(self, link: Macvtap) -> None:
        for identity, vnic in self.cnci_vnics.items():
            if vnic.link_name == link.name:
                self.cnci_vnics[identity] = replace(vnic, link=link)

    def forget(self, subnet: TenantSubnet, left: Collection[Key]) -> list[TunnelEvent]:
        """Forget a subnet without VNICs, except what is ``left``; return DEL for its tunnel."""
        events: list[TunnelEvent] = []
        if subnet.tunnel and subnet.tunnel.key not in left:
            events += tunnel_events(self.site, [subnet], TunnelEventType.DEL)
            stale = tuple(rule for rule in subnet.beside_tunnel if rule.key in left)
            self.put_subnet(replace(subnet, tunnel=None, stale=stale))
        shared = {noun.key for noun in (*zones([subnet]), *subnet.nouns())}
        if shared.isdisjoint(left) and not self.is_used(subnet.id):
            self.drop_subnet(subnet.id)
        return events

    # -- as records ------------------------------------------------------------------

    @property
    def kinds(self) -> frozenset[type[Noun]]:
        return kinds_of(self.site)

    def intents(self, things: Iterable[Thing] | None) -> dict[tuple[str, ...], Sequence[Noun]]:
        if things is None:
            policies = (vnic.thing for vnic in self.vnics())
            one = map(concentrator_thing, self.concentrators)
            peers = map(peers_thing, self.subnets)
            things = [*one, *policies, *map(group_thing, self.groups), *peers]
        found: dict[tuple[str, ...], Sequence[Noun]] = {}
        for thing in things:
            match tuple(map(str, thing)):
                case ("concentrator", tenant, name) as key:
                    known = self.concentrators.get((tenant, name))
                    found[key] = known.intended() if known else ()
                case ("vnic", tenant, subnet, name) as key:
                    vnic = self.vnic((tenant, subnet, name))
                    found[key] = vnic.policy.intended() if vnic else ()
                case ("peers", tenant, subnet) as key:
                    served = self.subnets.get((tenant, subnet))
                    found[key] = served.peers.intended() if served else ()
                case ("group", tenant, name) as key:
                    group = self.groups.get((tenant, name))
                    found[key] = group.nouns(self.site) if group else ()
        return found

    def nouns(self) -> Iterator[Noun]:
        return chain(
            self.sysctls(self.forwarding),
            zones(self.subnets.values()),
            chain.from_iterable(group.nouns(self.site) for group in self.groups.values()),
            chain.from_iterable(
                (*subnet.nouns(), *subnet.reach) for subnet in self.subnets.values()
            ),
            chain.from_iterable(vnic.nouns() for vnic in self.vnics()),
            chain.from_iterable(port.nouns() for port in self.cnci_vnics.values()),
            chain.from_iterable(one.nouns() for one in self.concentrators.values()),
        )

    def sysctls(self, versions: Collection[int]) -> Iterator[SharedSysctl]:
        answers = self.site.hosting or self.site.routed
        return sysctls(self.site, versions) if answers else iter(())

    def apart(self, found: Nouns) -> Iterable[Noun]:
        left = (found[key] for key in self.unremoved & found.keys())
        return [*marked_of(self.site.owner.name, found.values()), *filter(is_marked, left)]

    def read(self, ours: Nouns, remembered: Nouns = MappingProxyType({})) -> tuple[Self, set[Key]]:
        records = type(self)(self.site)
        local = read_concentrators(self.site, ours, remembered) if self.site.hosting else ()
        links = [noun for noun in ours.values() if isinstance(noun, Link)]
        known = {vnic.link_name: vnic for vnic in self.vnics()}
        place(records, links, local, Policies(self.site.owner.name, ours, remembered), known)
        records.groups = read_groups(self.site.owner.name, ours, remembered)
        close_lost(records)
        records.lost_ports = LostPorts.among(self.site.owner, ours, records.subnets.values())
        if self.site.mesh:
            learn_peers(records, Reaches(ours, remembered))
        useless = half_born(ours)
        if self.site.hosting:
            useless |= leftovers(ours, records.concentrators.values())
        else:
            records.orphans += misplaced(ours)
        useless |= {noun.key for subnet in records.empty_subnets() for noun in subnet.nouns()}
        records.forwarding |= forwarded(ours)
        wanted = keyed(records.nouns())
        useless = adjust_blocks(useless, ours, wanted)
        staying = {key: ours[key] for key in ours.keys() - useless} if useless else ours
        useless |= useless_dependents(staying, wanted) | stale_entries(staying, wanted)
        return records, useless

    def routers(self) -> Iterator[str]:
        if self.site.routed:
            yield from (vnic.link_name for vnic in self.vnics())
        yield from (one.link_name for one in self.concentrators.values())

    def outside(self) -> Iterable[Rule]:
        return [rule for one in self.concentrators.values() for rule in one.forwards]

    def refreshed(self, found: Nouns) -> dict[Key, Rule]:
        addresses = device_addresses(found.values(), frozenset())
        changed: dict[Key, Rule] = {}
        for one in self.concentrators.values():
            for rule in one.forwards:
                now = addresses.get(rule.device, ())
                if rule.address is None and rule.addresses != now:
                    changed[rule.key] = replace(rule, addresses=now)
        return changed

    def take_rules(self, rules: Mapping[Key, Rule]) -> None:
        for one in list(self.concentrators.values()):
            forwards = [rules.get(rule.key, rule) for rule in one.forwards]
            kept = tuple(rule for rule in forwards if isinstance(rule, PortForward))
            self.concentrators[one.id] = replace(one, forwards=kept)

    def rebuilt(self, left: Collection[Key] | None) -> list[TunnelEvent]:
        empty = [] if left is None else self.empty_subnets()
        whole = [subnet for subnet in self.subnets.values() if subnet not in empty]
        events = tunnel_events(self.site, whole, TunnelEventType.ADD)
        for subnet in empty:
            events += self.forget(subnet, left or ())
        return events

    def lost(self, left: Collection[Key]) -> list[TunnelEvent]:
        gone = (one for one in self.subnets.values() if one.tunnel and one.tunnel.key not in left)
        return tunnel_events(self.site, gone, TunnelEventType.DEL)

    def gaps(self) -> Iterator[str]:
        yield from without_tunnel(self)

    def warnings(self) -> Iterator[str]:
        yield from self.gaps()
        yield from same_macs(self._vnics)
        yield from over_path(self.subnets.values(), self.vnics(), self.site.mtu)
