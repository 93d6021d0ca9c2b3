"""Tenant VNICs: made, removed, or both at once."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from snnet.config import VnicRole
from snnet.contract import Announcement, Conflict, Key, Link, Noun, Nouns, keyed
from snnet.core import identity as ids
from snnet.core.announcing import of_vnic
from snnet.core.building import build_vnic, change_vnic
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import check_apart, check_changeable, check_same_subnet, check_same_vnic
from snnet.core.events import ContainerEvent
from snnet.core.groups import GroupId, check_known, check_members, group_thing, with_named
from snnet.core.held import keep_held, plan_again
from snnet.core.planner import plan as make_plan
from snnet.core.requests import GuestRequest, SubnetId, VnicId
from snnet.core.shaping import block_of
from snnet.core.telling import container_info
from snnet.core.vnics import TenantSubnet, Vnic

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing, nobody
from ..host import HostView
from ..results import CreatedVnic, DestroyedVnic, Event
from .finding import block_name, found_of_vnic, found_with
from .groups import Needed
from .layout import Layout
from .peers import take_in


@dataclass(slots=True)
class Known:
    """What the node knows of the VNICs and the subnets of a call, for one draft."""

    subnets: dict[SubnetId, TenantSubnet]
    """Those that are there: the draft adds what it opens and removes what it closes."""
    vnics: dict[VnicId, Vnic] = field(default_factory=dict)
    epochs: dict[SubnetId, Hashable] = field(default_factory=dict)
    """The firewall's epoch in which the rules of a subnet were seen to be complete."""
    strays: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    stale: Mapping[SubnetId, Nouns] = field(default_factory=dict)
    """What led to guests elsewhere that move here."""
    closing: list[SubnetId] = field(default_factory=list)
    """Subnets that lose their last VNIC."""
    groups: Needed | None = None
    """The groups of the requests."""


@dataclass(slots=True)
class VnicsDraft(Draft):
    wanted: dict[Key, Noun] = field(default_factory=dict)
    found: dict[Key, Noun] = field(default_factory=dict)
    made: list[tuple[TenantSubnet, Vnic]] = field(default_factory=list)
    """Subnet and VNIC of each request."""
    closed: list[TenantSubnet] = field(default_factory=list)
    groups: Mapping[GroupId, Nouns] = field(default_factory=dict)
    """Groups that were looked up."""
    epoch: Hashable | None = None
    """The firewall's epoch, read before anything else of the host."""

    def add(self, thing: Thing, wanted: Nouns, found: Nouns) -> None:
        """Add what is wanted and found of one thing."""
        self.wanted.update(wanted)
        self.found.update(found)
        self.scope.setdefault(thing, set()).update(wanted, found)


@dataclass(slots=True)
class Changed:
    """What became of each request, and of each VNIC to remove."""

    made: list[CreatedVnic]
    gone: list[DestroyedVnic]
    closed: list[Event]
    """The events of subnets that had no VNIC any more."""

    def events(self, made: Sequence[CreatedVnic] | None = None) -> list[Event]:
        """Return all events, in order; ``made`` replaces the results of the requests."""
        results: list[CreatedVnic | DestroyedVnic] = [*self.gone]
        results += self.made if made is None else made
        events = [*self.closed]
        for result in results:
            if result.tunnel_event is not None:
                events.append(result.tunnel_event)
            if result.container_info is not None:
                events.append(result.container_info)
        return events


