"""Topology "local": each subnet has a bridge, and its concentrator is on the same host."""

from __future__ import annotations

from collections.abc import Mapping

from snnet.config import VnicConfig
from snnet.contract import IPAddress, Key, Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.addressing import Networks
from snnet.core.building import build_local_subnet
from snnet.core.compute_records import ComputeRecords
from snnet.core.events import TunnelEvent
from snnet.core.requests import LocalRequest, SubnetId, local_request
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView, Strays
from .layout import Layout, Part, with_uid


class LocalLayout(Layout[LocalRequest]):
    """A subnet's bridge is there while the subnet has a VNIC or a concentrator."""

    def request(self, cfg: VnicConfig) -> LocalRequest:
        return local_request(with_uid(cfg), self.site)

    def address(self, request: LocalRequest, ip: IPAddress) -> Thing:
        return ("ip", *request.id[:2], ip)

    def shares(self, records: ComputeRecords, request: LocalRequest) -> bool:
        return request.id[:2] in records.subnets

    def opening(self, request: LocalRequest) -> set[Thing]:
        return {("subnet", *request.id[:2])}

    def open(
        self,
        request: LocalRequest,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
        strays: Mapping[tuple[str, ...], str],
        *,
        look: bool,
        trusted: bool,
    ) -> Part:
        """See :meth:`Layout.open`.  Without the bridge the VNIC's own operation fails."""
        known = subnets.get(request.id[:2])
        if known is not None and not look:
            wanted: dict[Key, Noun] = {} if trusted else host.carried(known.rules)
            return Part(known, wanted, host.find(wanted.values()))
        identity = request.id[:2]
        return open_bridge(host, identity, request.subnets, request.subnet_key, known, strays)

    def close(
        self, subnet: TenantSubnet, subnets: Mapping[SubnetId, TenantSubnet], host: HostView
    ) -> Part:
        return Part(subnet, {}, found_of(subnet, host))

    def strays(self, part: Part, strays: Strays) -> list[Link]:
        bridge = part.subnet.bridge
        gone = bridge is not None and bridge.key not in part.found
        return strays.of(ids.BRIDGE, part.subnet.id) if gone else []

    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        return None


def open_bridge(
    host: HostView,
    identity: SubnetId,
    networks: Networks,
    key: int,
    known: TenantSubnet | None,
    strays: Mapping[tuple[str, ...], str],
) -> Part:
    """Return a subnet as the host should have it, by a look at the host."""
    old = known.bridge if known else None
    name, link = host.locate(ids.BRIDGE, identity, old, strays=strays)
    if known is None or known.bridge is None or known.bridge.name != name:
        known = build_local_subnet(host.site, identity, networks, key, name)
    found = host.find(host.carried(known.rules).values())
    return Part(known, host.carried(known.nouns()), found | keyed([link] if link else []))


def found_of(subnet: TenantSubnet, host: HostView) -> dict[Key, Noun]:
    """Return what is found of a subnet that is to be removed."""
    return {
        key: noun
        for key, noun in host.find(host.carried(subnet.nouns()).values()).items()
        if not isinstance(noun, Link) or ids.is_ours(noun, host.site.owner)
    }
