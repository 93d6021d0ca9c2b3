"""Where tunnels run: out of a bridge to the right, along its column, and in the rows between.

The lanes are wires of a loom: those of one network keep to the same lane, and networks share
lanes only where there are more of them than there is room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .boxes import Box, Card
from .picture import Tunnel

LANE = 4
"""Pixels from one lane to the next."""

Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wire:
    """A tunnel in place: lines through points, with round corners.  ``cards`` are its ends'."""

    tunnel: Tunnel
    lines: tuple[tuple[Point, ...], ...]
    cards: tuple[int, ...]


def route(
    tunnels: Iterable[Tunnel], cards: Sequence[Card], rows: range, gutter: int
) -> Iterable[Wire]:
    """Run tunnels between cards; ``rows`` are the lanes between the two bands of cards."""
    ends: dict[str, tuple[int, Box]] = {}
    for index, card in enumerate(cards):
        ends[card.host.id] = (index, Box(card.box.x, card.box.y + 12, card.box.width, 0))
        for bridge in card.host.bridges:
            ends[bridge.id] = ends[card.host.id]
        for segment in card.segments:
            middle = segment.box.y + 11
            ends[segment.id] = (index, Box(segment.box.x, middle, segment.box.width, 0))
    lanes: dict[tuple[str, str], int] = {}
    wires = []
    for tunnel in tunnels:
        lane = lanes.setdefault((tunnel.tenant, tunnel.network), len(lanes))
        y = rows[lane % len(rows)]
        places = [ends[end] for end in tunnel.ends]
        turns = []
        for index, box in places:
            x = cards[index].box.right + 6 + lane * LANE % (gutter - 10)
            turns.append((box.right, box.y, x))
        turns.sort(key=lambda turn: turn[2])
        first, *others = turns
        lines = tuple(
            tuple(_line((first[0], first[1]), (first[2], y), (other[2], y), (other[0], other[1])))
            for other in others
        )
        wires.append(Wire(tunnel, lines, tuple(index for index, _ in places)))
    return wires


def _line(start: Point, first: Point, second: Point, end: Point) -> Iterable[Point]:
    """From one bridge to another: right, along the column, across, along the column, left."""
    yield start
    yield (first[0], start[1])
    if first[0] != second[0]:
        yield first
        yield second
    yield (second[0], end[1])
    yield end