class ChangeVnics(Call[ComputeRecords, Known, VnicsDraft, Changed]):
    """Make the VNICs of ``requests`` and remove those called ``gone``, in one plan.

    A VNIC that is there already is repaired if need be.  What a subnet needs is made with its
    first VNIC and removed with its last one.  ``left`` are subnets that may have no VNIC any
    more: what an unfinished removal left of them is removed.  VNICs in ``updated`` must exist,
    and are changed to what their requests say.
    """

    trusts: ClassVar[bool] = True
    intends = False

    def __init__(
        self,
        what: str,
        layout: Layout[Any],
        requests: Sequence[GuestRequest] = (),
        gone: Sequence[VnicId] = (),
        mode: Mode = Mode.ALL_OR_NOTHING,
        left: Sequence[SubnetId] = (),
        updated: Collection[VnicId] = (),
    ) -> None:
        self.what = what
        self.mode = mode
        self._layout = layout
        self._requests = requests
        self._gone = dict.fromkeys(gone)
        self._updated = frozenset(updated)
        self._left = dict.fromkeys([*[identity[:2] for identity in gone], *left])
        """Subnets that VNICs leave, or have left."""
        self._subnets = {*self._left}
        if requests:
            check_apart(requests)
            self._subnets.update([request.id[:2] for request in requests])
            self.intends = not all(request.policy.is_plain for request in requests)

    # -- claiming --------------------------------------------------------------------

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        layout = self._layout
        mine: set[Thing] = set()
        shared: set[Thing] = set()
        for request in self._requests:
            mine.add(("vnic", *request.id))
            for ip in request.ips:
                mine.add(layout.address(request, ip))
            for group in request.policy.groups:
                mine |= {("member", request.tenant_id, group, ip) for ip in request.ips}
            if request.derived_mac:
                mine.add(("mac", *request.id[:2], request.mac))
            if alone or not layout.shares(records, request):
                mine |= layout.opening(request)
            else:
                shared.add(("subnet", *request.id[:2]))
        if self.intends:
            named = {**self._groups(), **with_named(records.groups, self._groups())}
            (mine if alone else shared).update(map(group_thing, named))
        for identity in self._gone:
            mine |= {("vnic", *identity), ("leaving", *identity)}
        for subnet in self._left:
            if alone or not self._stays(records, held, subnet):
                mine |= layout.closing(subnet)
            else:
                shared.add(("subnet", *subnet))
        return Claim(frozenset(mine), frozenset(shared - mine))

    def _stays(self, records: ComputeRecords, held: Held, subnet: SubnetId) -> bool:
        """Whether the subnet keeps a VNIC, or gets one.

        If the last two VNICs go at once, neither may count on the other to stay.
        """
        for request in self._requests:
            if request.id[:2] == subnet:
                return True
        for vnic in records.vnics(subnet):
            if vnic.id not in self._gone and not held(("leaving", *vnic.id)):
                return True
        return subnet in records.plugged or records.lost_ports.keep(subnet, self._gone)

    def _groups(self) -> dict[GroupId, None]:
        """The groups of the requests, each once."""
        return dict.fromkeys(
            (request.tenant_id, group)
            for request in self._requests
            for group in request.policy.groups
        )

    # -- drafting --------------------------------------------------------------------

    def read(self, records: ComputeRecords, claim: Claim) -> Known:
        for request in self._requests:
            self._layout.check(records, request, self._gone)
            if request.policy.groups:
                self._check_groups(records, request)
            if request.id in self._updated and records.vnic(request.id) is None:
                raise Conflict(
                    f"VNIC {request.vnic_id} of subnet {request.subnet_id} is not on this node: "
                    "create it first"
                )
        known = Known(self._layout.subnets(records, self._subnets), strays=records.strays)
        if self._requests:
            for subnet in known.subnets:
                known.epochs[subnet] = records.epoch(subnet)
            known.stale = take_in(known.subnets, self._requests)
            if self.intends:
                known.groups = Needed.of(records, self._groups())
            for request in self._requests:
                if (vnic := records.vnic(request.id)) is not None:
                    known.vnics[request.id] = vnic
        for identity in self._gone:
            if (vnic := records.vnic(identity)) is not None:
                known.vnics[identity] = vnic
        for subnet in self._left:
            mine = claim.everything or ("subnet", *subnet) in claim.alone
            if mine and not self._stays(records, nobody, subnet):
                known.closing.append(subnet)
        return known

    def _check_groups(self, records: ComputeRecords, request: GuestRequest) -> None:
        for group in request.policy.groups:
            check_known(records.groups.keys(), (request.tenant_id, group))
        for ip in request.ips:
            others = records.having(request.tenant_id, ip)
            check_members(request, ip, [one for one in others if one.id not in self._gone])

    def draft(self, known: Known, host: HostView) -> VnicsDraft:
        draft = VnicsDraft()
        if self._requests:
            self._draft_requests(draft, known, host)
        # What is wanted again is looked up: it may be there with other values.
        look = host.looking or bool(self._requests)
        for identity in self._gone:
            found = found_of_vnic(host, identity, known.vnics.get(identity), look=look)
            if not any(isinstance(noun, Link) for noun in found.values()):
                for kind in (ids.VM, ids.CONTAINER):
                    draft.strays += host.listing.stray(kind, identity)
            draft.add(("vnic", *identity), {}, found)
        draft.closed = [known.subnets.pop(key) for key in known.closing if key in known.subnets]
        for subnet in draft.closed:
            part = self._layout.close(subnet, known.subnets, host)
            draft.add(("subnet", *subnet.id), part.wanted, part.found)
            draft.strays += self._layout.strays(part, host)
        if self._gone and self._requests:
            again = [vnic for _, vnic in draft.made if vnic.id in self._gone]
            draft.plan = plan_again(draft.found, draft.wanted, again, known.vnics)
            return draft
        wanted, _ = keep_held(draft.found, draft.wanted)
        draft.plan = make_plan(draft.found, wanted)
        return draft

    def _draft_requests(self, draft: VnicsDraft, known: Known, host: HostView) -> None:
        draft.epoch = host.epoch()
        opened: dict[tuple[SubnetId, bool], TenantSubnet] = {}
        if known.groups is not None:
            draft.groups = known.groups.unsure(host, draft.epoch)
            for group, rules in draft.groups.items():
                draft.add(group_thing(group), rules, host.find(rules.values()))
        for request in self._requests:
            self._draft_made(draft, request, known, opened, host)
        for key, nouns in known.stale.items():
            draft.add(("subnet", *key), {}, host.find(nouns.values()))
        new = [request for request in self._requests if request.id not in known.vnics]
        self._layout.check_guests(new, host)

    def _draft_made(
        self,
        draft: VnicsDraft,
        request: GuestRequest,
        known: Known,
        opened: dict[tuple[SubnetId, bool], TenantSubnet],
        host: HostView,
    ) -> None:
        identity = request.id
        key = identity[:2]
        old = known.vnics.get(identity)
        look = host.looking or old is not None
        subnet = opened.get((key, look))
        if subnet is None:
            trusted = draft.epoch is not None and known.epochs.get(key) == draft.epoch
            part = self._layout.open(
                request, known.subnets, host, known.strays, look=look, trusted=trusted
            )
            subnet = known.subnets[key] = opened[key, look] = part.subnet
            if part.wanted or part.found:
                draft.add(("subnet", *key), part.wanted, part.found)
        else:
            check_same_subnet(subnet, request)
        kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
        if look or (kind, *identity) in known.strays:
            # One of another role has another name.
            before = old.link if old is not None and old.role is request.role else None
            name, link = host.locate(kind, identity, before, strays=known.strays)
        else:
            name, link = host.name(kind, identity), None
        block = ""
        if request.policy.rate_from_guest is not None:
            block = block_name(host, identity, old, look=look)
        vnic = self._wanted(request, subnet, name, block, old, host)
        found: dict[Key, Noun] = {}
        if look:
            depending = old.dependents if old else ()
            dependents = keyed((*depending, *vnic.dependents)).values()
            keys = {vnic.link.key, *([old.link.key] if old else ())}
            found = found_with(host, link, keys, dependents)
        draft.add(("vnic", *identity), host.carried(vnic.nouns()), found)
        draft.made.append((subnet, vnic))

    def _wanted(
        self,
        request: GuestRequest,
        subnet: TenantSubnet,
        name: str,
        block: str,
        old: Vnic | None,
        host: HostView,
    ) -> Vnic:
        if old is not None and request.id not in self._gone:
            changes = request.id in self._updated
            if changes:
                check_changeable(old, request)
            else:
                check_same_vnic(old, request, host.site)
            if old.link_name == name:
                old = old.on_bridge(subnet.bridge)
                known = block_of(old.dependents)
                if changes or block != (known.name if known else ""):
                    return change_vnic(host.site, old, request, block)
                return old
        return build_vnic(host.site, request, subnet, name, block)

    def intents(self, draft: VnicsDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {vnic.thing: vnic.policy.intended() for _, vnic in draft.made}

    # -- publishing ------------------------------------------------------------------

    def publish(
        self, records: ComputeRecords, draft: VnicsDraft, done: Done
    ) -> tuple[Changed, list[Event]]:
        left = done.left
        gone = [self._publish_gone(records, identity, left) for identity in self._gone]
        closed: list[Event] = []
        subnets = [identity[:2] for identity in self._gone]
        for subnet in draft.closed:
            for event in records.forget(subnet, left):
                if subnet.id in subnets:
                    first = subnets.index(subnet.id)
                    gone[first] = replace(gone[first], tunnel_event=event)
                else:
                    closed.append(event)
        made = [self._publish_made(records, *pair, done, draft.epoch) for pair in draft.made]
        if draft.groups:
            records.group_epochs.update(dict.fromkeys(draft.groups, draft.epoch))
        changed = Changed(made, gone, closed)
        # Listeners do not hear of a create that had nothing to do.
        return changed, changed.events(made if draft.plan.operations else ())

    def _publish_made(
        self,
        records: ComputeRecords,
        subnet: TenantSubnet,
        vnic: Vnic,
        done: Done,
        epoch: Hashable | None,
    ) -> CreatedVnic:
        known = records.subnets.get(subnet.id)
        event = self._layout.opened(known, subnet)
        info = None
        if vnic.role is VnicRole.TENANT_CONTAINER and vnic.id not in self._updated:
            first = not records.containers(subnet.id)
            info = container_info(subnet, ContainerEvent.ADD if first else ContainerEvent.INFO)
        if known is not subnet:
            records.put_subnet(subnet)
        records.put_vnic(vnic)
        records.vouch(subnet.id, epoch)
        fds = done.outcome.fds.get(vnic.link_name)
        return CreatedVnic(replace(vnic, fds=fds) if fds else vnic, event, info)

    def _publish_gone(
        self, records: ComputeRecords, identity: VnicId, left: set[Key]
    ) -> DestroyedVnic:
        vnic, subnet = records.vnic(identity), records.subnets.get(identity[:2])
        info = None
        records.lost_ports = records.lost_ports.without([identity], left)
        if vnic and (not left or left.isdisjoint(keyed(vnic.nouns()))):
            records.drop_vnic(identity)
            container = vnic.role is VnicRole.TENANT_CONTAINER
            if subnet and container and not records.containers(subnet.id):
                info = container_info(subnet, ContainerEvent.DEL)
        return DestroyedVnic(container_info=info)

    def announces(self, records: ComputeRecords, draft: VnicsDraft) -> list[Announcement]:
        found: list[Announcement] = []
        for subnet, vnic in draft.made:
            if vnic.link.key not in draft.found:
                found += of_vnic(records.site, subnet, vnic)
        return found

    def abandon(self, records: ComputeRecords, draft: VnicsDraft) -> None:
        for subnet, _ in draft.made:
            if subnet.id not in records.subnets:
                records.put_subnet(subnet)
