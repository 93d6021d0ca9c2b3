"""Topology and matrix as tables that fit 80 columns and stay readable without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snnet.lab import Guest, Matrix, Place, Visit, Welcome, is_as_expected

_COLOURS = ("cyan", "magenta", "yellow", "blue")
_CELL = 3
"""Characters of one column of the matrix."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Signs for yes, no and trouble."""

    yes: str = "✔"
    no: str = "·"
    bad: str = "✘"

    @classmethod
    def of(cls, console: Console) -> Marks:
        """Those that the console's encoding can show."""
        return cls() if console.encoding.lower().startswith("utf") else cls("y", ".", "x")


def topology_table(places: Sequence[Place]) -> Table:
    """Where every guest is: a row for each tenant's subnet on a node."""
    table = Table(
        title="Topology",
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        show_edge=False,
        collapse_padding=True,
        border_style="dim",
    )
    for header in ("node", "tenant\nsubnet", "bridge\ntunnel", "guest", "link", "ip"):
        table.add_column(header, no_wrap=True)
    colours = _colours(place.tenant for place in places)
    for node, on_node in groupby(places, lambda place: place.node):
        rows = groupby(on_node, lambda place: (place.tenant, place.subnet))
        for number, ((tenant, subnet), group) in enumerate(rows):
            here = list(group)
            table.add_row(
                "" if number else node,
                Text.assemble((tenant, colours[tenant]), f"\n{subnet}"),
                f"{here[0].bridge}\n{here[0].tunnel}" if here[0].bridge else "",
                Text("\n".join(place.guest for place in here), colours[tenant]),
                "\n".join(place.link for place in here),
                "\n".join(str(place.ip) for place in here),
            )
        table.add_section()
    return table


def matrix_table(guests: Sequence[Guest], matrix: Matrix, expected: Matrix, marks: Marks) -> Table:
    """Who reached whom: senders in rows, targets in columns of the same numbers.

    What is not as expected is red.
    """
    table = Table(
        title=f"Pings: {marks.yes} got there and back, {marks.no} did not",
        title_justify="left",
        title_style="bold",
        box=box.MINIMAL,
        show_edge=False,
        border_style="dim",
    )
    tenants = [list(group) for _, group in groupby(guests, lambda guest: guest.tenant.name)]
    colours = _colours(guest.tenant.name for guest in guests)
    numbers = {guest.name: number for number, guest in enumerate(guests, 1)}
    table.add_column("\nfrom", no_wrap=True)
    for tenant in tenants:
        name = tenant[0].tenant.name
        columns = "".join(f"{numbers[guest.name]:{_CELL}}" for guest in tenant)
        table.add_column(Text(f" to {name}\n{columns}", colours[name]), no_wrap=True)
    for tenant in tenants:
        for source in tenant:
            colour = colours[source.tenant.name]
            reached, wanted = matrix[source.name], expected[source.name]
            table.add_row(
                Text(f"{numbers[source.name]:2} {source.name}", colour),
                *(
                    Text().join(
                        _cell(reached.get(target.name), wanted.get(target.name), marks)
                        for target in targets
                    )
                    for targets in tenants
                ),
            )
        table.add_section()
    return table


def visits_table(
    visits: Sequence[Visit], welcomes: Sequence[Welcome | None], marks: Marks
) -> Table:
    """Who answered whom through the firewall, and whom he saw; equal ends in one row.

    What is not as expected is red.
    """
    table = Table(
        title="The internet: who answers, and whom he sees",
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        show_edge=False,
        border_style="dim",
    )
    for name in ("way", "from", "to", "answered by", "seen as"):
        table.add_column(name, no_wrap=True)
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    wrong: set[tuple[str, str, str, str]] = set()
    for visit, welcome in zip(visits, welcomes, strict=True):
        ends = (welcome.host, str(welcome.seen_as)) if welcome else (marks.no, marks.no)
        # In routed mode each guest is seen as himself, which makes one row of all.
        himself = visit.guest_ip is not None and ends[1] == str(visit.guest_ip)
        seen_as = "himself" if himself else ends[1]
        key = (visit.what, f"{visit.address}:{visit.port}", ends[0], seen_as)
        rows.setdefault(key, []).append(visit.visitor)
        if not is_as_expected(visit, welcome):
            wrong.add(key)
    for key, visitors in rows.items():
        what, to, host, seen_as = key
        who = visitors[0] if len(visitors) == 1 else f"{len(visitors)} guests"
        table.add_row(what, who, to, host, seen_as, style="bold red" if key in wrong else None)
    return table


def _cell(reached: bool | None, expected: bool | None, marks: Marks) -> Text:
    if reached is None:
        return Text(" " * _CELL)
    mark = (marks.yes if reached else marks.no).rjust(_CELL)
    if reached != expected:
        return Text(mark, "bold red")
    return Text(mark, "green" if reached else "dim")


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the order of their first appearance."""
    return {
        name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(dict.fromkeys(names))
    }
