"""The part of ``ComputeNode.reconcile`` about the concentrators of this host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from snnet.checks import check_many, of_item
from snnet.contract import InvalidRequest, PortForward, SnnetError
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import Concentrator, concentrator_thing
from snnet.core.local_requests import (
    ConcentratorConfig,
    ConcentratorId,
    Door,
    LocalConcentrator,
    LocalSubnet,
    check_apart,
    local_concentrator,
)
from snnet.core.site import Site
from snnet.core.vnics import TenantSubnet

from .calls.concentrators import RemoveConcentrator, SetConcentrator
from .steps import Steps

WantedConcentrators = dict[ConcentratorId, LocalConcentrator | InvalidRequest]
"""The concentrators that a host is to have; for a wrong one its error, so that it stays."""


def release_concentrators(
    steps: Steps[ComputeRecords],
    wanted: WantedConcentrators,
    reserved: Callable[[ConcentratorId], bool],
) -> None:
    """Remove the concentrators that are not wanted, and unplug subnets in whose place others come.

    All of it comes before one is set: a new one may have the subnet or the port of an old
    one, and a subnet with the name or the key of another one replaces it only when nothing
    uses that any more.
    """
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.concentrators)
        subnets = dict(steps.engine.records.subnets)
    requests = _right(wanted)
    moved = {
        identity
        for identity, request in requests.items()
        if identity in known and not known[identity].is_at(request.address)
    }
    gone = {identity for identity in known.keys() - wanted.keys() if not reserved(identity)}
    for identity in gone | moved:
        steps.attempt(concentrator_thing(identity), "removed", RemoveConcentrator(identity))
    for identity, request in requests.items():
        old = known.get(identity)
        if old is None or identity in moved:
            continue
        staying = [
            subnet
            for subnet in request.subnets
            if subnet.subnet_id in old.plugs
            and _agrees(subnets.get((identity[0], subnet.subnet_id)), subnet)
        ]
        if len(staying) < min(len(request.subnets), len(old.plugs)):
            try:
                steps.run(SetConcentrator(_lessened(request, old, staying)))
            except SnnetError:
                if steps.atomic:
                    raise
                # What is in the way is in the error of setting it, which follows.


def set_concentrators(steps: Steps[ComputeRecords], wanted: WantedConcentrators) -> None:
    """Set the concentrators that are wanted, after ``release_concentrators``."""
    for identity, error in wanted.items():
        if isinstance(error, InvalidRequest):
            steps.failed(concentrator_thing(identity), error)
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.concentrators)
        subnets = dict(steps.engine.records.subnets)
    requests = _right(wanted)
    # Those that give up a subnet, a port or an address come before those that may want it.
    for identity, request in sorted(requests.items(), key=lambda pair: _gains(known, *pair)):
        old = known.get(identity)
        bridges = [
            noun
            for subnet in (old.subnets if old else ())
            if subnet in subnets
            for noun in subnets[subnet].nouns()
        ]
        agrees = all(
            _agrees(subnets.get((identity[0], subnet.subnet_id)), subnet)
            for subnet in request.subnets
        )
        intact = old is not None and agrees and steps.intact((*old.nouns(), *bridges))
        if old is not None and intact and _is_same(old, request):
            steps.note(concentrator_thing(identity), "kept")
        else:
            _set(steps, request, old, intact=intact)


def _set(
    steps: Steps[ComputeRecords],
    request: LocalConcentrator,
    old: Concentrator | None,
    *,
    intact: bool,
) -> None:
    """Set a concentrator; if that fails, without its new forwards, and then these one by one."""
    key, doors = concentrator_thing(request.id), _old_doors(old, request)
    action = "updated" if old else "created"
    new = [door for door in request.doors if door not in doors]
    if not new or steps.atomic:
        steps.attempt(key, action, SetConcentrator(request))
        return
    try:
        steps.run(SetConcentrator(request))
    except SnnetError:
        base = replace(request, doors=doors)
        if old is not None and intact and _is_same(old, base):
            steps.note(key, "kept")
        elif steps.attempt(key, action, SetConcentrator(base)) is None:
            return
    else:
        steps.note(key, action)
        return
    for door in new:
        try:
            steps.run(SetConcentrator(replace(request, doors=(*doors, door))))
        except SnnetError as error:
            steps.failed(host_forward_key(request.id, door), error)
        else:
            doors = (*doors, door)


def host_forward_key(identity: ConcentratorId, door: Door) -> tuple[str, ...]:
    """What identifies a forward of a host's ports in a result, by its first port."""
    first = door[0]
    at = (str(first.address),) if first.address else ()
    return ("host_forward", *identity, first.protocol, str(first.port), *at)


