"""GRE_TUNNEL mode: each subnet of a tenant has a bridge and a tunnel on the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from snnet.config import VnicConfig
from snnet.contract import IPAddress, Key, Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.building import build_subnet
from snnet.core.compute_records import ComputeRecords
from snnet.core.events import TunnelEvent, TunnelEventType
from snnet.core.requests import SubnetId, TenantRequest, VnicId, tenant_request
from snnet.core.tunnels import wire
from snnet.core.vnics import TenantSubnet, tunnel_event

from ..claims import Thing
from ..host import HostView, Strays
from .layout import Layout, Part, with_uid


class BridgedLayout(Layout[TenantRequest]):
    """A subnet's first VNIC brings bridge and tunnel, its last one takes them along."""

    def request(self, cfg: VnicConfig) -> TenantRequest:
        site = self.site
        return tenant_request(with_uid(cfg), tunnel=site.tunnel, uplink=site.ip, mtu_limit=site.mtu)

    def address(self, request: TenantRequest, ip: IPAddress) -> Thing:
        return ("ip", *request.id[:2], ip)

    def shares(self, records: ComputeRecords, request: TenantRequest) -> bool:
        known = records.subnets.get(request.id[:2])
        return known is not None and known.tunnel is not None

    def opening(self, request: TenantRequest) -> set[Thing]:
        site = self.site
        # Two new subnets with one wire would collide.
        new = wire(site.tunnel, request.subnet_key, site.ip, request.concentrator_ip, site.port)
        return {("subnet", *request.id[:2]), ("wire", *new)}

    def check(
        self, records: ComputeRecords, request: TenantRequest, gone: Collection[VnicId]
    ) -> None:
        super().check(records, request, gone)
        if not self.shares(records, request):
            records.check_tunnel(request)

    def open(
        self,
        request: TenantRequest,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
        strays: Mapping[tuple[str, ...], str],
        *,
        look: bool,
        trusted: bool,
    ) -> Part:
        """See :meth:`Layout.open`.

        The tunnel is never taken for granted: nothing else would notice that it is gone, or
        that the bridge is and another link has its name, for then the tunnel is no port of it.
        """
        identity = request.id[:2]
        known = subnets.get(identity)
        if known is not None and not look and _is_whole(known, host):
            if trusted:
                return Part(known)
            rules = host.carried(known.rules)
            return Part(known, rules, host.find(rules.values()))
        names, links = self._links(identity, known, host, strays)
        if known is None or known.tunnel is None or names != _names(known):
            host.check_address()
            host.check_path(request.concentrator_ip)
            known = build_subnet(self.site, request, *names)
            host.warn_of_unguarded(known.rules)
        return Part(
            known,
            host.carried(known.nouns()),
            links | host.find(host.carried(known.rules).values()),
        )

    def _links(
        self,
        identity: SubnetId,
        known: TenantSubnet | None,
        host: HostView,
        strays: Mapping[tuple[str, ...], str],
    ) -> tuple[tuple[str, str], dict[Key, Noun]]:
        old = (known.bridge, known.tunnel) if known else (None, None)
        bridge, link = host.locate(ids.BRIDGE, identity, old[0], strays=strays)
        tunnel, other = host.locate(ids.TUNNEL, identity, old[1], strays=strays)
        return (bridge, tunnel), keyed(found for found in (link, other) if found is not None)

    def close(
        self,
        subnet: TenantSubnet,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
    ) -> Part:
        wanted, owner = host.carried(subnet.nouns()), self.site.owner
        ours = {
            key: noun
            for key, noun in host.find(wanted.values()).items()
            if not isinstance(noun, Link) or noun == wanted[key] or ids.is_ours(noun, owner)
        }
        return Part(subnet, {}, ours)

    def strays(self, part: Part, strays: Strays) -> list[Link]:
        subnet = part.subnet
        found: list[Link] = []
        for kind, link in ((ids.BRIDGE, subnet.bridge), (ids.TUNNEL, subnet.tunnel)):
            if link is not None and link.key not in part.found:
                found += strays.of(kind, subnet.id)
        return found

    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        if known is None or known.tunnel is None:
            return tunnel_event(self.site, subnet, TunnelEventType.ADD)
        return None


def _is_whole(subnet: TenantSubnet, host: HostView) -> bool:
    """Whether the subnet's tunnel is on the host, as a port of its bridge."""
    tunnel = subnet.tunnel
    if tunnel is None:
        return False
    found = host.link_now(tunnel)
    return found is not None and not tunnel.differences(found)


def _names(subnet: TenantSubnet) -> tuple[str, str]:
    assert subnet.bridge is not None
    assert subnet.tunnel is not None
    return subnet.bridge.name, subnet.tunnel.name
