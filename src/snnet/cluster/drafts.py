"""Read, decide, commit: how every change of the registry is made.

Drafts are made by pure functions from a reading.  The commit expects that what
the decision rests on is as it was read; otherwise all is read and decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from snnet.contract import Conflict, Reading, Registry, Stale
from snnet.contract.registries import Write

from .documents import Wanted, text

W = TypeVar("W", bound=Wanted)
T = TypeVar("T")

_ATTEMPTS = 50
"""Each failed attempt means that another client committed, so that somebody makes progress."""


@dataclass(slots=True)
class Draft(Generic[T]):
    """What to write, under which conditions (key to revision, 0 for none), and the result."""

    result: T
    writes: list[Write] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)
    is_all: bool = True
    """False: the change is too much for one commit, and this is a part that goes first."""


def carry_out(
    registry: Registry, decide: Callable[[], Draft[W]], stale: Callable[[], None] = lambda: None
) -> W:
    """Decide and commit, see :func:`committed`; return the object that was decided on.

    It has the revision of the commit, or is as decided if nothing had to be written.
    """
    draft, revision = committed(registry, decide, stale)
    return draft.result if revision is None else _written(draft.result, revision)


def committed(
    registry: Registry, decide: Callable[[], Draft[T]], stale: Callable[[], None] = lambda: None
) -> tuple[Draft[T], int | None]:
    """Decide on what ``decide`` reads, and commit, until the commit is not stale.

    Return the draft and the revision of the commit, None if nothing had to be written.
    ``stale`` is called before another attempt.
    """
    expected: dict[str, int] = {}
    attempts = 0
    while attempts < _ATTEMPTS:
        attempts += 1
        draft = decide()
        if not draft.writes:
            return draft, None
        try:
            revision = registry.commit(draft.writes, draft.expected)
        except Stale:
            stale()
        else:
            if draft.is_all:
                return draft, revision
            attempts = 0
        expected = draft.expected
    raise _never_fits(registry, expected)


def _never_fits(registry: Registry, expected: Mapping[str, int]) -> Conflict:
    """The error of a commit that was stale each time, most recently with these conditions.

    Others change the registry, or a document stands there without the object that owns it.
    """
    now = seen(registry.read(*expected), expected)
    odd = [key for key, revision in expected.items() if now[key] and not revision]
    left = f", or {' and '.join(odd)} is left of an object that is gone: delete it" if odd else ""
    return Conflict(f"other clients keep changing the same objects: try again{left}")


def _written(result: W, revision: int) -> W:
    """The object with the revision of its commit; its fields were checked before."""
    found = copy(result)
    object.__setattr__(found, "revision", revision)
    return found


def seen(reading: Reading, keys: Iterable[str]) -> dict[str, int]:
    """The revisions of these keys as they were read, 0 for what is not there."""
    return {key: entry.revision if (entry := reading.entries.get(key)) else 0 for key in keys}


def check_same(old: Wanted, new: Wanted, given: Iterable[str]) -> None:
    """Raise Conflict for the first field of ``given`` in which the two differ."""
    for name in sorted(given):
        was, wanted = getattr(old, name), getattr(new, name)
        if was != wanted and new.gives(name):
            way = "" if name in old.fixed else "update it ('snnet apply' does), or "
            raise Conflict(
                f"{old.title} is there already, and its {name} is {text(was)}, not "
                f"{text(wanted)}: {way}delete it first"
            )
