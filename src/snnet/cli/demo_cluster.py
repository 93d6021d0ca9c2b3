"""``snnet demo --cluster``: runs the cluster demo and shows its results."""

from __future__ import annotations

import json

import click
from rich.markup import escape
from rich.table import Table

from snnet.contract import Unsupported
from snnet.lab.choice import FAKE, choose
from snnet.lab.cluster import ClusterLab, cluster_scenario
from snnet.lab.cluster_demo import ClusterReport, run_cluster

from .demo import Screen
from .look import titled_table
from .signals import interruptible
from .tables import Marks


def show_cluster_demo(backend: str, tunnel: str, firewall: str, *, as_json: bool) -> bool:
    """Run the cluster demo; return whether everything was as it must be.

    Progress goes to stderr, tables or JSON to stdout.  Errors are raised after
    everything was removed.
    """
    with interruptible() as cancel:
        scenario = cluster_scenario()
        choice = choose(backend, tunnel=tunnel, firewall=firewall)
        if choice.backend == FAKE:
            why = "; ".join(choice.notes) or "backend 'fake' is in memory"
            raise Unsupported(f"--cluster needs this machine's kernel, and root: {why}")
        screen = ClusterScreen(scenario.guests, tables=not as_json)
        screen.chosen(choice, scenario)
        report = run_cluster(ClusterLab(choice, scenario, cancel), screen)
        screen.concluded(report)
        return report.ok


class ClusterScreen(Screen):
    """Shows the cluster demo."""

    def moved(self, report: ClusterReport) -> None:
        """See :class:`snnet.lab.cluster_demo.ClusterWatcher`."""
        if self._tables:
            self._out.print("", _places(report), "", _streams(report), "", sep="\n")

    def concluded(self, report: ClusterReport) -> None:
        """Show problems and totals, or the whole report as JSON."""
        if not self._tables:
            click.echo(json.dumps(report.to_dict(), indent=2))
            return
        marks = Marks.of(self._out)
        for problem in report.problems:
            self._out.print(f"[red]{marks.bad}[/] {escape(problem)}", soft_wrap=True)
        self._out.print(
            f"{report.killed} killed: {report.lost_pings} pings lost, back within "
            f"{report.failover_seconds:.1f} s; {len(report.problems) or 'no'} problems, "
            f"{report.seconds:.1f} s in all",
            style="green" if report.ok else "red",
            soft_wrap=True,
        )


def _places(report: ClusterReport) -> Table:
    table = titled_table("Concentrators", "tenant", "address", "was on", "is on")
    for old, new in zip(report.places, report.places_after, strict=True):
        table.add_row(old.tenant, old.address, old.node, new.node)
    return table


def _streams(report: ClusterReport) -> Table:
    title = f"Pings while {report.killed} was killed"
    table = titled_table(title, "from", "to", "sent", "lost", "longest silence")
    for stream in report.streams:
        lost, silence = stream.lost(report.killed_at), stream.silence(report.killed_at)
        table.add_row(
            stream.source, stream.target, str(len(stream.sent)), str(lost), f"{silence:.2f} s"
        )
    return table
