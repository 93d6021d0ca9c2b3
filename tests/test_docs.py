"""The documents: their Python runs on the fake, their quotations and names are there."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snnet import plugins

ROOT = Path(__file__).parents[1]
LIBSNNET = ROOT / "docs" / "libsnnet.md"
DOCUMENTS = sorted(
    path for name in ("README.md", "docs/*.md", "examples/*/*.md") for path in ROOT.glob(name)
)

_NOT_RUN = "<!-- not run -->"
_FROM = re.compile(r"<!-- from (\S+) -->")
"""Above a block that is quoted from a file of the project."""
_OPENING = "```python"
_NAME = re.compile(r"`(snnet(?:\.\w+)+)(?:\((\w*)=?\))?`")
"""A dotted name, perhaps called, perhaps with the keyword that is meant."""


def blocks(text: str) -> Iterator[str]:
    """The Python blocks to run, each on the lines it has in the document."""
    for above, opening, number, block in fenced(text):
        if opening == _OPENING and above != _NOT_RUN and not _FROM.fullmatch(above):
            yield "\n" * number + block


def quotations(text: str) -> Iterator[tuple[str, str]]:
    """The blocks that are from a file: its path and what is quoted."""
    for above, _, _, block in fenced(text):
        if origin := _FROM.fullmatch(above):
            yield origin[1], block


def fenced(text: str) -> Iterator[tuple[str, str, int, str]]:
    """Every fenced block: the line above, the opening line and its number, what is inside."""
    lines = ["", *text.splitlines()]
    number = 0
    while number < len(lines) - 1:
        number += 1
        if lines[number].startswith("```"):
            end = lines.index("```", number + 1)
            inside = "\n".join(lines[number + 1 : end])
            yield lines[number - 1].strip(), lines[number].strip(), number, inside
            number = end


def second_columns(text: str) -> Iterator[str]:
    """The second cell of every table row."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield line.split("|")[2]


NAMES = sorted(
    {
        (match[1], match[2] or "")
        for cell in second_columns(LIBSNNET.read_text(encoding="utf-8"))
        for match in _NAME.finditer(cell)
    }
)


def resolve(path: str) -> Any:
    """What a dotted name stands for: modules as far as there are any, then attributes."""
    first, *names = path.split(".")
    thing: Any = importlib.import_module(first)
    for name in names:
        if not hasattr(thing, name) and inspect.ismodule(thing):
            importlib.import_module(f"{thing.__name__}.{name}")
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document_runs(
    document: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The blocks of one document go on from each other, as a reader does.
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    namespace: dict[str, Any] = {"__name__": "document"}
    for block in blocks(document.read_text(encoding="utf-8")):
        exec(compile(block, str(document), "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_quotes_is_in_the_file(document: Path) -> None:
    for path, block in quotations(document.read_text(encoding="utf-8")):
        assert f"{block}\n" in (ROOT / path).read_text(encoding="utf-8"), f"{path}:\n{block}"


def test_the_hooks_are_documented_as_they_are() -> None:
    quoted = [block for _, block in quotations((ROOT / "docs/plugins.md").read_text())]
    assert inspect.getsource(plugins.Hooks).rstrip() in quoted


def test_blocks_are_found_and_those_marked_are_left_out() -> None:
    text = (
        "text\n```python\na = 1\n```\n"
        f"{_NOT_RUN}\n```python\nb = 2\n```\n"
        "```sh\nc\n```\n```python\nd = 4\n```\n"
        "<!-- from a/file.py -->\n```python\n    e = 5\n```\n"
    )
    assert [block.strip() for block in blocks(text)] == ["a = 1", "d = 4"]
    assert next(blocks(text)).splitlines()[2] == text.splitlines()[2]
    assert list(quotations(text)) == [("a/file.py", "    e = 5")]


def test_there_is_python_in_the_guide_from_libsnnet() -> None:
    assert list(blocks(LIBSNNET.read_text(encoding="utf-8")))


def test_names_of_the_second_column_are_there() -> None:
    assert len(NAMES) > 100
    for name, keyword in NAMES:
        thing = resolve(name)
        if keyword:
            assert keyword in inspect.signature(thing).parameters, name


def test_nothing_in_the_second_column_escapes_the_test() -> None:
    for cell in second_columns(LIBSNNET.read_text(encoding="utf-8")):
        assert cell.count("`snnet.") == len(_NAME.findall(cell)), cell
