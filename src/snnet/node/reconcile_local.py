"""The part of ``ComputeNode.reconcile`` about the concentrators of this host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnet.contract import PortForward
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import Concentrator, concentrator_thing
from snnet.core.local_requests import LocalConcentrator

from .calls.concentrators import RemoveConcentrator, SetConcentrator
from .steps import Steps


def reconcile_concentrators(
    steps: Steps[ComputeRecords], wanted: Sequence[LocalConcentrator]
) -> None:
    """Remove the concentrators that are not wanted, then set those that are.

    All are removed before one is set: a new one may have the subnet or the port of an old
    one.
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
    # Those that give up a subnet or a port come before those that may want it.
    for identity, request in sorted(requests.items(), key=lambda pair: _gains(known, *pair)):
        old = None if identity in moved else known.get(identity)
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


def _gains(
    known: dict[tuple[str, str], Concentrator], identity: tuple[str, str], new: LocalConcentrator
) -> bool:
    old = known.get(identity)
    if old is None:
        return True
    ports = {forward.key for forward in old.forwards}
    return any(subnet.subnet_id not in old.plugs for subnet in new.subnets) or any(
        forward.key not in ports for forward in new.forwards
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
