"""``snnet demo``: runs it and shows it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape

from snnet.config import NetworkMode
from snnet.lab import (
    Choice,
    Guest,
    Matrix,
    Place,
    Report,
    Visit,
    Welcome,
    choose,
    demo_scenario,
    open_lab,
    run,
)

from .signals import interruptible
from .tables import Marks, matrix_table, topology_table, visits_table


def show_demo(
    backend: str, tunnel: str, firewall: str, mode: NetworkMode, *, as_json: bool
) -> bool:
    """Run the demo; whether all was as expected.

    Progress goes to stderr, tables or JSON to stdout.  Raises what went wrong,
    after everything was removed.
    """
    with interruptible() as cancel:
        scenario = demo_scenario(mode)
        choice = choose(backend, tunnel=tunnel, firewall=firewall, mode=mode)
        screen = Screen(scenario.guests, tables=not as_json)
        screen.chosen(choice, mode)
        report = run(open_lab(choice, scenario, cancel), screen)
        if as_json:
            click.echo(json.dumps(report.to_dict(), indent=2))
        else:
            screen.summary(report)
        return report.ok


class Screen:
    """Progress on stderr as it happens, tables on stdout as soon as they are known."""

    def __init__(self, guests: Sequence[Guest], *, tables: bool) -> None:
        self._guests = guests
        self._tables = tables
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)

    def chosen(self, choice: Choice, mode: NetworkMode) -> None:
        """Say what is used, and why not something else."""
        how = f"tunnel [bold]{choice.tunnel}[/]"
        if mode is NetworkMode.ROUTED:
            how = "mode [bold]routed[/]"
        self._err.print(
            f"backend [bold]{choice.backend}[/], {how}, firewall [bold]{choice.firewall}[/]"
        )
        for note in choice.notes:
            self._err.print(f"  {escape(note)}", style="dim")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """See :class:`snnet.lab.Watcher`."""
        marks = Marks.of(self._err)
        started = time.monotonic()
        try:
            with self._err.status(what):
                yield
        except BaseException:
            self._err.print(f"[red]{marks.bad}[/] {what}")
            raise
        seconds = time.monotonic() - started
        self._err.print(f"[green]{marks.yes}[/] {what:<52} [dim]{seconds:5.1f} s[/]")

    def built(self, places: Sequence[Place]) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            self._out.print("", topology_table(places), "", sep="\n")

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            marks = Marks.of(self._out)
            table = matrix_table(self._guests, matrix, expected, marks)
            self._out.print("", table, "", sep="\n")

    def visited(self, visits: Sequence[Visit], welcomes: Sequence[Welcome | None]) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            table = visits_table(visits, welcomes, Marks.of(self._out))
            self._out.print("", table, "", sep="\n")

    def summary(self, report: Report) -> None:
        """The last words: all well, or what was not."""
        marks = Marks.of(self._out)
        for problem in report.problems:
            self._out.print(f"[red]{marks.bad}[/] {escape(problem)}", soft_wrap=True)
        guests, pings = len(report.scenario.guests), len(list(report.scenario.pairs()))
        wrong = len(report.problems)
        words = [
            f"{guests} guests",
            f"{pings} pings",
            *([f"{len(report.visits)} visits"] if report.visits else []),
            f"{wrong or 'all'} {'not ' if wrong else ''}as expected in {report.seconds:.1f} s",
        ]
        left = "" if report.left else "; nothing left over"
        self._out.print(", ".join(words) + left, style="red" if wrong else "green")
