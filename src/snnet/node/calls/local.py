"""Topologies "local" and "mesh": a subnet has a bridge, which its concentrator is plugged into.

With "local" the concentrator is on the same host, and there is no tunnel.  With "mesh" the bridge
has one vxlan to all nodes that have a part of the subnet; ``set_peers`` says which those are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from snnet.config import VnicConfig
from snnet.contract import Key, Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.addressing import Networks
from snnet.core.building import build_local_subnet
from snnet.core.compute_records import ComputeRecords
from snnet.core.events import TunnelEvent
from snnet.core.meshing import NO_PEERS, peers_thing
from snnet.core.requests import LocalRequest, SubnetId, VnicId, local_request
from snnet.core.vnics import TenantSubnet

from ..claims import Thing
from ..host import HostView
from .finding import known_nouns
from .layout import Layout, Part, is_whole, with_uid


class LocalLayout(Layout[LocalRequest]):
    """A subnet has a bridge while it has a VNIC or a concentrator here."""

    def request(self, cfg: VnicConfig) -> LocalRequest:
        return local_request(with_uid(cfg), self.site)

    def shares(self, records: ComputeRecords, request: LocalRequest) -> bool:
        known = records.subnets.get(request.id[:2])
        if known is None or not self.site.mesh:
            return known is not None
        # A guest that moves here leaves the peers, which is a change of the subnet.
        return known.tunnel is not None and not known.peers.has(request.mac, request.ips)

    def opening(self, request: LocalRequest) -> set[Thing]:
        things = self.closing(request.id[:2])
        if self.site.mesh:  # two new subnets with one key would collide
            things.add(mesh_wire(request.subnet_key))
        return things

    def closing(self, subnet: SubnetId) -> set[Thing]:
        return super().closing(subnet) | {peers_thing(subnet)}

    def check(
        self, records: ComputeRecords, request: LocalRequest, gone: Collection[VnicId]
    ) -> None:
        super().check(records, request, gone)
        records.check_tunnel(request.id[:2], request.subnet_key)

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
        """See :meth:`Layout.open`.

        Without the bridge the VNIC's own operation fails.  The tunnel is always looked up.
        """
        known = subnets.get(request.id[:2])
        if known is not None and not look and (not self.site.mesh or is_whole(known, host)):
            wanted: dict[Key, Noun] = {} if trusted else host.carried(known.rules)
            return Part(known, wanted, host.find(wanted.values()))
        identity = request.id[:2]
        return open_bridge(host, identity, request.subnets, request.subnet_key, known, strays)

    def close(
        self, subnet: TenantSubnet, subnets: Mapping[SubnetId, TenantSubnet], host: HostView
    ) -> Part:
        return Part(subnet, {}, found_of(subnet, host))

    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        return None


def mesh_wire(key: int) -> Thing:
    """The claim on the key of a subnet, which alone tells its vxlan from others of a mesh."""
    return ("wire", key)


def open_bridge(
    host: HostView,
    identity: SubnetId,
    networks: Networks,
    key: int,
    known: TenantSubnet | None,
    strays: Mapping[tuple[str, ...], str],
) -> Part:
    """Look at the host, and return a subnet as it should have it."""
    old = (known.bridge, known.tunnel) if known else (None, None)
    name, bridge = host.locate(ids.BRIDGE, identity, old[0], strays=strays)
    tunnel, vxlan = "", None
    if host.site.mesh:
        tunnel, vxlan = host.locate(ids.TUNNEL, identity, old[1], strays=strays)
    if known is None or _names(known) != (name, tunnel):
        if host.site.mesh:
            host.check_address()
        peers = known.peers if known else NO_PEERS
        known = build_local_subnet(host.site, identity, networks, key, name, tunnel)
        known = replace(known, peers=peers)
        host.warn_of_unguarded(known.rules)
    found = keyed(link for link in (bridge, vxlan) if link is not None)
    wanted = host.carried(known.nouns())
    links = [noun for noun in wanted.values() if isinstance(noun, Link)]
    if known.reach and any(link.differences(found.get(link.key, _GONE)) for link in links):
        wanted |= host.carried(known.reach)  # the kernel removes it with the links
        found |= host.find(known.reach)
    return Part(known, wanted, found | host.find(host.carried(known.rules).values()))


_GONE = Link(name="")
"""Stands for a link that is not there."""


def _names(subnet: TenantSubnet) -> tuple[str, str]:
    bridge, tunnel = subnet.bridge, subnet.tunnel
    return bridge.name if bridge else "", tunnel.name if tunnel else ""


def found_of(subnet: TenantSubnet, host: HostView) -> dict[Key, Noun]:
    """Return what is found of a subnet that is to be removed.

    The kernel removes entries for guests on other nodes with the links.  The plan has them all
    the same, so that a rollback restores them.
    """
    found = known_nouns(host, subnet.nouns())
    reach = host.find(subnet.reach) if host.looking else keyed(subnet.reach)
    return found | {key: noun for key, noun in reach.items() if noun.within in found}
