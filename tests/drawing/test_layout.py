"""Where things are on a page, without a browser: nothing overlaps, at any size."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snnet.drawing.boxes import Box, Card, text_width
from snnet.drawing.cards import Level
from snnet.drawing.layout import HEIGHT, WIDTH, Layout, lay_out
from snnet.drawing.picture import CONCENTRATOR, HOST, Bridge, Host, Nic, Picture, Tunnel, joined
from snnet.drawing.svg import BYTES_MAX, to_html, to_svg

from .samples import data_centre

_IDS = st.text("abWM.-_0é漢", min_size=1, max_size=64)
_NICS = st.lists(st.builds(Nic, _IDS, st.just(("10.1.0.9",)) | st.just(("fd00:1::a:b:c:d",))),
                 max_size=9)  # fmt: skip


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Any hosts with any networks, and tunnels between any two of them."""
    hosts = []
    for index in range(draw(st.integers(0, 12))):
        bridges = tuple(
            Bridge(f"{index}/{number}", draw(st.sampled_from(["a", "b" * 64, "c"])), draw(_IDS),
                   ("10.1.0.0/24", "key 7"), tuple(draw(_NICS)))
            for number in range(draw(st.integers(0, 4)))
        )  # fmt: skip
        kind = draw(st.sampled_from([HOST, CONCENTRATOR]))
        hosts.append(Host(str(index), draw(_IDS), kind, ("192.0.2.1",), bridges))
    ends = [host.id for host in hosts] + [item.id for host in hosts for item in host.bridges]
    tunnels = [
        Tunnel("a", draw(_IDS), (draw(st.sampled_from(ends)), draw(st.sampled_from([*ends, "?"]))))
        for _ in range(draw(st.integers(0, 8)) if ends else 0)
    ]
    return joined("any", hosts, [item for item in tunnels if item.ends[0] != item.ends[1]])


def check(layout: Layout) -> None:
    """No two boxes overlap, labels keep inside of theirs, and tunnels go around cards."""
    page = Box(0, 0, WIDTH, layout.height)
    heads = [label.box for label in layout.labels]
    heads += [box for _, box, _ in layout.legend] + [label.box for *_, label in layout.legend]
    _apart(page, [*heads, *(card.box for card in layout.cards)])
    for card in (*layout.cards, *layout.panels):
        _check_card(card)
    for wire in layout.wires:
        for line in wire.lines:
            for start, end in itertools.pairwise(line[1:-1]):
                box = _segment(start, end)
                assert page.holds(box)
                assert not any(box.overlaps(card.box) for card in layout.cards)


def _check_card(card: Card) -> None:
    _apart(card.box, [*(label.box for label in card.labels), *(box for _, box in card.marks),
                      *(segment.box for segment in card.segments)])  # fmt: skip
    for segment in card.segments:
        _apart(segment.box, [*(label.box for label in segment.labels),
                             *(chip.box for chip in segment.chips)])  # fmt: skip
        for chip in segment.chips:
            assert chip.box.holds(chip.label.box)


def _apart(outer: Box, boxes: list[Box]) -> None:
    for box in boxes:
        assert outer.holds(box), (outer, box)
    ordered = sorted(boxes, key=lambda box: box.y)
    for index, box in enumerate(ordered):
        for other in itertools.takewhile(lambda other: other.y < box.bottom, ordered[index + 1 :]):  # noqa: B023
            assert not box.overlaps(other), (box, other)


def _segment(start: tuple[int, int], end: tuple[int, int]) -> Box:
    left, top = min(start[0], end[0]), min(start[1], end[1])
    return Box(left, top, abs(start[0] - end[0]) or 1, abs(start[1] - end[1]) or 1)


@settings(suppress_health_check=[HealthCheck.too_slow])  # large pictures
@given(pictures())
def test_nothing_overlaps_in_any_picture(picture: Picture) -> None:
    check(lay_out(picture))


@pytest.mark.parametrize("nics", [*range(8), 20])
def test_tunnels_between_concentrators_alone_stay_on_the_page(nics: int) -> None:
    """Nothing is below them; cards of any height."""
    for bridges in range(1, 25):
        hosts = [
            Host(str(index), "c", CONCENTRATOR, ("192.0.2.1",), tuple(
                Bridge(f"{index}/{number}", "a", "n", ("10.1.0.0/24",),
                       (Nic("v", ("10.1.0.9",)),) * nics)
                for number in range(bridges)
            ))
            for index in range(2)
        ]  # fmt: skip
        tunnels = [Tunnel("a", str(number), ("0", "1")) for number in range(8)]
        check(lay_out(joined("any", hosts, tunnels)))


