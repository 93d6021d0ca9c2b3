"""Tenant VNICs in routed mode: no bridge and no tunnel, a route for each guest."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.config import VnicConfig, VnicRole
from snnet.contract import Key, Noun, Nouns, Plan, Route, keyed
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.building import build_vnic
from snnet.core.compute import Subnet, Vnic
from snnet.core.conflicts import check_same_subnet, check_same_vnic
from snnet.core.events import TunnelEvent
from snnet.core.planner import plan as make_plan
from snnet.core.requests import GuestRequest, SubnetId, VnicId, routed_request
from snnet.core.routed import build_routed_subnet, check_disjoint, zone

from .claims import Claim, Thing
from .vnics import Vnics


class RoutedVnics(Vnics[GuestRequest]):
    """ROUTED mode.  A subnet is a network of the tenant's zone and perhaps a route."""

    def request(self, cfg: VnicConfig) -> GuestRequest:
        return routed_request(cfg, mtu_limit=self._node.site.mtu)

    def create_claim(self, request: GuestRequest, alone: bool) -> Claim:
        subnet_id = request.id[:2]
        mine: set[Thing] = {("vnic", *request.id), ("ip", request.ip)}
        if subnet_id in self._node._topology.subnets and not alone:
            return Claim(frozenset(mine), frozenset({("subnet", *subnet_id)}))
        return Claim(frozenset({*mine, *_shared(subnet_id)}))

    def plan(self, request: GuestRequest, look: bool) -> tuple[Subnet, Vnic, Plan]:
        node, topology = self._node, self._node._topology
        node._route()
        old = topology.vnic(request.id)
        look = look or old is not None
        known = topology.subnets.get(request.id[:2])
        if known is not None:
            check_same_subnet(known, request)
        subnet = known or build_routed_subnet(node.site, *request.id[:2], request.subnet)
        check_disjoint(list(topology.subnets.values()), subnet)
        kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
        name, link = next(ids.names(node.owner, kind, *request.id)), None
        if look:
            name, link = node._locate(kind, request.id, old.link if old else None)
        vnic = build_vnic(node.site, request, subnet, name)
        if old is not None:
            check_same_vnic(old, vnic)
            if old.link_name == name:
                vnic = old
        topology.check_address(vnic)
        wanted = keyed(vnic.nouns())
        found: dict[Key, Noun] = {}
        if look:
            # What hung on a link deleted behind our back died with it.
            there = [noun for noun in vnic.beside if link or noun.within != vnic.link.key]
            found = node._drivers.find(there)
            found |= keyed([link] if link is not None else [])
        if look or known is None:
            shared = keyed(self._shared_nouns(subnet))
            now = node._drivers.find(shared.values())
            wanted |= {key: noun for key, noun in shared.items() if not _is_others(now.get(key))}
            found |= {key: noun for key, noun in now.items() if key in wanted}
        return subnet, vnic, make_plan(found, wanted)

    def _shared_nouns(self, subnet: Subnet) -> Iterable[Noun]:
        """What the subnet and its tenant need whatever VNICs there are."""
        yield zone(subnet.owner, subnet.tenant_id, [*self._others(subnet.id), subnet])
        yield from subnet.nouns()

    def _others(self, identity: SubnetId) -> list[Subnet]:
        subnets = list(self._node._topology.subnets.values())
        return [subnet for subnet in subnets if subnet.id != identity]

    def announced(self, known: Subnet | None, subnet: Subnet) -> TunnelEvent | None:
        return None

    def destroy_claim(self, identity: VnicId, staying: bool) -> Claim:
        mine: set[Thing] = {("vnic", *identity), ("leaving", *identity)}
        if staying:
            return Claim(frozenset(mine), frozenset({("subnet", *identity[:2])}))
        return Claim(frozenset({*mine, *_shared(identity[:2])}))

    def closing(self, subnet: Subnet) -> tuple[Nouns, Nouns]:
        others = self._others(subnet.id)
        found = self._node._drivers.find(self._shared_nouns(subnet))
        found = {key: noun for key, noun in found.items() if not _is_others(noun)}
        smaller = zone(subnet.owner, subnet.tenant_id, others)
        return found, keyed([smaller]) if smaller.networks else {}

    def forget(self, subnet: Subnet, left: set[Key]) -> list[TunnelEvent]:
        topology = self._node._topology
        shared = {noun.key for noun in self._shared_nouns(subnet)}
        if left.isdisjoint(shared) and not any(topology.vnics(subnet.id)):
            topology.drop_subnet(subnet.id)
        return []


def _shared(subnet_id: SubnetId) -> set[Thing]:
    # Networks of all tenants must not overlap, so that new ones come one at a time.
    return {("networks",), ("subnet", *subnet_id)}


def _is_others(noun: Noun | None) -> bool:
    """Whether a route to the subnet is somebody else's, which serves as well."""
    return isinstance(noun, Route) and noun.protocol != SNNET_PROTOCOL
