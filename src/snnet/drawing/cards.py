"""How a card looks: at one of four levels of detail, so wide, and as high as it needs."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from .boxes import LARGE, NIC_HEIGHT, SMALL, Box, Card, Chip, Label, Segment, chip, cut, line
from .picture import Bridge, Host, Nic

_PAD, _GAP = 10, 6
_TITLE, _HEADER = 24, 20
_MARK = 6


class Level(enum.IntEnum):
    """How much of a host is shown."""

    FULL = 0
    """Networks, VNICs, their addresses."""
    NAMES = 1
    """Networks and VNICs."""
    COUNTS = 2
    """Networks, and how many VNICs each has."""
    CLOSED = 3
    """How many networks and VNICs there are."""


def card(host: Host, width: int, level: Level, most: int | None = None) -> Card:
    """The card of a host at 0, 0.  ``most`` is how many VNICs of a bridge are shown."""
    inner = Box(_PAD, 0, width - 2 * _PAD, 0)
    labels = line(inner, 18, host.title, "  ".join(host.facts), LARGE)
    if level is Level.CLOSED:
        return _closed(host, width, inner, labels[:1])
    if len(labels) == 1 and host.facts:
        labels += (Label(_PAD, 34, cut(host.facts[0], inner.width), SMALL, "fact"),)
    y = _TITLE + (16 if labels[-1].y > 18 else 4)
    segments = []
    for bridge in host.bridges:
        made = _segment(bridge, inner.width, level, most).moved(_PAD, y)
        segments.append(made)
        y = made.box.bottom + _GAP
    height = y + (_PAD - _GAP if segments else 0)
    return Card(host, Box(0, 0, width, height), labels, tuple(segments))


def _closed(host: Host, width: int, inner: Box, labels: tuple[Label, ...]) -> Card:
    counts = host.counts or "  ".join(host.facts)
    short = counts.replace(" networks", " nets").replace(" network", " net")
    text = counts if cut(counts, inner.width) == counts else cut(short, inner.width)
    tenants = sorted({bridge.tenant for bridge in host.bridges})
    room = (inner.width + 2) // (_MARK + 2)
    marks = tuple(
        (tenant, Box(_PAD + index * (_MARK + 2), 40, _MARK, _MARK))
        for index, tenant in enumerate(tenants[:room])
    )
    shown = (Label(_PAD, 33, text, SMALL, "fact"),) if text else ()
    return Card(host, Box(0, 0, width, 52), (*labels, *shown), (), marks)


def _segment(bridge: Bridge, width: int, level: Level, most: int | None) -> Segment:
    inner = Box(8, 0, width - 16, 0)
    count = len(bridge.nics)
    first = bridge.facts[0] if bridge.facts else ""
    if level is Level.COUNTS:
        right = f"{count} VNIC{'' if count == 1 else 's'}" if count else first
        labels = line(inner, 15, bridge.network, right)
        return Segment(
            bridge.id, bridge.tenant, bridge.network, Box(0, 0, width, _HEADER + 2), labels
        )
    facts = "  ".join(bridge.facts) if level is Level.FULL else first
    if cut(facts, inner.width - len(bridge.network) * SMALL) != facts:
        facts = first
    labels = line(inner, 15, bridge.network, facts)
    shown = bridge.nics[:most]
    chips = list(_chips(shown, inner, level))
    bottom = chips[-1].box.bottom + 6 if chips else _HEADER + 2
    if len(shown) < count:
        labels += (Label(8, bottom + 10, f"and {count - len(shown)} more", SMALL, "fact"),)
        bottom += 18
    box = Box(0, 0, width, bottom)
    return Segment(bridge.id, bridge.tenant, bridge.network, box, labels, tuple(chips))


def _chips(nics: Iterable[Nic], inner: Box, level: Level) -> Iterable[Chip]:
    """The chips of a bridge, from left to right, in as many rows as they need."""
    x, y = inner.x, _HEADER + 2
    for nic in nics:
        made = chip(nic, x, y, inner.width, addresses=level is Level.FULL)
        if made.box.right > inner.right and x > inner.x:
            x, y = inner.x, y + NIC_HEIGHT + 4
            made = chip(nic, x, y, inner.width, addresses=level is Level.FULL)
        yield made
        x = made.box.right + 4
