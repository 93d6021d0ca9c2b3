"""The core's one entry: what has to be done to get from found to wanted."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.contract import Add, Change, Nouns, Operation, Plan, Remove


def plan(found: Nouns, wanted: Nouns) -> Plan:
    """The operations that turn ``found`` into ``wanted``, in a safe order.

    Both are scoped alike: what is found and not wanted is removed.  Removals
    come first, dependents before what they depend on, then changes and
    additions the other way round.  What dies with its link is not removed by
    an operation of its own.  Nothing to do gives an empty plan.
    """
    removed: list[Operation] = []
    made: list[Operation] = []
    for operation in _differences(found, wanted):
        (removed if isinstance(operation, Remove) else made).append(operation)
    if len(removed) > 1:
        gone = {operation.noun.key for operation in removed}
        removed = [operation for operation in removed if operation.noun.within not in gone]
        removed.sort(key=_rank, reverse=True)
    made.sort(key=_rank)
    return Plan((*removed, *made))


def _differences(found: Nouns, wanted: Nouns) -> Iterator[Operation]:
    for key, old in found.items():
        if key not in wanted:
            yield Remove(old)
    for key, noun in wanted.items():
        existing = found.get(key)
        if existing is None:
            yield Add(noun)
            continue
        different = noun.differences(existing)
        if different <= noun.changeable:
            if different:
                yield Change(noun, existing)
        else:
            yield Remove(existing)
            yield Add(noun)


def _rank(operation: Operation) -> int:
    return operation.noun.rank
