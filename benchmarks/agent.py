"""The agent of one host, as a process on the real kernel: many VNICs at once, and at rest."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.agent.drifted import OF_A_TENANT, OF_THE_HOST, Tenant
from tests.agent.machine import Machine, child_of

import snnet

from .timing import Result, median

NETWORKS, AT_ONCE, AT_REST = 8, 2000, 1000
REST = 60.0
"""Seconds; in every ten of them the agent looks for what no event tells."""

_TICKS = os.sysconf("SC_CLK_TCK")


def run() -> Iterator[Result]:
    yield from _many()
    yield from _healing()


def _many() -> Iterator[Result]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="snnet-"))
        machine = Machine(_namespaces(stack), Path(folder))
        stack.callback(machine.close)
        cluster = stack.enter_context(snnet.Cluster(machine.registry))
        machine.start_agent()
        machine.until(lambda: [node.state for node in cluster.nodes()] == ["ready"])
        assert machine.agent is not None
        agent = Path("/proc", child_of(machine.agent.pid))

        began, used = time.monotonic(), _used(agent)
        cluster.apply(_documents(AT_ONCE))
        stored = time.monotonic() - began
        while not _all_ready(cluster):
            time.sleep(0.5)
        took, used = time.monotonic() - began, _used(agent) - used
        what = f"agent: {AT_ONCE:,} VNICs applied at once"
        yield Result(f"{what}, all ready", took, "s")
        yield Result(f"{what}, of it written by snnet apply", stored, "s")
        yield Result(f"{what}, processor time of the agent", used, "s")
        yield Result(f"{what}, memory of the agent", _memory(agent), "MB")

        cluster.apply(_documents(AT_REST), prune=True)
        machine.until(lambda: len(machine.links()) < AT_ONCE, 600)
        time.sleep(REST)  # it still looks at what was just done
        began, used = time.monotonic(), _used(agent)
        time.sleep(REST)
        share = (_used(agent) - used) / (time.monotonic() - began) * 100
        yield Result(f"agent: at rest, with {AT_REST:,} VNICs", share, "% of a core", 1.0)


def _healing() -> Iterator[Result]:
    """How soon a running agent repairs what others change, each kind of change once."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="snnet-"))
        machine = Machine(_namespaces(stack), Path(folder))
        stack.callback(machine.close)
        machine.start_agent()
        tenant = Tenant(machine, "acme")
        before, took = tenant.settled(), []
        for breakage in (*OF_A_TENANT, *OF_THE_HOST):
            time.sleep(2)  # so that no look is on its way
            took.append(_healed(tenant, breakage, before))
    yield Result(f"agent: healing of {len(took)} kinds of changes, median", median(took), "s", 1.0)
    yield Result(f"agent: healing of {len(took)} kinds of changes, longest", max(took), "s")


def _healed(tenant: Tenant, breakage: str, before: list[str]) -> float:
    """Seconds from a change to the first look that finds it repaired."""
    tenant.breaks(breakage)
    broken = time.monotonic()
    while True:
        at = time.monotonic()
        if tenant.state() == before:
            return at - broken
        if at > broken + 60:
            raise RuntimeError(f"not healed: {breakage}")


def _namespaces(stack: ExitStack) -> Callable[[], str]:
    def make() -> str:
        name = f"snnet-bench-{uuid.uuid4().hex[:8]}"
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        return name

    return make


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _documents(vnics: int) -> list[dict[str, object]]:
    """Networks with so many VNICs in all."""
    return [
        document
        for network in range(1, NETWORKS + 1)
        for document in (
            {"kind": "network", "name": f"n{network}", "subnet": f"10.{network}.0.0/24"},
            *(
                {"kind": "vnic", "name": f"v{network}-{number}", "network": f"n{network}"}
                for number in range(vnics // NETWORKS)
            ),
        )
    ]


def _all_ready(cluster: snnet.Cluster) -> bool:
    return all(item.state == "ready" for item in (*cluster.list_networks(), *cluster.list_vnics()))


def _used(process: Path) -> float:
    """Seconds of processor time, user and system (proc(5))."""
    words = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def _memory(process: Path) -> float:
    """The largest resident size so far, in MB."""
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
