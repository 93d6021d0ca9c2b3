"""The pages in a real browser: what overlaps, what pointing and clicking do, what it asks for.

Marked as ``kernel`` because ``make test-kernel`` installs Chromium.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snnet.drawing.svg import to_html, to_svg

from .browser import CHROMIUM, Browser
from .samples import data_centre

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

OVERLAPS = """
(() => {
  const seen = element => element.getClientRects().length &&
    getComputedStyle(element).display !== "none";
  const box = element => element.getBoundingClientRect();
  const scale = box(document.querySelector("svg")).width /
    document.querySelector("svg").viewBox.baseVal.width;
  const near = 0.5 * scale;
  const apart = (a, b) => a.right <= b.left + near || b.right <= a.left + near ||
    a.bottom <= b.top + near || b.bottom <= a.top + near;
  const inside = (a, b) => a.left >= b.left - near && a.right <= b.right + near &&
    a.top >= b.top - near && a.bottom <= b.bottom + near;
  const wrong = [];
  const check = (parent, elements) => {
    const boxes = elements.map(element => [element.textContent.slice(0, 40), box(element)]);
    boxes.sort((a, b) => a[1].top - b[1].top);
    for (let i = 0; i < boxes.length; i++) {
      if (parent && !inside(boxes[i][1], parent)) wrong.push(["outside", boxes[i][0]]);
      for (let j = i + 1; j < boxes.length && boxes[j][1].top < boxes[i][1].bottom; j++)
        if (!apart(boxes[i][1], boxes[j][1])) wrong.push([boxes[i][0], boxes[j][0]]);
    }
  };
  const root = document.querySelector(ROOT);
  const children = (element, selector) =>
    [...element.querySelectorAll(":scope > " + selector)].filter(seen);
  if (root.matches("svg"))
    check(null, [...children(root, "text"), ...children(root, ".key"), ...children(root, ".card")]);
  let labels = 0;
  for (const card of root.querySelectorAll(":scope > .card")) {
    const parts = ["text", ".seg", ".mark"].map(selector => children(card, selector));
    check(box(card.querySelector("rect")), parts.flat());
    for (const seg of card.querySelectorAll(".seg")) {
      const inner = [...children(seg, "text"), ...children(seg, "g")];
      labels += inner.length;
      check(box(seg.querySelector("rect")), inner);
      for (const chip of children(seg, "g"))
        check(box(chip.querySelector("rect")), children(chip, "text"));
    }
  }
  return {cards: root.querySelectorAll(":scope > .card").length, labels, wrong};
})()
"""
OPACITY = """
(selector => [...new Set([...document.querySelectorAll(selector)].filter(
  element => !element.closest(".panel")).map(
  element => getComputedStyle(element).opacity))].sort())
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def overlaps(browser: Browser, root: str = "svg") -> dict[str, Any]:
    found: dict[str, Any] = browser.run(OVERLAPS.replace("ROOT", f"'{root}'"))
    return found


def opacity(browser: Browser, selector: str) -> list[str]:
    """How much is seen of these, after the dimming."""
    browser.run("Promise.all(document.getAnimations().map(one => one.finished)).then(() => 0)")
    found: list[str] = browser.run(f"{OPACITY}('{selector}')")
    return found


