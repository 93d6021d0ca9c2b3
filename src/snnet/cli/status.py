"""``snnet status``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import click

from snnet.cluster import Cluster
from snnet.cluster.documents import FAILED, PENDING, READY, Wanted

from .options import WAIT, output_option, with_cluster
from .output import Column, doing, print_data, print_table
from .waiting import missing_agent, why_pending

_PROBLEMS = (
    Column("KIND", "kind"),
    Column("TENANT", "tenant"),
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("WHY", "error"),
)


@click.command()
@click.option("--wait", is_flag=True,
              help="Wait until all is ready and agents run; exit with 1 if not.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", default=WAIT,
              show_default=True, help="How long to wait.")  # fmt: skip
@output_option
@with_cluster
def status(cluster: Cluster, wait: bool, timeout: float, output: str) -> None:
    """Show what is ready, and what is not and why.

    \b
    snnet status --wait
    """
    objects = _objects(cluster)
    missing: list[str] = []
    if wait:
        end = time.monotonic() + timeout
        with doing() as say:
            for _ in _looks(cluster, end):
                objects, missing = _objects(cluster), []
                ready = sum(item.state == READY for item in objects)
                if ready < len(objects):
                    say(f"waiting: {ready} of {len(objects)} objects ready")
                elif missing := _missing_agents(cluster, objects):
                    say(f"waiting: {missing[0]}")
                else:
                    break
    _show(cluster, objects, output)
    for agent in missing:
        click.echo(f"snnet: {agent}", err=True)
    if wait and (missing or any(item.state != READY for item in objects)):
        sys.exit(1)


def _missing_agents(cluster: Cluster, objects: list[Wanted]) -> list[str]:
    """Which agents said that an object is ready, and may know no more whether it is."""
    nodes, placements = cluster.nodes(), cluster.placements()
    found = (missing_agent(nodes, placements, item) for item in objects)
    return list(dict.fromkeys(filter(None, found)))


def _objects(cluster: Cluster) -> list[Wanted]:
    return [
        *cluster.list_networks(),
        *cluster.list_groups(),
        *cluster.list_vnics(),
        *cluster.list_forwards(),
        *cluster.list_public_ips(),
    ]


def _looks(cluster: Cluster, end: float) -> Any:
    """Yield now, and after each change until the end."""
    yield
    while (left := end - time.monotonic()) > 0:
        for _ in cluster.watch(timeout=min(left, 1.0)):
            break
        yield


def _show(cluster: Cluster, objects: list[Wanted], output: str) -> None:
    nodes, placements = cluster.nodes(), cluster.placements()
    problems = [
        {
            "kind": item.kind,
            **item.to_dict(),
            "error": why_pending(nodes, placements, item) if item.state == PENDING else item.error,
        }
        for item in objects
        if item.state != READY
    ]
    if output in ("json", "yaml"):
        counts = {
            kind: dict(Counter(item.state for item in objects if item.kind == kind))
            for kind in dict.fromkeys(item.kind for item in objects)
        }
        data = {"nodes": [item.to_dict() for item in nodes], "objects": counts}
        print_data({**data, "problems": problems}, output)
        return
    for item in nodes:
        problem = f": {item.problem}" if item.problem else ""
        click.echo(f"node {item.name}: {item.state} ({', '.join(item.roles)}){problem}")
    if not nodes:
        click.echo("no agent has registered: start one with 'snnet agent'")
    states = Counter(item.state for item in objects)
    shown = [f"{states[state]} {state}" for state in (READY, PENDING, FAILED) if states[state]]
    click.echo(f"objects: {', '.join(shown) or 'none'}")
    if problems:
        click.echo()
        print_table(problems, _PROBLEMS, wide=output == "wide")
