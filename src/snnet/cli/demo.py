"""``snnet demo``: runs the demo and shows its results."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape

from snnet.config import NetworkMode
from snnet.lab import (
    Answer,
    Choice,
    Connection,
    Guest,
    Matrix,
    Placement,
    Report,
    Scenario,
    choose,
    demo_scenario,
    open_lab,
    run,
)

from .background import Background
from .signals import interruptible
from .tables import Marks, connections_table, hints, matrix_table, namespaces_table, topology_table


def show_demo(
    backend: str, tunnel: str, firewall: str, mode: NetworkMode, uplinks: int, *, as_json: bool
) -> bool:
    """Run the demo; return whether everything was as expected.

    Progress goes to stderr, tables or JSON to stdout.  Errors are raised after
    everything was removed.
    """
    with interruptible() as cancel:
        choice = choose(backend, tunnel=tunnel, firewall=firewall, mode=mode, uplinks=uplinks)
        scenario = demo_scenario(mode, uplinks=uplinks, groups=choice.groups)
        screen = Screen(scenario.guests, tables=not as_json)
        screen.chosen(choice, scenario)
        report = run(open_lab(choice, scenario, cancel), screen)
        screen.summary(report)
        return report.ok


def keep_demo(
    backend: str, tunnel: str, firewall: str, mode: NetworkMode, uplinks: int, *, as_json: bool
) -> bool:
    """Run the demo and leave its data centre up, held by a process in the background.

    The calling process ends, with exit code 0 if everything was as expected, else 1.
    This function returns in the background process only, after a signal to end.
    """
    from snnet.lab.kept import held

    choice = choose(
        backend, tunnel=tunnel, firewall=firewall, mode=mode, uplinks=uplinks, keep=True
    )
    background = Background()
    with interruptible() as cancel, held():
        scenario = demo_scenario(mode, uplinks=uplinks, groups=choice.groups)
        screen = Screen(scenario.guests, tables=not as_json)
        screen.chosen(choice, scenario)
        lab = open_lab(choice, scenario, cancel)
        report = run(lab, screen, keep=True)
        screen.summary(report)
        background.detach(0 if report.ok else 1)
        cancel.wait()
        return report.ok


def remove_demo(*, as_json: bool) -> bool:
    """Remove the data centre that ``keep_demo()`` left up; return whether all is gone."""
    from snnet.lab.kept import remove_kept

    removed = remove_kept()
    if as_json:
        data = {
            "namespaces": list(removed.namespaces),
            "processes": removed.processes,
            "leftovers": list(removed.left),
            "ok": not removed.left,
        }
        click.echo(json.dumps(data, indent=2))
        return not removed.left
    for text in removed.left:
        click.echo(f"left over: {text}")
    if removed.namespaces:
        click.echo(
            f"removed {len(removed.namespaces)} namespaces and ended {removed.processes} "
            f"processes in them{'' if removed.left else '; nothing left over'}"
        )
    else:
        click.echo('nothing to remove: "snnet demo --keep" has left nothing up')
    return not removed.left


def remove_command() -> str:
    """The shell command that removes a kept data centre."""
    program = "snnet" if shutil.which("snnet") else f"{sys.executable} -m snnet"
    return f"{program} demo --remove"


class Screen:
    """Shows progress on stderr, and on stdout tables as they become known, or JSON."""

    def __init__(self, guests: Sequence[Guest], *, tables: bool) -> None:
        self._guests = guests
        self._tables = tables
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)

    def chosen(self, choice: Choice, scenario: Scenario) -> None:
        """Show what is used, and why a preferred driver or tunnel is not."""
        how = "mode [bold]routed[/]" if scenario.routed else f"tunnel [bold]{choice.tunnel}[/]"
        self._err.print(
            f"backend [bold]{choice.backend}[/], {how} over [bold]IPv{scenario.wire.version}[/], "
            f"firewall [bold]{choice.firewall}[/]"
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
        self._err.print(f"[green]{marks.yes}[/] {what:<54} [dim]{seconds:5.1f} s[/]")

    def built(self, placements: Sequence[Placement]) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            self._out.print("", topology_table(placements), "", sep="\n")

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            marks = Marks.of(self._out)
            table = matrix_table(self._guests, matrix, expected, marks)
            self._out.print("", table, "", sep="\n")

    def connected(
        self, connections: Sequence[Connection], answers: Sequence[Answer | None]
    ) -> None:
        """See :class:`snnet.lab.Watcher`."""
        if self._tables:
            table = connections_table(connections, answers, Marks.of(self._out))
            self._out.print("", table, "", sep="\n")

    def summary(self, report: Report) -> None:
        """Show problems, totals, and what was kept; or the whole report as JSON."""
        if not self._tables:
            data = report.to_dict()
            if report.namespaces:
                data["remove"] = remove_command()
            click.echo(json.dumps(data, indent=2))
            return
        marks = Marks.of(self._out)
        for problem in report.problems:
            self._out.print(f"[red]{marks.bad}[/] {escape(problem)}", soft_wrap=True)
        guests = len(report.scenario.guests)
        wrong = len(report.problems)
        counts = [f"{guests} guests", f"{report.scenario.pings} pings"]
        if report.connections:
            counts.append(f"{len(report.connections)} connections")
        verdict = f", {wrong} not" if wrong else " all"
        left = "" if report.left or report.namespaces else "; nothing left over"
        self._out.print(
            f"{', '.join(counts)}{verdict} as expected in {report.seconds:.1f} s{left}",
            style="red" if wrong else "green",
            soft_wrap=True,
        )
        if report.namespaces:
            self._out.print("", namespaces_table(report), "", sep="\n")
            for text in hints(report):
                self._out.print(text, soft_wrap=True, markup=False)
            self._out.print(f"\nTo remove it all:\n  {remove_command()}", soft_wrap=True)
