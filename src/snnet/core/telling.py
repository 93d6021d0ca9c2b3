"""The events about subnets and VNICs that a compute node tells."""

from __future__ import annotations

from collections.abc import Iterable

from .events import ContainerEvent, ContainerInfo, TunnelEvent, TunnelEventType
from .site import Site
from .tunnels import event_port
from .vnics import TenantSubnet, gateways_of


def container_info(subnet: TenantSubnet, event: ContainerEvent) -> ContainerInfo:
    gateways = gateways_of(subnet.networks, routed=subnet.bridge is None)
    return ContainerInfo(
        event=event,
        subnet_id=subnet.network_name,
        subnet=subnet.network,
        subnets=subnet.networks,
        gateway=gateways[0],
        gateways=gateways,
        bridge=subnet.bridge.name if subnet.bridge else None,
    )


def tunnel_events(
    site: Site, subnets: Iterable[TenantSubnet], kind: TunnelEventType
) -> list[TunnelEvent]:
    """Return the events for those of the subnets that have a tunnel to a concentrator."""
    return [tunnel_event(site, subnet, kind) for subnet in subnets if subnet.concentrator_ip]


def tunnel_event(site: Site, subnet: TenantSubnet, kind: TunnelEventType) -> TunnelEvent:
    """Return the event for the subnet's tunnel, which must exist."""
    assert subnet.tunnel is not None
    assert subnet.tunnel.remote is not None
    assert subnet.key is not None
    return TunnelEvent(
        type=kind,
        cnci_ip=subnet.tunnel.remote,
        cn_ip=site.ip,
        subnet=subnet.network,
        subnets=subnet.networks,
        tenant_id=subnet.tenant_id,
        subnet_id=subnet.subnet_id,
        concentrator_id=subnet.concentrator_id,
        cn_id=site.owner.id,
        subnet_key=subnet.key,
        port=event_port(subnet.tunnel),
        sequence=site.sequence.next() if site.sequence else None,
    )
