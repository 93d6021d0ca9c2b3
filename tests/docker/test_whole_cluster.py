"""Docker hosts, VM hosts and network hosts with etcd: all by commands, and one is switched off."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from snnet.lab.probes import Pair, Pings
from snnet.lab.streams import Stream, Streams
from tests.registries.members import binary
from tests.sample import docker_alone

from .whole_cluster import OUTSIDE, WholeCluster

pytestmark = [pytest.mark.kernel, pytest.mark.sampled]

ENOUGH = 10
"""Pings of each stream that are answered before the host is killed, and after."""
SOON = 8.0
"""Seconds within which traffic through concentrators is back, with sessions of 3 s: 5 s and what
a busy machine needs."""
WAYS: dict[str, list[Pair]] = {
    "outside": [("v1", "outside"), ("c1", "outside")],
    "inter-subnet": [("v1", "v2"), ("c1", "c3")],
    "east-west": [("c1", "c2"), ("v1", "c1"), ("c3", "v2")],
}


@contextmanager
def running(topology: str) -> Iterator[WholeCluster]:
    etcd = binary()
    if shutil.which("dockerd") is None or etcd is None:
        pytest.skip("needs docker.io and etcd: make test-kernel installs them")
    folder = Path(tempfile.mkdtemp(prefix="snnet-whole-"))
    try:
        with docker_alone(), WholeCluster(topology, etcd, folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def furnish(cluster: WholeCluster) -> None:
    """Two networks of one tenant with containers and VMs; another tenant with a VM."""
    both = {"web": (1, "docker-1 docker-2"), "db": (2, "docker-2")}
    for name, (number, hosts) in both.items():
        subnets = f"--subnet 10.{number}.0.0/24 --subnet fd00:{number}::/64"
        cluster.snnet(f"network create {name} --tenant acme {subnets}")
        for host in hosts.split():
            cluster.hosts[host].docker(
                f"network create -d snnet --ipam-driver snnet --ipv6 {subnets} "
                f"--ipam-opt snnet.tenant=acme --ipam-opt snnet.network={name} "
                f"-o snnet.tenant=acme -o snnet.network={name} {name}"
            )
    cluster.snnet("network create web --tenant other --subnet 10.1.0.0/24")
    cluster.container("c1", "docker-1", "web")
    cluster.container("c2", "docker-2", "web")
    cluster.container("c3", "docker-2", "db")
    cluster.vm("v1", "acme", "web", "vm-1")
    cluster.vm("v2", "acme", "db", "vm-2")
    cluster.vm("x", "other", "web", "vm-2")


def reached(cluster: WholeCluster) -> dict[int, set[Pair]]:
    """Who reaches whom, by IP version."""
    found = {}
    addresses = cluster.addresses()
    for version in (4, 6):
        ips = {name: ip for name, mine in addresses.items() for ip in mine if ip.version == version}
        pairs = {(one, other) for one in ips for other in ips if one != other}
        wanted = {pair for pair in pairs if "x" not in pair}
        with Pings(cluster.guests, version) as pings:
            for _ in range(15):
                pings.send(sorted(pairs - pings.reached), ips)
                if pings.listen(1.0, wanted):
                    break
            pings.listen(0.2)
            found[version] = pings.reached
    return found


def expected(cluster: WholeCluster) -> dict[int, set[Pair]]:
    mine = cluster.guests.keys() - {"x"}
    pairs = {(one, other) for one in mine for other in mine if one != other}
    return {4: pairs, 6: pairs}


@pytest.mark.parametrize("topology", ["hub", "mesh"])
def test_a_network_host_is_switched_off(
    topology: str, record_property: Callable[..., None]
) -> None:
    """All of a tenant reach each other before and after; what takes one hop loses nothing."""
    with running(topology) as cluster:
        furnish(cluster)
        assert reached(cluster) == expected(cluster)
        streams = {kind: streams_of(cluster, pairs) for kind, pairs in WAYS.items()}
        every = [stream for some in streams.values() for stream in some]
        with Streams(every):
            wait(every, 0.0)
            place = cluster.place("acme")
            cluster.kill(place)
            killed = time.monotonic()
            wait(every, killed)
        for kind, some in streams.items():
            silence = max(stream.silence(killed) for stream in some)
            lost = sum(stream.lost(killed) for stream in some)
            record_property(kind, f"{topology}: {silence:.2f} s, {lost} lost")
            sys.stdout.write(f"{topology}: {kind}: {silence:.2f} s of silence, {lost} pings lost\n")
            assert silence < SOON, kind
            if topology == "mesh" and kind == "east-west":
                assert lost == 0
        assert reached(cluster) == expected(cluster)


def streams_of(cluster: WholeCluster, pairs: Sequence[Pair]) -> list[Stream]:
    found = {name: ips[0] for name, ips in cluster.addresses().items()}
    found["outside"] = ip_address(OUTSIDE)
    return [Stream(one, other, cluster.guests[one], found[other], "acme") for one, other in pairs]


def wait(streams: Sequence[Stream], since: float) -> None:
    """Wait until some pings of each stream are answered."""
    end = time.monotonic() + 60
    while not all(stream.answers_since(since) >= ENOUGH for stream in streams):
        assert time.monotonic() < end, "it did not come back"
        time.sleep(0.05)
