"""Concentrators on this host: set as a whole, and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from snnet.contract import Add, Address, Announcement, Conflict, IPAddress, Noun, Route, keyed
from snnet.core import identity as ids
from snnet.core.addressing import written
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import (
    Concentrator,
    build_concentrator,
    choose_address,
    concentrator_thing,
    titled,
)
from snnet.core.far_ends import check_not_public
from snnet.core.local_requests import ConcentratorId, LocalConcentrator
from snnet.core.meshing import peers_thing
from snnet.core.own_packets import remotes
from snnet.core.planner import plan as make_plan
from snnet.core.planner import recalled
from snnet.core.requests import SubnetId
from snnet.core.routed import sysctls
from snnet.core.surroundings import check_place
from snnet.core.vnics import TenantSubnet

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event
from ..spaces import cut_off
from .host_ports import check_free_ports
from .local import found_of, mesh_wire, open_bridge

CONCENTRATORS: Thing = ("concentrators",)
"""All of them: they share addresses and ports, so they change one at a time."""


@dataclass(slots=True)
class Known:
    """What the node knows of one concentrator and of all others."""

    old: Concentrator | None
    others: list[Concentrator]
    subnets: dict[SubnetId, TenantSubnet]
    closing: list[TenantSubnet]
    """Subnets that nothing needs after the call."""
    strays: Mapping[tuple[str, ...], str]


Leaving = tuple[Concentrator | None, list[TenantSubnet]]
"""A concentrator that goes, and the subnets that nothing needs then."""


@dataclass(slots=True)
class SetDraft(Draft):
    one: Concentrator = field(kw_only=True)
    opened: list[TenantSubnet] = field(kw_only=True)
    closed: list[TenantSubnet] = field(kw_only=True)


def _claim(records: ComputeRecords, identity: ConcentratorId, subnets: Sequence[str]) -> Claim:
    old = records.concentrators.get(identity)
    tenant = identity[0]
    things: set[Thing] = {CONCENTRATORS, concentrator_thing(identity)}
    for subnet in {*((tenant, subnet) for subnet in subnets), *(old.subnets if old else ())}:
        things |= {("subnet", *subnet), peers_thing(subnet)}
    return Claim(frozenset(things))


def _closing(
    records: ComputeRecords, old: Concentrator | None, staying: Sequence[SubnetId] = ()
) -> list[TenantSubnet]:
    """Return the subnets that lose their concentrator and have no VNIC."""
    return [
        records.subnets[subnet]
        for subnet in (old.subnets if old else ())
        if subnet not in staying and subnet in records.subnets and not records.has_vnics(subnet)
    ]


class SetConcentrator(Call[ComputeRecords, Known, SetDraft, Concentrator]):
    """Set the subnets and forwards of a concentrator to exactly these."""

    def __init__(self, request: LocalConcentrator) -> None:
        self.what = f"set_concentrator {request.id[1]}"
        self._request = request

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        wanted = self._request.subnets
        claim = _claim(records, self._request.id, [subnet.subnet_id for subnet in wanted])
        if not records.site.mesh:
            return claim
        wires = {mesh_wire(subnet.subnet_key) for subnet in wanted}
        return Claim(claim.alone | wires)

    def read(self, records: ComputeRecords, claim: Claim) -> Known:
        identity = self._request.id
        wanted = {(identity[0], subnet.subnet_id): subnet for subnet in self._request.subnets}
        for key, subnet in wanted.items():
            other = records.plugged.get(key)
            if other not in (None, identity):
                raise Conflict(f"subnet {key[1]} is served by concentrator {other[1]}")
            known = records.subnets.get(key)
            if known and (known.networks, known.key) != (subnet.networks, subnet.subnet_key):
                raise Conflict(
                    f"subnet {key[1]} of tenant {key[0]} is {written(known.networks)} with key "
                    f"{known.key} on this host, not {written(subnet.networks)} with key "
                    f"{subnet.subnet_key}"
                )
            records.check_tunnel(key, subnet.subnet_key)
        old = records.concentrators.get(identity)
        if self._request.publics:
            ends = remotes(records.site, records.nouns())
            check_not_public(ends, dict.fromkeys(self._request.publics, titled(identity)))
        return Known(
            old,
            [one for one in records.concentrators.values() if one.id != identity],
            {key: records.subnets[key] for key in wanted if key in records.subnets},
            _closing(records, old, list(wanted)),
            records.strays,
        )

    def draft(self, known: Known, host: HostView) -> SetDraft:
        old, request = known.old, self._request
        parts = {
            subnet.subnet_id: open_bridge(
                host,
                (request.id[0], subnet.subnet_id),
                subnet.networks,
                subnet.subnet_key,
                known.subnets.get((request.id[0], subnet.subnet_id)),
                known.strays,
            )
            for subnet in request.subnets
        }
        one = self._built(known, {name: part.subnet for name, part in parts.items()}, host)
        _check_forwards(one, known, host)
        _check_addresses(one, known, host)
        for asked in request.subnets:
            if old is None or asked.subnet_id not in old.plugs:
                check_place(asked.networks, host.listing.surroundings)
        wanted = host.carried((*sysctls(host.site, one.versions), *one.nouns()))
        nouns = (*(old.nouns() if old else ()), *wanted.values())
        found = recalled(host.find_ours(host.carried(nouns).values()), old.nouns() if old else ())
        for part in parts.values():
            wanted |= part.wanted
            found |= part.found
        for subnet in known.closing:
            found |= found_of(subnet, host)
        return SetDraft(
            make_plan(found, wanted, cut_off(host, found, wanted)),
            {CONCENTRATORS: {*found, *wanted}},
            one=one,
            opened=[part.subnet for part in parts.values()],
            closed=known.closing,
        )

    def _built(
        self, known: Known, subnets: Mapping[str, TenantSubnet], host: HostView
    ) -> Concentrator:
        """Return the record, with names and an address that are free or its own."""
        old, identity, strays = known.old, self._request.id, known.strays
        uplink = host.site.uplink.link_name
        plugs = {
            name: host.locate(
                ids.PLUG,
                (identity[0], name),
                old.plugs.get(name) if old else None,
                strays=strays,
            )[0]
            for name in subnets
        }
        return build_concentrator(
            host.site,
            self._request,
            self._address(known, host),
            netns=host.locate_namespace(identity, old.namespace if old else None),
            link=host.locate(ids.WAY, identity, old.link if old else None, strays=strays)[0],
            plugs={name: (plugs[name], subnet) for name, subnet in subnets.items()},
            addresses=tuple(noun.address.ip for noun in host.listing.addresses(uplink)),
        )

    def _address(self, known: Known, host: HostView) -> IPAddress:
        wanted, old = self._request.address, known.old
        if old is not None and not old.is_at(wanted):
            raise Conflict(
                f"concentrator {old.concentrator_id} has the address {old.ip}, not "
                f"{wanted or 'a link-local one'}: remove it first"
            )
        if wanted is None:
            chosen = choose_address(host.site.owner, self._request.id, _taken(known, host))
            return old.ip if old else chosen
        return wanted

    def announces(self, records: ComputeRecords, draft: SetDraft) -> list[Announcement]:
        added = {item.noun.key for item in draft.plan.operations if isinstance(item, Add)}
        return list(draft.one.announcements(added))

    def intents(self, draft: SetDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {concentrator_thing(draft.one.id): draft.one.intended()}

    def publish(
        self, records: ComputeRecords, draft: SetDraft, done: Done
    ) -> tuple[Concentrator, list[Event]]:
        for subnet in draft.opened:
            records.put_subnet(subnet)
        records.put_concentrator(draft.one)
        for subnet in draft.closed:
            records.forget(subnet, done.left)
        return draft.one, []


class RemoveConcentrator(Call[ComputeRecords, Leaving, Draft, None]):
    """Remove a concentrator with everything that the host has for it."""

    mode = Mode.PRESS_ON

    def __init__(self, identity: ConcentratorId) -> None:
        self.what = f"remove_concentrator {identity[1]}"
        self._identity = identity

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        return _claim(records, self._identity, ())

    def read(self, records: ComputeRecords, claim: Claim) -> Leaving:
        old = records.concentrators.get(self._identity)
        return old, _closing(records, old)

    def draft(self, known: Leaving, host: HostView) -> Draft:
        old, closing = known
        if old is None:
            return Draft()
        found = host.find_ours(host.carried(old.nouns()).values())
        for subnet in closing:
            found |= found_of(subnet, host)
        return Draft(make_plan(found, {}), {CONCENTRATORS: set(found)})

    def publish(
        self, records: ComputeRecords, draft: Draft, done: Done
    ) -> tuple[None, list[Event]]:
        old = records.concentrators.get(self._identity)
        if old is None:
            return None, []
        closing = _closing(records, old)
        nouns = [*old.nouns(), *(noun for subnet in closing for noun in subnet.nouns())]
        if not done.left.isdisjoint(keyed(nouns)):
            return None, []  # the record leads a repeated call to what is left
        records.drop_concentrator(self._identity)
        for subnet in closing:
            records.forget(subnet, done.left)
        return None, []


def _taken(known: Known, host: HostView) -> set[IPAddress]:
    """Return the addresses that others have on this host."""
    taken: set[IPAddress] = {one.ip for one in known.others}
    for noun in host.listing.places:
        if isinstance(noun, Address):
            taken.add(noun.address.ip)
        elif isinstance(noun, Route):
            taken.add(noun.destination.network_address)
    return taken


def _check_addresses(one: Concentrator, known: Known, host: HostView) -> None:
    """Raise Conflict for an address that another concentrator or the host itself has."""
    for other in known.others:
        for address in one.addresses:
            if address in other.addresses:
                raise Conflict(
                    f"{address} belongs to concentrator {other.concentrator_id} of tenant "
                    f"{other.tenant_id}"
                )
    new = {*one.addresses} - {*(known.old.addresses if known.old else ())}
    for noun in host.listing.of(Address):
        if isinstance(noun, Address) and noun.address.ip in new:
            raise Conflict(
                f"{noun.address.ip} is this host's own address on {noun.link}: take it away there, "
                "since a concentrator is to have it"
            )
    for address in new:
        host.listing.surroundings.check_gateway(address, str(address))


def _check_forwards(one: Concentrator, known: Known, host: HostView) -> None:
    """Raise Conflict for a new port of the host that something else has."""
    old = keyed(known.old.forwards) if known.old else {}
    new = [forward for forward in one.forwards if forward.key not in old]
    for other in known.others:
        theirs = keyed(other.forwards)
        for forward in new:
            if forward.key in theirs:
                raise Conflict(
                    f"port {forward.protocol}/{forward.port} of this host belongs to concentrator "
                    f"{other.concentrator_id} of tenant {other.tenant_id}"
                )
    if new:
        check_free_ports(new, host)
