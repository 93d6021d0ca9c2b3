"""``python -m benchmarks.fabric [HOSTSxVNICS]``: hosts of one fabric in one process, and pings.

Each host has a compute node on a fake kernel of its own, and all VNICs of a tenant's ten networks
reach each other through the tenant's concentrator.  The pings go from a guest through the tunnel
of its host to the concentrator, and on through the other one.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import snnet

from .fake import yardstick
from .timing import Result, each, seconds

HOSTS, VNICS = 50, 100
ROUNDS, PINGS = 7, 200
NETWORKS = 10
CONCENTRATOR = "10.64.255.250"
CONFIG = snnet.NetworkConfig(compute_nets=["10.64.0.0/16"])


def vnic(host: int, number: int) -> snnet.VnicConfig:
    network = number % NETWORKS
    return snnet.VnicConfig(
        vnic_id=f"v{host}-{number}",
        instance_id=f"i{host}-{number}",
        tenant_id="t1",
        subnet_id=f"s{network}",
        concentrator_id="cnci-1",
        concentrator_ip=CONCENTRATOR,
        subnet=f"10.{network}.0.0/16",
        subnet_key=network + 1,
        ip=str(ip_address(f"10.{network}.1.0") + host * VNICS // NETWORKS + number // NETWORKS),
    )


class Site:
    """Hosts on one wire, each with its VNICs."""

    def __init__(self, hosts: int, vnics: int) -> None:
        self.fabric = snnet.Fabric()
        self.nodes: list[snnet.ComputeNode] = []
        self._open = ExitStack()
        for host in range(hosts):
            kernel = self.fabric.add_host(f"h{host}", f"10.64.{host // 250}.{host % 250 + 1}/16")
            node = snnet.ComputeNode(f"cn-{host}", CONFIG, backend=kernel, firewall="fake")
            self._open.enter_context(node)
            node.init()
            for number in range(vnics):
                node.create_vnic(vnic(host, number))
            self.nodes.append(node)

    def verify(self) -> None:
        for node in self.nodes:
            assert node.verify() == []

    def close(self) -> None:
        self._open.close()


def across_two_tunnels() -> tuple[ExitStack, snnet.Fabric, snnet.Guest, str]:
    """A fabric with a guest that reaches the address of another one through two tunnels."""
    opened, fabric = ExitStack(), snnet.Fabric()
    hub = fabric.add_host("hub", f"{CONCENTRATOR}/16")
    cnci = snnet.Cnci("cnci-1", CONFIG, tenant_id="t1", backend=hub, firewall="fake", dhcp="fake")
    opened.enter_context(cnci)
    cnci.init()
    guests = []
    for host in range(2):
        wanted = vnic(host, 0)
        kernel = fabric.add_host(f"h{host}", f"10.64.0.{host + 1}/16")
        node = snnet.ComputeNode(f"cn-{host}", CONFIG, backend=kernel, firewall="fake")
        opened.enter_context(node)
        node.init()
        made = node.create_vnic(wanted)
        assert made.tunnel_event is not None
        cnci.follow(made.tunnel_event)
        guests.append(fabric.attach(kernel, made.vnic))
    return opened, fabric, guests[0], str(vnic(1, 0).ip)


def run(hosts: int = HOSTS, vnics: int = VNICS) -> Iterator[Result]:
    clock = time.process_time
    unit = min(each(yardstick, range(100), clock) for _ in range(ROUNDS))
    before, start = memory(), clock()
    site = Site(hosts, vnics)  # garbage is collected, or it would count as memory
    build, grown = clock() - start, memory() - before
    verify = seconds(site.verify, clock)
    site.close()
    size = f"{hosts} x {vnics}"
    each_one = (build + verify) / hosts / vnics
    yield Result(f"fabric: {size} built, processor time", build, "s")
    yield Result(f"fabric: {size} verified, processor time", verify, "s")
    yield Result("fabric: a VNIC built and verified / yardstick", each_one / unit, "times", 2.5)
    yield Result(f"fabric: memory of {size}", grown / 2**20, "MiB")
    opened, fabric, guest, target = across_two_tunnels()
    with opened:
        assert fabric.ping(guest, target)
        pings = [
            each(lambda _: fabric.ping(guest, target), range(PINGS), clock) for _ in range(ROUNDS)
        ]
    yield Result("fabric: pings across two tunnels", 1 / min(pings), "per s", 10_000, True)
    yield Result("fabric: a ping across two tunnels / yardstick", min(pings) / unit, "times", 2.0)


def memory() -> int:
    """Bytes of this process, at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    for result in run(*map(int, sys.argv[1].split("x")) if sys.argv[1:] else ()):
        print(result, flush=True)
