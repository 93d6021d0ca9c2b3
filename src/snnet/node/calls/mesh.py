"""The mesh of a tenant's concentrators, set or removed as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from snnet.config import Neighbor
from snnet.contract import Key, Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.cnci_records import MESH, CnciRecords
from snnet.core.fitting import check_mesh
from snnet.core.mesh import Mesh, build_mesh
from snnet.core.planner import plan as make_plan
from snnet.core.rules import Rule
from snnet.core.site import Site
from snnet.core.subnets import SHARED, inside
from snnet.core.surroundings import check_forwards, check_remote_outside

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView, Strays
from ..results import Event
from .subnets import SUBNETS


@dataclass(slots=True)
class Known:
    """The mesh as it is, and whether the tenant's zone stays without it."""

    mesh: Mesh | None
    subnets: bool
    strays: Mapping[tuple[str, ...], str]
    rules: Sequence[Rule]


@dataclass(slots=True)
class MeshDraft(Draft):
    mesh: Mesh | None = field(kw_only=True)


class UpdateMesh(Call[CnciRecords, Known, MeshDraft, None]):
    """Make the mesh what the entries say; without an entry of this node there is none."""

    what = "update_neighbors"

    def __init__(self, site: Site, tenant_id: str, entries: Sequence[Neighbor]) -> None:
        self._tenant_id = tenant_id
        self._entries = entries
        name = next(ids.names(site.owner, ids.MESH, tenant_id))
        self._wanted = build_mesh(site, tenant_id, entries, name)
        self.mode = Mode.PRESS_ON if self._wanted is None else Mode.ALL_OR_NOTHING

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({MESH, SUBNETS}))

    def read(self, records: CnciRecords, claim: Claim) -> Known:
        if self._wanted is not None:
            check_mesh(self._wanted, records.networks())
        return Known(records.mesh, bool(records.subnets), records.strays, [*records.rules.values()])

    def draft(self, known: Known, host: HostView) -> MeshDraft:
        identity, kept = (self._tenant_id,), self._wanted is not None
        strays = known.strays if kept else None
        owner, old = str(host.site.owner), known.mesh
        name, link = host.locate(ids.MESH, identity, old.link if old else None, strays=strays)
        mesh = build_mesh(host.site, self._tenant_id, self._entries, name)
        if mesh is not None and mesh != old:
            _check(mesh, known, host)
        one = mesh or old
        shared = inside(host.site, one.link if one else Link(name=name))
        rules = host.carried((*shared, *(mesh.guards(owner) if mesh else ())))
        stale = host.carried(old.guards(owner)) if old else {}
        found = _found_on(link, host) | host.find((rules | stale).values())
        wanted: dict[Key, Noun] = {}
        if mesh is not None:
            wanted = keyed(mesh.nouns()) | rules
        elif known.subnets:
            found = {key: noun for key, noun in found.items() if not isinstance(noun, SHARED)}
        left = [] if kept or link else Strays(host).of(ids.MESH, identity)
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
    """Conflict where the mesh would take traffic from the host or from another owner."""
    around, peers = host.surroundings(), mesh.peers
    for address in (mesh.tunnel_ip, *(peer.tunnel_ip for peer in peers)):
        around.check_network(ip_network(address), f"tunnel address {address}")
    for network in mesh.subnets():
        around.check_network(network, f"{network} of a peer")
    for peer in peers:
        check_remote_outside(peer.physical_ip, mesh.subnets())
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