@pytest.mark.parametrize("hosts", [0, 1, 3, 10, 30, 200])
@pytest.mark.parametrize("tenants", [1, 3, 40])
def test_nothing_overlaps_at_any_size(hosts: int, tenants: int) -> None:
    check(lay_out(data_centre(hosts, tenants)))


def test_ten_hosts_need_no_scrolling() -> None:
    """Each shows its networks and VNICs by name; a smaller picture shows addresses too."""
    ten = lay_out(data_centre(10))
    assert (ten.level, ten.height) == (Level.NAMES, HEIGHT)
    assert sum(len(item.chips) for card in ten.cards for item in card.segments) == 10 * 3 * 4
    assert lay_out(data_centre(1)).level is Level.FULL
    assert lay_out(data_centre(10, nics=40)).height == HEIGHT


def test_many_hosts_have_a_card_each() -> None:
    layout = lay_out(data_centre(200, 20))
    assert layout.level is Level.CLOSED
    counts = [label.text for card in layout.cards for label in card.labels]
    assert counts.count("3 nets, 12 VNICs") == 200
    assert len(layout.panels) == len(layout.cards) == 220


def test_the_same_lane_for_a_network() -> None:
    """Tunnels of one network meet, and those of others run beside them."""
    layout = lay_out(data_centre(3))
    rows: dict[str, set[int]] = {}
    for wire in layout.wires:
        rows.setdefault(wire.tunnel.tenant, set()).add(wire.lines[0][2][1])
    assert all(len(found) == 1 for found in rows.values())
    assert len(set.union(*rows.values())) == 3


@pytest.mark.parametrize("nics", [0, 1, 30])
def test_a_network_that_nothing_is_known_of_has_a_place_at_every_size(nics: int) -> None:
    """The ports of an uplink: nobody says which addresses it has."""
    named = tuple(Nic(f"port-{number}", (f"192.0.2.{number}",)) for number in range(nics))
    bare = [
        Host(f"h{number}", f"h{number}", HOST, ("192.0.2.1",),
             (Bridge(f"h{number}/uplink", "a", "uplink", (), named),))
        for number in range(12)
    ]  # fmt: skip
    for count in (1, 4, 12):
        check(lay_out(joined("cluster", bare[:count], [])))


@pytest.mark.parametrize("nics", [8, 40, 100])
def test_pages_are_small(nics: int) -> None:
    """With 200 hosts, and however many VNICs: what is left out is counted."""
    page = to_html(data_centre(200, 20, nics))
    assert len(page.encode()) < BYTES_MAX + 1000
    assert ("more</text>" in page.replace("and 7 more</text>", "")) is (nics > 8)


def test_pages_need_nothing_else() -> None:
    page, drawing = to_html(data_centre(2)), to_svg(data_centre(2))
    for text in (page, drawing):
        rest = text.replace("http://www.w3.org/2000/svg", "")
        assert not any(word in rest for word in ("http:", "https:", "url(", "@import", "src="))
    assert "default-src 'none'" in page
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"


def test_names_are_text_and_nothing_else() -> None:
    """An alias that somebody else wrote runs nothing in the page."""
    evil = "</title><script>alert(1)</script>&\"'"
    bridge = Bridge("b", evil, evil, (evil,), (Nic(evil, (evil,), (evil,)),))
    hosts = [Host("h", evil, HOST, (evil,), (bridge,))]
    picture = joined(evil, hosts, [Tunnel(evil, evil, ("b", evil), evil)])
    assert to_html(picture).count("<script>") == 1
    ElementTree.fromstring(to_svg(picture))


def test_what_is_elsewhere_has_a_card() -> None:
    tunnel = Tunnel("t", "n", ("b", "192.0.2.9"), "vxlan")
    picture = joined("one", [Host("h", "cn-1", bridges=(Bridge("b", "t", "n"),))], [tunnel, tunnel])
    assert [(host.title, host.kind) for host in picture.hosts] == [
        ("cn-1", "host"),
        ("192.0.2.9", "elsewhere"),
    ]
    assert picture.tunnels == (tunnel,)


def test_wide_characters_take_two_columns() -> None:
    assert text_width("漢", 11) == text_width("ab", 11)