def _old_doors(old: Concentrator | None, request: LocalConcentrator) -> tuple[Door, ...]:
    """The forwards of a request that lead from ports which the concentrator has already."""
    ports = {forward.key for forward in old.forwards} if old else set()
    return tuple(door for door in request.doors if all(rule.key in ports for rule in door))


def _lessened(
    request: LocalConcentrator, old: Concentrator, staying: Iterable[LocalSubnet]
) -> LocalConcentrator:
    """The request with nothing new in it: what is new may be another concentrator's yet."""
    publics = tuple(address for address in request.publics if address in old.publics)
    doors = _old_doors(old, request)
    return replace(request, subnets=tuple(staying), doors=doors, publics=publics)


def _agrees(known: TenantSubnet | None, wanted: LocalSubnet) -> bool:
    """Whether a subnet of that name is the wanted one, if there is one."""
    return known is None or (known.networks, known.key) == (wanted.networks, wanted.subnet_key)


def _gains(
    known: dict[tuple[str, str], Concentrator], identity: tuple[str, str], new: LocalConcentrator
) -> bool:
    old = known.get(identity)
    if old is None:
        return True
    ports = {forward.key for forward in old.forwards}
    return (
        any(subnet.subnet_id not in old.plugs for subnet in new.subnets)
        or any(forward.key not in ports for forward in new.forwards)
        or any(address not in old.publics for address in new.publics)
    )


def _is_same(old: Concentrator, new: LocalConcentrator) -> bool:
    plugs = {subnet.subnet_id for subnet in new.subnets}
    return (
        old.plugs.keys() == plugs
        and set(old.publics) == set(new.publics)
        and _ports(old.forwards) == _ports(new.forwards)
    )


def _ports(forwards: Iterable[PortForward]) -> set[tuple[object, ...]]:
    return {(forward.key, forward.target_port, forward.sources) for forward in forwards}


def check_hosting(site: Site, what: str) -> None:
    """InvalidRequest where the host of a node has no concentrators in namespaces."""
    if not site.hosting:
        raise InvalidRequest(
            f'{what} is for topology "local" or "mesh", or "hub" with a concentrator_pool',
            field="topology",
        )


def wanted_concentrators(
    site: Site, cfgs: Iterable[ConcentratorConfig], *, atomic: bool
) -> WantedConcentrators:
    """Check all concentrators that a host is to have.

    Unless ``atomic``, what is wrong with one of them is no obstacle for the others.
    """
    check_hosting(site, "reconcile(concentrators=...)")
    wanted: WantedConcentrators = {}
    for number, cfg in enumerate(check_many(cfgs, "concentrators", lambda cfg, _: cfg)):
        where = f"concentrators[{number}]"
        try:
            request: LocalConcentrator | InvalidRequest = local_concentrator(cfg, site)
        except InvalidRequest as error:
            if atomic or not isinstance(cfg, ConcentratorConfig):
                raise of_item(error, where) from None
            request = error
        if cfg.id in wanted:
            raise InvalidRequest("is there twice", field=where)
        wanted[cfg.id] = request
    check_apart(list(_right(wanted).values()))
    return wanted


def _right(wanted: WantedConcentrators) -> dict[ConcentratorId, LocalConcentrator]:
    """Those with which nothing is wrong."""
    return {key: one for key, one in wanted.items() if isinstance(one, LocalConcentrator)}
