"""Where things are on the page: boxes and labels, in pixels, measured before they are drawn.

Labels are in a monospaced font, whose characters are 0.6 of its size wide: that is how the
layout knows what fits without a browser.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .picture import Host, Nic

_ADVANCE = 0.62
"""The width of a character by the font's size; 0.60 to 0.602 in common fonts, and a reserve."""

SMALL, LARGE = 11, 13
"""The sizes of fonts."""

NIC_HEIGHT, _NIC_PAD = 20, 6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its upper left corner, width and height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def overlaps(self, other: Box) -> bool:
        """Whether they have more than an edge in common."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether the other is inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def moved(self, x: int, y: int) -> Box:
        return Box(self.x + x, self.y + y, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Label:
    """A text at the left end of its base line; ``style`` is a class of the style sheet."""

    x: int
    y: int
    text: str
    size: int = SMALL
    style: str = ""

    @property
    def box(self) -> Box:
        """The most room that it takes."""
        return Box(self.x, self.y - self.size, text_width(self.text, self.size), self.size + 3)

    def moved(self, x: int, y: int) -> Label:
        return Label(self.x + x, self.y + y, self.text, self.size, self.style)


@dataclass(frozen=True, slots=True)
class Chip:
    """A VNIC: its box, and the part of its name and of its address that there is room for."""

    box: Box
    nic: Nic
    name: str
    address: str

    @property
    def label(self) -> Label:
        text = f"{self.name} {self.address}".rstrip()
        return Label(self.box.x + _NIC_PAD, self.box.y + 14, text)

    def moved(self, x: int, y: int) -> Chip:
        return Chip(self.box.moved(x, y), self.nic, self.name, self.address)


@dataclass(frozen=True, slots=True)
class Segment:
    """A bridge of a card."""

    id: str
    tenant: str
    network: str
    box: Box
    labels: tuple[Label, ...]
    chips: tuple[Chip, ...] = ()

    def moved(self, x: int, y: int) -> Segment:
        return Segment(
            self.id,
            self.tenant,
            self.network,
            self.box.moved(x, y),
            tuple(label.moved(x, y) for label in self.labels),
            tuple(chip.moved(x, y) for chip in self.chips),
        )


@dataclass(frozen=True, slots=True)
class Card:
    """A host, a concentrator or what is elsewhere.  ``marks`` are spots in tenants' colours."""

    host: Host
    box: Box
    labels: tuple[Label, ...]
    segments: tuple[Segment, ...] = ()
    marks: tuple[tuple[str, Box], ...] = field(default=())

    def moved(self, x: int, y: int) -> Card:
        return Card(
            self.host,
            self.box.moved(x, y),
            tuple(label.moved(x, y) for label in self.labels),
            tuple(segment.moved(x, y) for segment in self.segments),
            tuple((tenant, box.moved(x, y)) for tenant, box in self.marks),
        )


def text_width(text: str, size: int) -> int:
    """Pixels that a text takes at most.  Wide characters of Asian scripts count twice."""
    columns = len(text)
    if not text.isascii():
        columns += sum(ord(one) > 0x2E7F for one in text)
    return int(columns * size * _ADVANCE) + 1


def cut(text: str, width: int, size: int = SMALL) -> str:
    """The text, or its beginning and an ellipsis where it is wider than ``width`` pixels."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…" if text else ""


def line(box: Box, y: int, left: str, right: str, size: int = SMALL) -> tuple[Label, ...]:
    """A line of a box: a name, and after it as much of what is known of it as there is room for.

    ``y`` is that of the base line.
    """
    name = cut(left, box.width, size)
    labels = [Label(box.x, y, name, size, "name")]
    room = box.width - labels[0].box.width - SMALL
    rest = cut(right, room)
    if len(rest) > 3:
        labels.append(Label(box.right - text_width(rest, SMALL), y, rest, SMALL, "fact"))
    return tuple(labels)


def chip(nic: Nic, x: int, y: int, width: int, *, addresses: bool) -> Chip:
    """A chip at a place, at most so wide."""
    room = width - 2 * _NIC_PAD
    name = cut(nic.name, room)
    used = text_width(f"{name} ", SMALL)
    address = cut(nic.addresses[0], room - used) if addresses and nic.addresses else ""
    if address != (nic.addresses[:1] or ("",))[0]:
        address = ""  # a part of an address says nothing
    wide = text_width(f"{name} {address}".rstrip(), SMALL) + 2 * _NIC_PAD
    return Chip(Box(x, y, wide, NIC_HEIGHT), nic, name, address)
