"""Writes a picture as one SVG or HTML page that needs nothing else: no library, no request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from xml.sax.saxutils import escape

from .boxes import Box, Card, Label, Segment
from .cards import Level
from .layout import HEIGHT, WIDTH, Layout, lay_out
from .picture import Picture
from .wires import Point, Wire

BYTES_MAX = 950_000
"""What a page may weigh.  Where it would be more, bridges list fewer of their VNICs."""

_LIMITS = (None, 200, 100, 50, 25, 10, 5, 2, 0)
"""How many VNICs of a bridge are listed, the first that fits."""

_ROUND = 10
"""The radius of corners, in pixels."""


def to_svg(picture: Picture) -> str:
    """The picture as an SVG document, which browsers also let one point at and click."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_fitting(picture)}'


def to_html(picture: Picture) -> str:
    """The picture as an HTML page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{escape(picture.title)}</title></head>\n"
        f"<body>\n{_fitting(picture)}</body></html>\n"
    )


def _fitting(picture: Picture) -> str:
    """The SVG element, with as many VNICs as a page may weigh."""
    for most in _LIMITS:
        layout = lay_out(picture, most)
        for notes in (True, False):
            text = "".join(_Page(layout, notes).lines())
            if len(text.encode()) <= BYTES_MAX:
                return text
    return text


class _Page:
    """Writes one layout; ``notes`` says whether chips explain themselves when pointed at."""

    def __init__(self, layout: Layout, notes: bool) -> None:
        self._layout = layout
        self._notes = notes
        picture = layout.picture
        self._tenants = {name: index for index, name in enumerate(picture.tenants)}
        self._networks = {id: index for index, id in enumerate(picture.networks)}

    def lines(self) -> Iterator[str]:
        layout = self._layout
        words = ["one"] if layout.height <= HEIGHT else []
        words += ["many"] if layout.level is Level.CLOSED else []
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {layout.height}" '
            f'width="{WIDTH}" height="{layout.height}" class="{" ".join(words)}">\n'
            f"<title>{escape(layout.picture.title)}</title>\n"
            f"<style>{_file('page.css')}{''.join(self._colours())}</style>\n"
        )
        yield from map(_label, layout.labels)
        for tenant, box, label in layout.legend:
            yield f'<g class="key {self._tenant(tenant)}">{_rect(box)}{_label(label)}</g>\n'
        for index, card in enumerate(layout.cards):
            yield from self._card(
                card, f"h{index}", opens=bool(layout.panels and card.host.bridges)
            )
        yield from map(self._wire, layout.wires)
        yield f'<rect id="shade" width="{WIDTH}" height="100%"/>\n'
        for index, panel in enumerate(layout.panels):
            if panel.host.bridges:
                yield f'<g id="p{index}" class="panel" data-height="{panel.box.height}">\n'
                yield from self._card(panel, "", opens=False)
                yield "</g>\n"
        yield f"<script>//<![CDATA[\n{_file('page.js')}//]]></script>\n</svg>\n"

    def _colours(self) -> Iterator[str]:
        """A hue for each tenant: neighbours in the list are far apart on the circle."""
        for index in self._tenants.values():
            yield f".t{index}{{--h:{(212 + index * 137.508) % 360:.0f}}}\n"

    def _tenant(self, name: str) -> str:
        return f"t{self._tenants[name]}" if name else "t"

    def _card(self, card: Card, name: str, *, opens: bool) -> Iterator[str]:
        host = card.host
        networks = {self._networks[item.tenant, item.network] for item in host.bridges}
        tenants = {self._tenant(item.tenant) for item in host.bridges}
        words = ["card", host.kind, *filter(None, [name])]
        if not card.segments and name:
            words += [f"n{index}" for index in sorted(networks)] + sorted(tenants)
        button = ' tabindex="0" role="button"' if opens else ""
        yield f'<g class="{" ".join(words)}"{button}>{_rect(card.box)}'
        if name:  # a panel has room for what it says
            yield _note([host.title, *host.facts, host.counts])
        yield from map(_label, card.labels)
        for tenant, box in card.marks:
            yield f'<g class="mark {self._tenant(tenant)}">{_rect(box)}</g>'
        yield "\n"
        for segment in card.segments:
            yield from self._segment(segment, card, note=bool(name))
        yield "</g>\n"

    def _segment(self, segment: Segment, card: Card, *, note: bool) -> Iterator[str]:
        bridge = next(item for item in card.host.bridges if item.id == segment.id)
        network = self._networks[segment.tenant, segment.network]
        yield f'<g class="seg n{network} {self._tenant(segment.tenant)}">{_rect(segment.box)}'
        if note:
            yield _note([f"{segment.tenant}/{segment.network}", *bridge.facts])
        yield from map(_label, segment.labels)
        for chip in segment.chips:
            address = f" <tspan>{escape(chip.address)}</tspan>" if chip.address else ""
            label, box = chip.label, chip.box
            yield f'<g><rect x="{box.x}" y="{box.y}" width="{box.width}"/>'
            if self._notes:
                yield _note([chip.nic.name, *chip.nic.addresses, *chip.nic.notes])
            yield f'<text x="{label.x}" y="{label.y}">{escape(chip.name)}{address}</text></g>'
        yield "</g>\n"

    def _wire(self, wire: Wire) -> str:
        tunnel = wire.tunnel
        network = self._networks[tunnel.tenant, tunnel.network]
        words = ["wire", f"n{network}", self._tenant(tunnel.tenant)]
        words += [f"h{index}" for index in dict.fromkeys(wire.cards)]
        drawn = "".join(_curve(points) for points in wire.lines)
        note = _note([tunnel.label, f"{tunnel.tenant}/{tunnel.network}"])
        return f'<path class="{" ".join(words)}" d="{drawn}">{note}</path>\n'


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _rect(box: Box) -> str:
    return f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"/>'


def _label(label: Label) -> str:
    words = [f"s{label.size}", *filter(None, [label.style])]
    return (
        f'<text x="{label.x}" y="{label.y}" class="{" ".join(words)}">{escape(label.text)}</text>'
    )


def _note(lines: Iterable[str]) -> str:
    """What is shown when one points at it."""
    return f"<title>{escape(chr(10).join(filter(None, lines)))}</title>"


def _curve(points: Sequence[Point]) -> str:
    """A line through points, with round corners, as a path."""
    drawn = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        drawn.append(f"L{start[0]} {start[1]}Q{corner[0]} {corner[1]} {end[0]} {end[1]}")
    return "".join((*drawn, f"L{points[-1][0]} {points[-1][1]}"))


def _towards(corner: Point, other: Point) -> Point:
    """The point on the way to the other at which the corner begins."""
    away = [there - here for here, there in zip(corner, other, strict=True)]
    step = [max(-_ROUND, min(_ROUND, int(way / 2))) for way in away]
    return (corner[0] + step[0], corner[1] + step[1])
