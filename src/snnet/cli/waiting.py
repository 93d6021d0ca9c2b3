"""Waits for agents, and says what became of what was asked for."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from snnet.cluster import Cluster, NodeInfo, SecurityGroup, Vnic, keys
from snnet.cluster.documents import FAILED, PENDING, READY, Wanted
from snnet.cluster.waiting import until

from .output import doing, print_data

Placements = Mapping[str, Mapping[str, Any]]
"""Where each tenant's concentrator is: see :meth:`snnet.Cluster.placements`."""

STARTING = 5.0
"""Seconds that an agent may need from "snnet agent &" to its first word in the registry."""


def finish(
    cluster: Cluster, made: Wanted, *, wait: bool, timeout: float, output: str, summary: str = ""
) -> None:
    """Wait for an object that was stored, if asked to, and print it; exit with 1 if not ready.

    ``summary`` is a format of the object's fields for people.
    """
    if wait:
        if missing := _still_missing(cluster, made, min(timeout, STARTING)):
            _print(made, output, summary, f"stored; {missing}")
            sys.exit(1)
        with doing(f"waiting for {made.title}"):
            made = cluster.wait(made, timeout)
    is_late = wait and made.state == PENDING
    why = why_pending(cluster.nodes(), cluster.placements(), made) if is_late else made.error
    _print(made, output, summary, _said(made, why, wait=wait, timeout=timeout))
    if wait and made.state != READY:
        sys.exit(1)


def _still_missing(cluster: Cluster, made: Wanted, timeout: float) -> str | None:
    """Why nobody will carry out an object, although agents had time to start."""
    return until(
        cluster.registry,
        (keys.NODES, keys.ALIVE, keys.CONCENTRATORS),
        lambda: missing_agent(cluster.nodes(), cluster.placements(), made),
        lambda missing: missing is None,
        timeout,
    )


def why_pending(nodes: Sequence[NodeInfo], placements: Placements, made: Wanted) -> str | None:
    """Why an object that is pending stays so, or None."""
    return (
        made.error
        or missing_agent(nodes, placements, made)
        or _problem(nodes, made)
        or _left_behind(nodes, placements, made)
    )


def missing_agent(nodes: Sequence[NodeInfo], placements: Placements, made: Wanted) -> str | None:
    """Why nobody will carry out an object now, or None."""
    if isinstance(made, SecurityGroup):
        return None  # those who need it say so
    if isinstance(made, Vnic):
        node = next((node for node in nodes if node.name == made.node), None)
        if node is not None and node.alive:
            return None
        if made.node == socket.gethostname():
            return "no agent is running on this host: start it with 'snnet agent'"
        advice = "" if node is None else f"; {_renamed(node.name)}"
        return f"no agent is running on node {made.node!r}: start it with 'snnet agent'{advice}"
    if not any(node.alive and "network" in node.roles for node in nodes):
        return "no agent with the role 'network' is running: start one with 'snnet agent'"
    if any(node.topology == "local" for node in nodes):  # others move concentrators by themselves
        return _left_behind(nodes, placements, made)
    return None


def _left_behind(nodes: Sequence[NodeInfo], placements: Placements, made: Wanted) -> str | None:
    """Whether the tenant's concentrator is on a node that nobody runs, and what helps."""
    name = placements.get(made.tenant, {}).get("node")
    if name is None or isinstance(made, Vnic | SecurityGroup):
        return None
    if any(node.alive for node in nodes if node.name == name):
        return None
    return (
        f"the concentrator of tenant {made.tenant!r} is on node {name!r}, where no agent is "
        f"running: start it with 'snnet agent'; {_renamed(name)}"
    )


def _renamed(name: str) -> str:
    return (
        f"if its host has another name now, set 'node: {name}' in the agent's settings; if it is "
        f"gone, 'snnet node forget {name}'"
    )


def _problem(nodes: Sequence[NodeInfo], made: Wanted) -> str | None:
    """What an agent that has to carry out an object says that prevents it, or None."""
    for node in nodes:
        if node.problem and (not isinstance(made, Vnic) or node.name == made.node):
            return f"node {node.name}: {node.problem}"
    return None


def _said(made: Wanted, why: str | None, *, wait: bool, timeout: float) -> str:
    if not wait:
        return "stored"
    if made.state == FAILED:
        return f"failed: {why}"
    if made.state == READY:
        return "ready"
    reason = f": {why}" if why else ""
    return f"still pending after {timeout:g} s{reason}; 'snnet status' shows when it is ready"


def _print(made: Wanted, output: str, summary: str, said: str) -> None:
    if output in ("json", "yaml"):
        print_data(made.to_dict(), output)
        if not said.startswith(("ready", "stored")) or ";" in said:
            click.echo(f"snnet: {made.title} is {said}", err=True)
        return
    facts: dict[str, Any] = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in made.to_dict().items()
    }
    shown = f" ({summary.format_map(_Known(facts))})" if summary else ""
    click.echo(f"{made.title}{shown}: {said}")


class _Known(dict[str, Any]):
    """Fields of an object; one that it has not got yet is a dash."""

    def __missing__(self, name: str) -> str:
        return "-"
