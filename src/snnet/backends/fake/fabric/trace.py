"""What came of a question, for programs: the way of the packet, and where it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from snnet.contract import IPAddress

from .walk import AN_ERROR, LINK_DOWN, NO_NEIGHBOUR, NOT_MINE, SAME_PORT, Doubt, Step, Walk


class Connection(NamedTuple):
    """A connection as the listener sees it: the listener's name, and the source address."""

    station: str
    source: IPAddress


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of a question and its answer, or of the question to where it was lost.

    ``reached`` are the stations that received the question.  ``answered``: an answer came back.
    ``doubts`` lie on this way, oldest first; ``ends`` are all other places where a copy of the
    packet, or a request that it waited for, was dropped.
    """

    steps: tuple[Step, ...]
    answered: bool
    reached: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    ends: tuple[Step, ...] = ()


def trace_of(asked: Walk, shown: Walk) -> Trace:
    """Return what came of a question that was asked twice, with the same result.

    The first time every host resolved its neighbours, which the second one leaves out.
    """
    reached = tuple(station.name for station in asked.reached)
    if asked.answer is not None:
        assert shown.answer is not None
        return Trace(tuple(shown.answer.path()), True, reached, _doubts(asked, asked.answer))
    ends = sorted(_ends(asked), key=_weight)
    if not ends:
        return Trace((), False, reached, ())
    last = max(_ends(shown), key=_weight, default=ends[-1])
    return Trace(tuple(last.path()), False, reached, _doubts(asked, ends[-1]), tuple(ends[:-1]))


def _ends(walk: Walk) -> list[Step]:
    """Return the drops, and the links that were down when a request came to them.

    If there are none, the packet went where nobody takes it.
    """
    ignored = walk.endings.ignored
    found = [*walk.endings.dropped, *(end for end in ignored if end.said == LINK_DOWN)]
    return found or [end for end in ignored if end.said in (NOT_MINE, SAME_PORT)]


def _weight(end: Step) -> tuple[int, int]:
    """The drop that says most is last: errors and requests without an answer follow another."""
    return _FOLLOWING.get(end.said, len(_FOLLOWING)), len(end.path())


_FOLLOWING = {NO_NEIGHBOUR: 0, LINK_DOWN: 1, AN_ERROR: 2}
"""What steps say that follow from a drop elsewhere."""


def _doubts(walk: Walk, last: Step) -> tuple[Doubt, ...]:
    return tuple(doubt for step in last.path() for doubt in walk.doubts.get(step, ()))
