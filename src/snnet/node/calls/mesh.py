"""The mesh of a tenant's concentrators, set or removed as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from snnet.config import Neighbor
from snnet.contract import IPAddress, IPNetwork, Key, Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.cnci_records import MESH, CnciRecords
from snnet.core.far_ends import check_not_public
from snnet.core.fitting import check_mesh, check_unmeshed, guests_by_public
from snnet.core.mesh import Mesh, build_mesh
from snnet.core.planner import plan as make_plan
from snnet.core.rules import Rule
from snnet.core.site import Site
from snnet.core.subnets import SHARED, inside, kept_from, mesh_rules
from snnet.core.surroundings import check_forwards, check_remote_outside

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event
from .subnet_things import SUBNETS


@dataclass(slots=True)
class Known:
    """The mesh as it is, and what there is beside it: the tenant's zone stays with a network."""

    mesh: Mesh | None
    networks: Sequence[IPNetwork]
    strays: Mapping[tuple[str, ...], str]
    rules: Sequence[Rule]
    leaving: Sequence[IPAddress]
    """Peers in the mesh that no subnet has a tunnel to."""


@dataclass(slots=True)
class MeshDraft(Draft):
    mesh: Mesh | None = field(kw_only=True)


class UpdateMesh(Call[CnciRecords, Known, MeshDraft, None]):
    """Apply the entries to the mesh; remove the mesh if this node has no entry."""

    what = "update_neighbors"

    def __init__(self, site: Site, tenant_id: str, entries: Sequence[Neighbor]) -> None:
        self._tenant_id = tenant_id
        self._entries = entries
        self._wanted = build_mesh(site, tenant_id, entries, "")  # a draft finds the name
        self.mode = Mode.PRESS_ON if self._wanted is None else Mode.ALL_OR_NOTHING

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({MESH, SUBNETS}))

    def read(self, records: CnciRecords, claim: Claim) -> Known:
        if self._wanted is not None:
            check_mesh(self._wanted, records.networks())
        kept = {remote for subnet in records.subnets.values() for remote in subnet.tunnels}
        return Known(
            records.mesh,
            records.networks(),
            records.strays,
            [*records.rules.values()],
            [one for one in records.mesh.remotes() if one not in kept] if records.mesh else [],
        )

    def draft(self, known: Known, host: HostView) -> MeshDraft:
        identity, kept = (self._tenant_id,), self._wanted is not None
        strays = known.strays if kept else None
        owner, old = str(host.site.owner), known.mesh
        name, link = host.locate(ids.MESH, identity, old.link if old else None, strays=strays)
        mesh = build_mesh(host.site, self._tenant_id, self._entries, name)
        if mesh is not None and mesh != old:
            _check(mesh, known, host)
        if mesh is not None:
            rules = host.carried((*mesh_rules(host.site, mesh), *mesh.guards(owner)))
        else:
            rules = host.carried(inside(host.site, Link(name=name)))
        gone = kept_from(host.site, known.leaving)
        stale = host.carried((*old.guards(owner), *gone)) if old else {}
        found = _found_on(link, host) | host.find((rules | stale).values())
        wanted: dict[Key, Noun] = {}
        if mesh is not None:
            wanted = keyed(mesh.nouns()) | rules
        elif known.networks:
            found = {
                key: noun
                for key, noun in found.items()
                if key in stale or not isinstance(noun, SHARED)
            }
        left = [] if kept or link else host.listing.stray(ids.MESH, identity)
        scope: dict[Thing, set[Key]] = {MESH: {*found, *wanted}}
        return MeshDraft(make_plan(found, wanted), scope, left, mesh=mesh)

    def intents(self, draft: MeshDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {MESH: tuple(draft.mesh.nouns())} if draft.mesh else {}

    def publish(
        self, records: CnciRecords, draft: MeshDraft, done: Done
    ) -> tuple[None, list[Event]]:
        if not done.left:
            records.mesh = draft.mesh
        return None, []


def _check(mesh: Mesh, known: Known, host: HostView) -> None:
    """Raise Conflict where the mesh would take traffic from the host or from another owner."""
    around, peers = host.listing.surroundings, mesh.peers
    for address in (mesh.tunnel_ip, *(peer.tunnel_ip for peer in peers)):
        around.check_network(ip_network(address), f"tunnel address {address}")
    for network in mesh.subnets():
        around.check_network(network, f"{network} of a peer")
    for peer in peers:
        check_remote_outside(peer.physical_ip, mesh.subnets())
    check_unmeshed(mesh, (*mesh.subnets(), *known.networks))
    check_not_public(mesh.remotes(), guests_by_public(known.rules))
    check_forwards(known.rules, mesh.link, host.site.uplink.link_name)


def _found_on(link: Link | None, host: HostView) -> dict[Key, Noun]:
    """A link of ours and everything that hangs on it."""
    if link is None:
        return {}
    return {
        key: noun
        for key, noun in host.snapshot(CnciRecords.KINDS).items()
        if key == link.key or noun.within == link.key
    }
