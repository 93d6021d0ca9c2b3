"""Topology "mesh": where the guests of a subnet are that are on other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import ClassVar

from snnet.contract import Conflict, Key, Noun, Nouns, keyed
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import publics_of
from snnet.core.far_ends import check_not_public
from snnet.core.meshing import SubnetPeers, check_inside, peers_thing
from snnet.core.planner import plan as make_plan
from snnet.core.requests import GuestRequest, SubnetId
from snnet.core.vnics import TenantSubnet

from ..call import Call, Done, Draft
from ..claims import Claim, Held
from ..host import HostView
from ..results import Event
from .layout import is_whole
from .local import open_bridge


def take_in(
    subnets: dict[SubnetId, TenantSubnet], requests: Iterable[GuestRequest]
) -> Mapping[SubnetId, Nouns]:
    """Have the subnets know guests that come here as nowhere else; return what led to them."""
    stale: dict[SubnetId, dict[Key, Noun]] = {}
    for request in requests:
        old = subnets.get(request.id[:2])
        if old is not None and old.peers.guests:
            new = subnets[old.id] = old.with_guest(request.mac, request.ips)
            left = keyed(new.reach)
            gone = (noun for noun in old.reach if noun.key not in left)
            stale.setdefault(old.id, {}).update(keyed(gone))
    return stale


@dataclass(slots=True)
class PeersDraft(Draft):
    subnet: TenantSubnet | None = field(kw_only=True)


class SetPeers(Call[ComputeRecords, TenantSubnet | None, PeersDraft, None]):
    """Set the other nodes of a subnet, and the guests on them, to exactly these."""

    trusts: ClassVar[bool] = True

    def __init__(self, peers: SubnetPeers) -> None:
        self._id: SubnetId = (peers.subnet[0], peers.subnet[1])
        self.what = f"set_peers {self._id[1]}"
        self._peers = peers

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({("subnet", *self._id), peers_thing(self._id)}))

    def read(self, records: ComputeRecords, claim: Claim) -> TenantSubnet | None:
        subnet = records.subnets.get(self._id)
        if subnet is None:
            if self._peers.nodes:
                raise Conflict(
                    f"subnet {self._id[1]} of tenant {self._id[0]} is not on this node: create one "
                    "of its VNICs first"
                )
            return None
        check_inside(self._peers, subnet.networks)
        check_not_public(self._peers.nodes, publics_of(records.concentrators.values()))
        own = {value: vnic for vnic in records.vnics(self._id) for value in (vnic.mac, *vnic.ips)}
        for mac, node, *ips in self._peers.guests if own else ():
            for value in (mac, *map(ip_address, ips)):
                if value in own:
                    raise Conflict(
                        f"{value} belongs to VNIC {own[value].vnic_id} of this node, and not to a "
                        f"guest at {node}"
                    )
        return subnet

    def draft(self, known: TenantSubnet | None, host: HostView) -> PeersDraft:
        if known is None or known.key is None:
            return PeersDraft(subnet=None)
        whole = is_whole(known, host) and not host.looking
        if whole and known.peers == self._peers:
            return PeersDraft(subnet=None)
        before = host.carried((*known.beside_tunnel, *known.reach))
        if whole:
            new, found = replace(known, peers=self._peers), before
            wanted = host.carried((*new.beside_tunnel, *new.reach))
        else:  # links may be gone, with all that was on them
            part = open_bridge(host, known.id, known.networks, known.key, known, {})
            new = replace(part.subnet, peers=self._peers)
            wanted = host.carried((*new.nouns(), *new.reach))
            found = part.found | host.find((before | wanted).values())
        plan = make_plan(found, wanted)
        return PeersDraft(plan, {("subnet", *self._id): {*found, *wanted}}, subnet=new)

    def intents(self, draft: PeersDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {peers_thing(self._id): self._peers.intended()}

    def publish(
        self, records: ComputeRecords, draft: PeersDraft, done: Done
    ) -> tuple[None, list[Event]]:
        if draft.subnet is not None:
            records.put_subnet(draft.subnet)
        return None, []
