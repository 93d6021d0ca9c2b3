"""What guards of tunnels share: ports, peers and keys of gre."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence

from snnet.contract import Noun, TunnelGuard

from . import chains
from .elements import Element, elements
from .nouns import StoredNouns, gre_keys
from .steps import Command, PreparedOperation, element_change
from .tables import INET, Part, Table


def shared(
    steps: Sequence[PreparedOperation],
    needed: Collection[Part],
    damaged: Container[Table],
    stored: StoredNouns,
) -> list[Command]:
    """Return the commands for what guards of tunnels share, after the steps.

    Each is removed with the last guard that needs it.  ``damaged`` tables with parts that are
    ``needed`` are recreated: they begin empty.
    """
    commands: list[Command] = []
    changes = [step for step in steps if isinstance(step.operation.noun, TunnelGuard)]
    if not changes or not any(step.removes or _is_gre(step.operation.noun) for step in changes):
        return commands
    recreated = {part.table for part in needed if part.table in damaged}
    for owner in sorted({step.owner for step in changes}):
        table = Table(INET, owner)
        guards = [] if table in recreated else stored.guards(table)
        before = {noun.key: noun for noun in guards}
        after = dict(before)
        for step in changes:
            noun = step.operation.noun
            if step.owner == owner and isinstance(noun, TunnelGuard):
                after.pop(noun.key, None)
                if not step.removes:
                    after[noun.key] = noun
        gone = _shared_by(before.values()) - _shared_by(after.values())
        commands += [element_change("delete", owner, part) for part in sorted(gone, key=str)]
        keys = gre_keys(after.values())
        if keys != gre_keys(before.values()):
            commands += chains.gre_rules(table, sorted(keys))
    return commands


def _is_gre(noun: Noun) -> bool:
    return isinstance(noun, TunnelGuard) and noun.protocol == "gre"


def _shared_by(guards: Iterable[TunnelGuard]) -> set[Element]:
    return {part for guard in guards for part in elements(guard) if part.shared}
