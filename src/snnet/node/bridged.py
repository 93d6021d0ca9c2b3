"""Tenant VNICs on bridges: one bridge and one tunnel for each subnet of a tenant."""

from __future__ import annotations

from dataclasses import replace

from snnet.config import VnicConfig, VnicRole
from snnet.contract import Key, Link, Noun, Nouns, Plan, keyed
from snnet.core import identity as ids
from snnet.core.building import build_subnet, build_vnic
from snnet.core.compute import Subnet, Vnic, tunnel_event
from snnet.core.conflicts import check_same_subnet, check_same_vnic
from snnet.core.events import TunnelEvent, TunnelEventType
from snnet.core.planner import plan as make_plan
from snnet.core.requests import TenantRequest, VnicId, tenant_request

from .claims import Claim
from .vnics import Vnics


class BridgedVnics(Vnics[TenantRequest]):
    """GRE_TUNNEL mode: a subnet's first VNIC brings bridge and tunnel, its last takes them."""

    def request(self, cfg: VnicConfig) -> TenantRequest:
        site = self._node.site
        return tenant_request(cfg, tunnel=site.tunnel, uplink=site.uplink.ip, mtu_limit=site.mtu)

    def create_claim(self, request: TenantRequest, alone: bool) -> Claim:
        subnet_id = request.id[:2]
        mine = {("vnic", *request.id), ("ip", *subnet_id, request.ip)}
        known = self._node._topology.subnets.get(subnet_id)
        if known is not None and known.tunnel is not None and not alone:
            return Claim(frozenset(mine), frozenset({("subnet", *subnet_id)}))
        # Two new subnets with one key towards one concentrator collide.
        wire = ("wire", request.subnet_key, request.concentrator_ip)
        return Claim(frozenset({*mine, ("subnet", *subnet_id), wire}))

    def plan(self, request: TenantRequest, look: bool) -> tuple[Subnet, Vnic, Plan]:
        """See :meth:`Vnics.plan`.

        Without ``look``, the name of a VNIC nobody knows of is free, and the bridge
        of a subnet that is known is there.
        """
        node, topology = self._node, self._node._topology
        old = topology.vnic(request.id)
        look = look or old is not None
        subnet, found = self._subnet_of(request, look)
        kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
        if look:
            name, link = node._locate(kind, request.id, old.link if old else None)
            if link is not None:
                found[link.key] = link
        else:
            name = next(ids.names(node.owner, kind, *request.id))
        vnic = build_vnic(node.site, request, subnet, name)
        if old is not None:
            check_same_vnic(old, vnic)
            if old.link_name == name:
                vnic = old
        topology.check_address(vnic)
        own = node._carried(vnic.nouns())
        if not look and subnet is topology.subnets.get(subnet.id):
            tunnel = [subnet.tunnel] if subnet.tunnel else []
            return subnet, vnic, make_plan(found, keyed(tunnel) | own)
        shared = node._carried(subnet.nouns())
        if look:
            found |= node._drivers.find(node._carried(vnic.beside).values())
        rules = node._carried(subnet.rules)
        if subnet.bridge and subnet.bridge.key in found:
            # They came with the bridge; asking the firewall on every call would cost too much.
            found |= rules
        else:
            found |= node._drivers.find(rules.values())
        return subnet, vnic, make_plan(found, shared | own)

    def _subnet_of(self, request: TenantRequest, look: bool) -> tuple[Subnet, dict[Key, Noun]]:
        """The subnet a request is for, and those of its links that are there."""
        node, subnet_id = self._node, request.id[:2]
        known = node._topology.subnets.get(subnet_id)
        if known is not None:
            check_same_subnet(known, request)
        known_bridge = known.bridge if known else None
        bridge: Link | None = None
        if known_bridge is not None and not look:
            bridge_name = known_bridge.name
        else:
            bridge_name, bridge = node._locate(ids.BRIDGE, subnet_id, known_bridge)
        tunnel_name, tunnel = node._locate(ids.TUNNEL, subnet_id, known.tunnel if known else None)
        found: dict[Key, Noun] = {link.key: link for link in (bridge, tunnel) if link is not None}
        if (
            known is not None
            and known_bridge is not None
            and known.tunnel is not None
            and (known_bridge.name, known.tunnel.name) == (bridge_name, tunnel_name)
        ):
            return known, found
        subnet = build_subnet(node.site, request, bridge_name, tunnel_name)
        node._topology.check_wire(subnet)
        node._check_path(request.concentrator_ip)
        return subnet, found

    def announced(self, known: Subnet | None, subnet: Subnet) -> TunnelEvent | None:
        if known is None or known.tunnel is None:
            return tunnel_event(self._node.site, subnet, TunnelEventType.ADD)
        return None

    def destroy_claim(self, identity: VnicId, staying: bool) -> Claim:
        mine, subnet = {("vnic", *identity), ("leaving", *identity)}, ("subnet", *identity[:2])
        if staying:
            return Claim(frozenset(mine), frozenset({subnet}))
        return Claim(frozenset({*mine, subnet}))

    def closing(self, subnet: Subnet) -> tuple[Nouns, Nouns]:
        node = self._node
        found = node._drivers.find(node._carried(subnet.nouns()).values())
        ours = {
            key: noun
            for key, noun in found.items()
            if not isinstance(noun, Link) or ids.is_ours(noun, node.owner)
        }
        return ours, {}

    def forget(self, subnet: Subnet, left: set[Key]) -> list[TunnelEvent]:
        """See :meth:`Vnics.forget`: DEL if the subnet's tunnel is gone with it."""
        node, events = self._node, []
        if subnet.tunnel and subnet.tunnel.key not in left:
            events.append(tunnel_event(node.site, subnet, TunnelEventType.DEL))
            node._topology.put_subnet(replace(subnet, tunnel=None))
        nouns = {noun.key for noun in subnet.nouns()}
        if left.isdisjoint(nouns) and not any(node._topology.vnics(subnet.id)):
            node._topology.drop_subnet(subnet.id)
        return events
