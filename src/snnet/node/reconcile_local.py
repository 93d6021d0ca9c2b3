"""The part of ``ComputeNode.reconcile`` about the concentrators of this host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from snnet.contract import PortForward, SnnetError
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import Concentrator, concentrator_thing
from snnet.core.local_requests import LocalConcentrator, LocalSubnet
from snnet.core.vnics import TenantSubnet

from .calls.concentrators import RemoveConcentrator, SetConcentrator
from .steps import Steps


def release_concentrators(
    steps: Steps[ComputeRecords], wanted: Sequence[LocalConcentrator]
) -> None:
    """Remove the concentrators that are not wanted, and unplug subnets that are others now.

    All of it comes before one is set: a new one may have the subnet or the port of an old
    one, and a subnet of the same name with another key or network replaces the old one only
    when nothing uses that any more.
    """
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.concentrators)
        subnets = dict(steps.engine.records.subnets)
    requests = {request.id: request for request in wanted}
    moved = {
        identity
        for identity, request in requests.items()
        if request.address and identity in known and known[identity].ip != request.address
    }
    for identity in (known.keys() - requests.keys()) | moved:
        steps.attempt(concentrator_thing(identity), "removed", RemoveConcentrator(identity))
    for identity, request in requests.items():
        staying = [
            subnet
            for subnet in request.subnets
            if _agrees(subnets.get((identity[0], subnet.subnet_id)), subnet)
        ]
        if identity in known.keys() - moved and len(staying) < len(request.subnets):
            try:
                steps.run(SetConcentrator(replace(request, subnets=tuple(staying))))
            except SnnetError:
                if steps.atomic:
                    raise
                # What is in the way is in the error of setting it, which follows.


def set_concentrators(steps: Steps[ComputeRecords], wanted: Sequence[LocalConcentrator]) -> None:
    """Set the concentrators that are wanted, after ``release_concentrators``."""
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.concentrators)
        subnets = dict(steps.engine.records.subnets)
    requests = {request.id: request for request in wanted}
    # Those that give up a subnet, a port or an address come before those that may want it.
    for identity, request in sorted(requests.items(), key=lambda pair: _gains(known, *pair)):
        old = known.get(identity)
        key = concentrator_thing(identity)
        bridges = [
            noun
            for subnet in (old.subnets if old else ())
            if subnet in subnets
            for noun in subnets[subnet].nouns()
        ]
        if old is None:
            steps.attempt(key, "created", SetConcentrator(request))
        elif _is_same(old, request) and steps.intact((*old.nouns(), *bridges)):
            steps.note(key, "kept")
        else:
            steps.attempt(key, "updated", SetConcentrator(request))


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
