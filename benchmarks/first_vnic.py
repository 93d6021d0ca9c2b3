"""``python -m benchmarks.first_vnic [TIMES] [--trace]``: from a network's first VNIC to its tunnel.

The cluster is that of ``snnet demo --cluster``: agents and etcd as processes in namespaces of
this machine (root).  The time ends when the far end of the tunnel is there, at the concentrator.
It begins with the commit; ``create_vnic`` reads before that, which is reported too.
``--trace`` prints what the agents did meanwhile in the run that took the median.
"""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from snnet.cluster import Cluster
from snnet.lab.choice import choose
from snnet.lab.cluster import ClusterLab, cluster_scenario
from snnet.lab.scenario import Machine
from snnet.system.netns import in_netns, open_netns


class Traced(ClusterLab):
    """Its agents note what they do when."""

    def _start(self, machine: Machine, argv: list[str]) -> None:
        if argv[1:3] == ["-m", "snnet"]:
            path = str(self._trace(machine))
            argv = [argv[0], "-m", "benchmarks.traced", path, *argv[3:]]
        super()._start(machine, argv)

    def _trace(self, machine: Machine) -> Path:
        return self._folder / f"{machine.name}.trace"

    def between(self, begin: float, end: float) -> list[tuple[float, float, str, str]]:
        """What was done in a time: begin, duration, host and what."""
        found = []
        for host in self.hosts:
            for line in self._trace(host).read_text().splitlines():
                at, took, what = line.split(" ", 2)
                if begin <= float(at) <= end:
                    found.append((float(at), float(took), host.name, what))
        return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.first_vnic")
    parser.add_argument("times", type=int, nargs="?", default=20)
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    kind = Traced if options.trace else ClusterLab
    lab = kind(choose("netlink"), cluster_scenario(), threading.Event())
    try:
        lab.build_wire()
        lab.start_registry()
        for host in lab.hosts:
            lab.start_agent(host)
        lab.wait_agents()
        times = lab.ask(
            lambda cluster: [_one(lab, cluster, number) for number in range(options.times)]
        )
        if isinstance(lab, Traced):
            _print(lab, *sorted(times)[len(times) // 2])
    finally:
        lab.close()
    columns = list(zip(*times, strict=True))
    for what, seconds in zip(("commit", "create_vnic"), columns, strict=False):
        milliseconds = sorted(1000 * each for each in seconds)
        print(f"from {what}: {' '.join(f'{each:.0f}' for each in milliseconds)} ms")
        print(f"median {median(milliseconds):.0f} ms, most {max(milliseconds):.0f} ms")


def _print(lab: Traced, took: float, _: float, committed: float) -> None:
    """Print what the agents did from a commit until a while after the tunnel was there."""
    print("ms since the commit, ms that it took, host, what")
    for at, lasted, host, what in lab.between(committed - 0.005, committed + took + 0.02):
        print(f"{1000 * (at - committed):6.1f} {1000 * lasted:6.1f}  {host:6} {what}")
    print(f"{1000 * took:6.1f}         the tunnel is there")


def _one(lab: ClusterLab, cluster: Cluster, number: int) -> tuple[float, float, float]:
    """Seconds from the commit of the VNIC, and from the call, until its tunnel is there.

    The third is the time of the commit.
    """
    cluster.create_network(f"n{number}", tenant="acme", subnet=f"10.{number}.0.0/24")
    _until(lambda: cluster.get_network("acme", f"n{number}").state == "ready")
    node = cluster.placements()["acme"]["node"]
    host = next(host for host in lab.hosts if host.name == node)
    (space,) = lab.concentrators(host)
    fd = open_netns(space)
    time.sleep(1.0)  # the cluster is idle
    before = in_netns(fd, socket.if_nameindex)
    committed: list[float] = []
    commit = cluster.registry.commit

    def timed(*arguments: Any, **options: Any) -> int:
        committed.append(time.monotonic())
        return commit(*arguments, **options)

    cluster.registry.commit = timed  # type: ignore[method-assign]
    begun = time.monotonic()
    cluster.create_vnic(f"v{number}", tenant="acme", network=f"n{number}", node="cn-1")

    def look() -> float:
        while len(socket.if_nameindex()) == len(before):
            time.sleep(0.001)
        return time.monotonic()

    try:
        there = in_netns(fd, look)
        return there - committed[-1], there - begun, committed[-1]
    finally:
        cluster.registry.commit = commit  # type: ignore[method-assign]
        os.close(fd)


def _until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.01)


if __name__ == "__main__":
    main()
