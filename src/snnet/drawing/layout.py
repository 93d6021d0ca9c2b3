"""Puts the cards of a picture on a page, as open as there is room for.

Concentrators, and what is elsewhere, are above; hosts are below.  Between the two, and to the
right of each column of cards, there is room for tunnels: none of them crosses a card.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .boxes import LARGE, SMALL, Box, Card, Label, cut
from .cards import Level, card
from .picture import HOST, Host, Picture
from .wires import LANE, Wire, route

WIDTH, HEIGHT = 1280, 800
"""The page, and how high it is before one must scroll."""

_MARGIN = 16
_HEAD = 64
_PANEL = 1000
_NARROW = {Level.FULL: 200, Level.NAMES: 180, Level.COUNTS: 150, Level.CLOSED: 132}
_WIDEST = 420
_ROW = 12
_LANES = 12
"""How many tunnels run side by side at most; more share a lane."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A page: all of it in place.

    ``panels`` are the cards with all that they have, one for each of ``cards`` if those
    show less; they are shown one at a time, above the rest.
    """

    picture: Picture
    level: Level
    height: int
    labels: tuple[Label, ...]
    legend: tuple[tuple[str, Box, Label], ...]
    cards: tuple[Card, ...]
    wires: tuple[Wire, ...]
    panels: tuple[Card, ...]


def lay_out(picture: Picture, most: int | None = None) -> Layout:
    """Lay out a picture.  ``most`` is how many VNICs of a bridge are shown, None for all."""
    labels, legend, top = _head(picture)
    level, cards, channel = _fitting(picture, top, most)
    bottom = _lowest(cards, channel, top) + _MARGIN
    wires = route(picture.tunnels, cards, channel, _gutter(level))
    panels: tuple[Card, ...] = ()
    if level is not Level.FULL:
        panels = tuple(card(item.host, _PANEL, Level.FULL, most) for item in cards)
    return Layout(
        picture, level, max(bottom, HEIGHT), labels, legend, tuple(cards), tuple(wires), panels
    )


def _fitting(picture: Picture, top: int, most: int | None) -> tuple[Level, list[Card], range]:
    """The most open cards that need no scrolling, else closed ones; and the rows for tunnels."""
    lowest = HEIGHT - _MARGIN
    for level in Level:
        for columns in range(1, _columns(level) + 1):
            cards, rows = _cards(picture, level, columns, top, most, lowest)
            if _lowest(cards, rows, top) <= lowest:
                return level, cards, rows
    return level, *_cards(picture, level, columns, top, most, sys.maxsize)


def _lowest(cards: Sequence[Card], rows: range, top: int) -> int:
    """Where the last of cards and tunnels ends: tunnels are last where there are no hosts."""
    last = max((item.box.bottom for item in cards), default=top)
    return max(last, rows[-1]) if rows else last


def _head(picture: Picture) -> tuple[tuple[Label, ...], tuple[tuple[str, Box, Label], ...], int]:
    """Title, counts and the tenants' colours; and where the rest begins."""
    title = Label(_MARGIN, 26, picture.title[:60], LARGE + 3, "name")
    counts = Label(title.box.right + 16, 26, picture.counts, SMALL, "fact")
    x = _MARGIN
    legend: list[tuple[str, Box, Label]] = []
    for tenant in picture.tenants:
        label = Label(x + 16, 48, cut(tenant, 240), SMALL)
        if label.box.right > WIDTH - _MARGIN - 100:
            rest = Label(x, 48, f"and {len(picture.tenants) - len(legend)} more", SMALL, "fact")
            return (title, counts, rest), tuple(legend), _HEAD
        legend.append((tenant, Box(x, 39, 10, 10), label))
        x = label.box.right + 14
    return (title, counts), tuple(legend), _HEAD if legend else _HEAD - 24


def _columns(level: Level) -> int:
    """How many columns of cards there is room for."""
    return (WIDTH - 2 * _MARGIN) // (_NARROW[level] + _gutter(level))


def _gutter(level: Level) -> int:
    """The room for tunnels to the right of each column."""
    return 20 if level is Level.CLOSED else 28


def _cards(
    picture: Picture, level: Level, columns: int, top: int, most: int | None, lowest: int
) -> tuple[list[Card], range]:
    """The cards in place, and the rows between the two bands in which tunnels run."""
    upper = [host for host in picture.hosts if host.kind != HOST]
    lower = [host for host in picture.hosts if host.kind == HOST]
    cards = _band(upper, level, _columns(level), top, most, lowest)
    lanes = min(len({(item.tenant, item.network) for item in picture.tunnels}), _LANES)
    start = max((item.box.bottom + _ROW for item in cards), default=top)
    rows = range(start, start + lanes * LANE, LANE)
    below = rows.stop + _ROW if lanes else start
    return [*cards, *_band(lower, level, columns, below, most, lowest)], rows


def _band(
    hosts: Sequence[Host], level: Level, columns: int, top: int, most: int | None, lowest: int
) -> list[Card]:
    """Cards in columns of the same width; each goes where there is most room.

    There is no card after the first that ends below ``lowest``.
    """
    columns = max(1, min(columns, len(hosts)))
    gutter = _gutter(level)
    width = min((WIDTH - 2 * _MARGIN) // columns - gutter, _WIDEST)
    left = (WIDTH - columns * (width + gutter) + gutter) // 2
    ends = [top] * columns
    placed: list[Card] = []
    for host in hosts:
        column = ends.index(min(ends))
        made = card(host, width, level, most).moved(left + column * (width + gutter), ends[column])
        placed.append(made)
        if made.box.bottom > lowest:
            break
        ends[column] = made.box.bottom + _ROW
    return placed
