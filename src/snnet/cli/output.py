"""Prints objects: as tables for people, as JSON and YAML for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

STATE_COLOURS = {
    "ready": "green", "pending": "yellow", "failed": "red", "failing": "red", "no agent": "red",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and what it shows of an object's plain data."""

    title: str
    show: str | Callable[[Mapping[str, Any]], Any]
    wide: bool = False
    """Whether only ``-o wide`` shows it."""

    def text(self, item: Mapping[str, Any]) -> str:
        value = item.get(self.show) if isinstance(self.show, str) else self.show(item)
        if value is None:
            return ""
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


TENANT = Column("TENANT", "tenant")
STATE = Column("STATE", "state")
ERROR = Column("ERROR", "error", wide=True)


@contextmanager
def doing(what: str = "") -> Iterator[Callable[[str], None]]:
    """Say on a terminal what takes long, in one line of stderr that goes when it is over.

    The function says what is being done by now.
    """
    terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        if terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{text[:width]}", nl=False, err=True)

    say(what)
    try:
        yield say
    finally:
        say("")


def print_list(items: Sequence[Any], columns: Sequence[Column], output: str, *, empty: str) -> None:
    """Print objects that have ``to_dict``; ``empty`` is what to say to people if there are none."""
    data = [item.to_dict() for item in items]
    if output in ("json", "yaml"):
        print_data(data, output)
    elif data:
        print_table(data, columns, wide=output == "wide")
    else:
        click.echo(empty, err=True)


def print_objects(
    items: Sequence[Any], columns: Sequence[Column], output: str, *, all_tenants: bool, empty: str
) -> None:
    """As ``print_list``; objects of all tenants have their tenant first."""
    print_list(items, (TENANT, *columns) if all_tenants else columns, output, empty=empty)


def print_one(item: Any, output: str) -> None:
    """Print one object: a line for each field, or data."""
    data = item if isinstance(item, Mapping) else item.to_dict()
    if output in ("json", "yaml"):
        print_data(data, output)
        return
    width = max(map(len, data))
    for name, value in data.items():
        shown = Column("", name).text(data) if not isinstance(value, bool) else str(value).lower()
        click.echo(f"{name.replace('_', ' '):{width}}  {shown}")


def print_data(data: Any, output: str) -> None:
    """Print plain data as JSON or YAML."""
    if output == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, wide: bool
) -> None:
    """Print a table.  On a terminal long cells are cut to its width; elsewhere never.

    Written without a library: lists of thousands are common.
    """
    shown = [column for column in columns if wide or not column.wide]
    cells = [[column.text(row) for column in shown] for row in rows]
    titles = [column.title for column in shown]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    terminal = sys.stdout.isatty()
    if terminal and not wide:
        widths = _fitting(widths, shutil.get_terminal_size().columns - 2 * (len(widths) - 1))
    coloured = terminal and "NO_COLOR" not in os.environ
    line = "─" if _is_utf(sys.stdout) else "-"
    header = _row(titles, widths, {})
    lines = [
        click.style(header, bold=True) if coloured else header,
        (line * 2).join(line * width for width in widths),
        *(_row(row, widths, STATE_COLOURS if coloured else {}) for row in cells),
    ]
    click.echo("\n".join(lines))


def _row(cells: Sequence[str], widths: Sequence[int], colours: Mapping[str, str]) -> str:
    """One line; a cell has the colour of its text, if there is one."""
    texts = [_cut(text, width).ljust(width) for text, width in zip(cells, widths, strict=True)]
    texts[-1] = texts[-1].rstrip()
    return "  ".join(
        click.style(shown, fg=colours[text]) if text in colours else shown
        for text, shown in zip(cells, texts, strict=True)
    )


def _cut(text: str, width: int) -> str:
    mark = "…" if _is_utf(sys.stdout) else "~"
    return text if len(text) <= width else f"{text[: width - 1]}{mark}"


def _fitting(widths: Sequence[int], room: int) -> list[int]:
    """Widths that fit together, if they can: the widest columns give way, down to four."""
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > 4:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def arrow() -> str:
    """What stands between an old value and its new one."""
    return "→" if _is_utf(sys.stdout) else "->"


def _is_utf(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().startswith("utf")


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of a tree, and what hangs on it."""

    text: str
    branches: Sequence[Branch] = ()


def print_tree(tree: Branch) -> None:
    """Print a tree, a line for each branch, however long: a host may have thousands."""
    lines = [tree.text]
    _grow(lines, tree, "")
    click.echo("\n".join(lines))


def _grow(lines: list[str], tree: Branch, indent: str) -> None:
    last = len(tree.branches) - 1
    end, fork, down = ("└── ", "├── ", "│   ") if _is_utf(sys.stdout) else ("`-- ", "|-- ", "|   ")
    for index, branch in enumerate(tree.branches):
        lines.append(f"{indent}{end if index == last else fork}{branch.text}")
        if branch.branches:
            _grow(lines, branch, indent + ("    " if index == last else down))
