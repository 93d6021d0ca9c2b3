"""What ``verify()`` says: the difference between what a node knows and its host."""

from __future__ import annotations

from typing import Any

from .calls.upkeep import Repair, differences
from .deadline import Deadline
from .engine import Engine
from .host import HostView
from .taken import taken_away


def compare(engine: Engine[Any], deadline: Deadline, *, quick: bool) -> list[str]:
    """Return the lines of :meth:`snnet.ComputeNode.verify`."""
    if quick:
        with engine.drafting(Repair(unreported=True), deadline, engine.listed()) as draft:
            return list(differences(draft.plan))
    with engine.drafting(Repair(wait=False), deadline, host := engine.listed()) as draft:
        nouns, warnings = list(engine.records.nouns()), list(engine.records.warnings())
    with engine.look(deadline):
        return [
            *draft.taken,
            *taken_away(draft.plan, host, nouns),
            *differences(draft.plan),
            *warnings,
            *host.recorded(),
            *changed_inputs(engine, host),
            *host.left_out(nouns),
            *host.obstacles(),
            *host.stopped(nouns),
        ]


def changed_inputs(engine: Engine[Any], host: HostView) -> list[str]:
    """A line for each thing that the node rests on and did not make, if it changed."""
    with engine.claims.lock:
        records = engine.records.copy()
    return list(host.changed_inputs(records))
