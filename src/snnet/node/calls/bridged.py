"""GRE_TUNNEL mode: each subnet of a tenant has a bridge and a tunnel on the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from snnet.config import VnicConfig
from snnet.contract import Key, Noun, keyed
from snnet.core import identity as ids
from snnet.core.building import build_subnet
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import publics_of
from snnet.core.events import TunnelEvent, TunnelEventType
from snnet.core.far_ends import check_not_public
from snnet.core.requests import SubnetId, TenantRequest, VnicId, tenant_request
from snnet.core.telling import tunnel_event
from snnet.core.tunnels import wire
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView
from .finding import known_nouns
from .layout import Layout, Part, is_whole, with_uid


class BridgedLayout(Layout[TenantRequest]):
    """The first VNIC of a subnet creates its bridge and tunnel; the last one removes them."""

    def request(self, cfg: VnicConfig) -> TenantRequest:
        site = self.site
        return tenant_request(
            with_uid(cfg), tunnel=site.tunnel, uplink=site.uplink.address, mtu_limit=site.mtu
        )

    def shares(self, records: ComputeRecords, request: TenantRequest) -> bool:
        known = records.subnets.get(request.id[:2])
        return known is not None and known.tunnel is not None

    def opening(self, request: TenantRequest) -> set[Thing]:
        site = self.site
        # Two new subnets with one wire would collide.
        new = wire(site.tunnel, request.subnet_key, site.ip, request.concentrator_ip)
        return {("subnet", *request.id[:2]), ("wire", *new)}

    def check(
        self, records: ComputeRecords, request: TenantRequest, gone: Collection[VnicId]
    ) -> None:
        super().check(records, request, gone)
        if not self.shares(records, request):
            records.check_tunnel(request.id[:2], request.subnet_key, request.concentrator_ip)
            if records.concentrators:
                check_not_public(
                    [request.concentrator_ip], publics_of(records.concentrators.values())
                )

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

        The tunnel is always looked up.  Nothing else would notice that it is gone, or that another
        link has the name of the bridge, which then does not have the tunnel as a port.
        """
        identity = request.id[:2]
        known = subnets.get(identity)
        if known is not None and not look and is_whole(known, host):
            if trusted:
                return Part(known)
            rules = host.carried(known.rules)
            return Part(known, rules, host.find(rules.values()))
        if known is None and not look and not strays:  # a driver refuses what is there already
            known = self._new(
                request, host, (host.name(ids.BRIDGE, identity), host.name(ids.TUNNEL, identity))
            )
            return Part(known, host.carried(known.nouns()))
        names, links = self._links(identity, known, host, strays)
        if known is None or known.tunnel is None or names != _names(known):
            known = self._new(request, host, names)
        return Part(
            known,
            host.carried(known.nouns()),
            links | host.find(host.carried(known.rules).values()),
        )

    def _new(self, request: TenantRequest, host: HostView, names: tuple[str, str]) -> TenantSubnet:
        """Return a subnet with these names of its bridge and its tunnel."""
        host.check_address()
        host.check_path(request.concentrator_ip)
        new = build_subnet(self.site, request, *names)
        host.warn_of_unguarded(new.rules)
        return new

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
        return Part(subnet, {}, known_nouns(host, subnet.nouns()))

    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        if known is None or known.tunnel is None:
            return tunnel_event(self.site, subnet, TunnelEventType.ADD)
        return None


def _names(subnet: TenantSubnet) -> tuple[str, str]:
    assert subnet.bridge is not None
    assert subnet.tunnel is not None
    return subnet.bridge.name, subnet.tunnel.name