def middle(browser: Browser, selector: str) -> tuple[float, float]:
    """The middle of an element, on the screen."""
    x, y = browser.run(
        f"(box => [box.left + box.width / 2, box.top + box.height / 2])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )
    return x, y


@pytest.mark.parametrize("size", [(900, 600), (1280, 800), (1920, 1080)])
@pytest.mark.parametrize("dark", [False, True])
def test_ten_hosts(browser: Browser, tmp_path: Path, size: tuple[int, int], dark: bool) -> None:
    """All of it is on the screen, nothing overlaps, and text is told from its background."""
    page = tmp_path / "page.html"
    page.write_text(to_html(data_centre(10)))
    browser.show(page, *size, dark=dark)
    assert overlaps(browser) == {"cards": 13, "labels": 2 * 33 + 120, "wrong": []}
    root = browser.run("[document.documentElement.scrollWidth, document.body.scrollHeight]")
    assert root[0] <= size[0]
    assert root[1] <= size[1]
    text = browser.run("getComputedStyle(document.querySelector('.card text')).fill")
    assert text == ("rgb(232, 236, 242)" if dark else "rgb(27, 35, 48)")


def test_pointing_dims_the_others(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.svg"
    page.write_text(to_svg(data_centre(10)))
    browser.show(page)
    assert opacity(browser, ".seg") == ["1"]
    browser.mouse("mouseMoved", *middle(browser, ".h3 .seg.t1 g"))
    assert opacity(browser, ".seg.t1, .card:has(.t1), .wire.t1") == ["1"]
    assert opacity(browser, ".seg.t0, .seg.t2, .card.h0") == ["0.25"]
    browser.mouse("mouseMoved", *middle(browser, ".h4 > text"))
    assert opacity(browser, ".card.h0, .card.h1, .card.h2, .card.h4, .wire.h4") == ["1"]
    assert opacity(browser, ".card.h5, .card.h12") == ["0.25"]
    browser.mouse("mouseMoved", *middle(browser, ".key.t2"))
    assert opacity(browser, ".seg.t2, .wire.t2") == ["1"]
    assert opacity(browser, ".seg.t0, .seg.t1") == ["0.25"]
    browser.mouse("mouseMoved", 1, 799)
    assert opacity(browser, ".seg, .card") == ["1"]


def test_two_hundred_hosts(browser: Browser, tmp_path: Path) -> None:
    """A card each with counts; a click opens one, another click or Escape closes it."""
    page = tmp_path / "page.html"
    page.write_text(to_html(data_centre(200, 20, 8)))
    browser.show(page)
    assert overlaps(browser) == {"cards": 220, "labels": 0, "wrong": []}
    assert browser.run("document.querySelector('.h25').textContent").count("24 VNICs") == 2
    for host in (25, 219):
        browser.run(f"document.querySelector('.h{host}').scrollIntoView({{block: 'end'}})")
        assert browser.run("document.querySelectorAll('.shown').length") == 0
        browser.click(*middle(browser, f".h{host}"))
        assert overlaps(browser, ".shown") == {"cards": 1, "labels": 6 + 24, "wrong": []}
        assert browser.run(
            "(box => box.top >= 0 && box.bottom <= innerHeight)"
            "(document.querySelector('.shown').getBoundingClientRect())"
        )
        if host == 25:
            browser.click(20, 20)
        else:
            browser.do("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert browser.run("document.querySelectorAll('.shown').length") == 0


def test_a_host_with_more_than_fits(browser: Browser, tmp_path: Path) -> None:
    """A host of 900 VNICs opens into a panel higher than the screen, which can be scrolled."""
    page = tmp_path / "page.html"
    page.write_text(to_html(data_centre(1, 3, 300)))
    browser.show(page)
    browser.do("Input.dispatchKeyEvent", type="keyDown", key="Tab")
    browser.click(*middle(browser, ".h3"))
    found = overlaps(browser, ".shown")
    assert found == {"cards": 1, "labels": 6 + 900, "wrong": []}
    assert browser.run(
        "document.querySelector('.shown').getBoundingClientRect().bottom"
        " <= document.documentElement.scrollHeight"
    )


def test_pages_ask_for_nothing(browser: Browser, tmp_path: Path) -> None:
    browser.requests.clear()
    pages = [tmp_path / "page.html", tmp_path / "page.svg"]
    for page, write in zip(pages, (to_html, to_svg), strict=True):
        page.write_text(write(data_centre(10)))
        browser.show(page)
    assert browser.requests == [page.as_uri() for page in pages]
