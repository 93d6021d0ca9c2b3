"""The planner: which operations lead from what was found to what is wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import attrgetter

from snnet.contract import (
    Add,
    Address,
    Change,
    Key,
    Namespace,
    Neighbour,
    Noun,
    Nouns,
    Operation,
    Plan,
    Remove,
    Route,
    Veth,
)

_rank = attrgetter("noun.rank")
"""The rank of an operation's noun."""


def plan(found: Nouns, wanted: Nouns, broken: Collection[Key] = ()) -> Plan:
    """Return the operations that turn ``found`` into ``wanted``, in a safe order.

    Both must have the same scope: what is found and not wanted is removed.  Removals
    come first, dependents before what they depend on; then changes and additions in
    the opposite order.  If everything is removed, an object that the kernel removes
    with its link needs no operation.  In other plans everything that would be lost on
    the way is removed by an operation, so that a rollback restores it.  What is found and
    ``broken`` is replaced although it looks as wanted.  If nothing differs, the plan is empty.
    """
    if not wanted:
        gone = [Remove(old) for old in found.values() if old.within not in found]
        gone.sort(key=_rank, reverse=True)
        return Plan(tuple(gone))
    if not found:  # most plans only add
        return _adding(wanted.values())
    removed: list[Operation] = [Remove(old) for key, old in found.items() if key not in wanted]
    made: list[Operation] = []
    different: dict[Key, frozenset[str]] = {}
    stranded = {key for key in broken if key in found and key in wanted}
    for key, noun in wanted.items():
        if (old := found.get(key)) is None:
            if type(noun) is Namespace:
                stranded |= _stranded(noun, wanted, found)
        # Most are equal, and that is the cheapest to find out.
        elif not noun.is_like(old) and (names := noun.differences(old)):
            different[key] = names
    if not removed and not stranded and not different:
        return _adding(noun for key, noun in wanted.items() if key not in found)
    replaced = {key for key, names in different.items() if not names <= wanted[key].changeable}
    replaced |= stranded
    # A link whose MAC changes loses its neighbours (neigh_changeaddr, net/core/neighbour.c).
    moved = {key for key, names in different.items() if "mac" in names}
    # A link that loses its last IPv4 address loses its routes and neighbours, whether the plan
    # or its rollback removes the address (fib_disable_ip, net/ipv4/fib_frontend.c).
    readdressed = {
        noun.within
        for key, noun in (*found.items(), *wanted.items())
        if isinstance(noun, Address) and (key in found) != (key in wanted)
    }
    for key, noun in wanted.items():
        if key not in found:
            made.append(Add(noun))
        elif (
            key in replaced
            or noun.within in replaced
            or (noun.within in moved and isinstance(noun, Neighbour))
            or (noun.within in readdressed and isinstance(noun, (Neighbour, Route)))
        ):
            removed.append(Remove(found[key]))
            made.append(Add(noun))
        elif key in different:
            made.append(Change(noun, found[key]))
    removed.sort(key=_rank, reverse=True)
    made.sort(key=_rank)
    return Plan((*removed, *made))


def _adding(nouns: Iterable[Noun]) -> Plan:
    added = [Add(noun) for noun in nouns]
    added.sort(key=_rank)
    return Plan(tuple(added))


def _stranded(gone: Namespace, wanted: Nouns, found: Nouns) -> set[Key]:
    """Return the veths whose other end is in a namespace that has lost this name.

    A process can keep such a namespace, and that end with it.
    """
    return {
        key
        for key, noun in wanted.items()
        if isinstance(noun, Veth) and noun.peer_namespace == gone.name and key in found
    }


def recalled(found: Nouns, known: Iterable[Noun]) -> dict[Key, Noun]:
    """What is found, in the words of what is known where the two agree.

    A host does not show all that a noun says, the MAC of a far end for example; only
    the noun as it is known can be added again as it was.
    """
    nouns = dict(found)
    for noun in known:
        there = found.get(noun.key)
        if there is not None and there is not noun and not noun.differences(there):
            nouns[noun.key] = noun
    return nouns
