"""``python -m benchmarks.first_vnic``: from the commit of a network's first VNIC to its tunnel.

The cluster is that of ``snnet demo --cluster``: agents and etcd as processes in namespaces of
this machine (root).  The time ends when the far end of the tunnel is there, at the concentrator.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from statistics import median

from snnet.cluster import Cluster
from snnet.lab.choice import choose
from snnet.lab.cluster import ClusterLab, cluster_scenario
from snnet.system.netns import in_netns, open_netns

TIMES = 20


def main() -> None:
    lab = ClusterLab(choose("netlink"), cluster_scenario(), threading.Event())
    try:
        lab.build_wire()
        lab.start_registry()
        for host in lab.hosts:
            lab.start_agent(host)
        lab.wait_agents()
        times = lab.ask(lambda cluster: [_one(lab, cluster, number) for number in range(TIMES)])
    finally:
        lab.close()
    milliseconds = [1000 * each for each in times]
    print(f"median {median(milliseconds):.0f} ms, most {max(milliseconds):.0f} ms")


def _one(lab: ClusterLab, cluster: Cluster, number: int) -> float:
    """Seconds from the commit of the VNIC until its tunnel is there."""
    cluster.create_network(f"n{number}", tenant="acme", subnet=f"10.{number}.0.0/24")
    _until(lambda: cluster.get_network("acme", f"n{number}").state == "ready")
    node = cluster.placements()["acme"]["node"]
    host = next(host for host in lab.hosts if host.name == node)
    (space,) = lab.concentrators(host)
    fd = open_netns(space)
    time.sleep(1.0)  # the cluster is idle
    before = in_netns(fd, socket.if_nameindex)
    begun = time.monotonic()
    cluster.create_vnic(f"v{number}", tenant="acme", network=f"n{number}", node="cn-1")

    def look() -> float:
        while len(socket.if_nameindex()) == len(before):
            time.sleep(0.001)
        return time.monotonic() - begun

    try:
        return in_netns(fd, look)
    finally:
        os.close(fd)


def _until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.01)


if __name__ == "__main__":
    main()
