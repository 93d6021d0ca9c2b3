"""The Docker plugin with a fake compute node: the cost of HTTP, database and engine."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.docker.client import GATEWAY, Client
from tests.docker.conftest import IPAM_OPTIONS, NETWORK, OPTIONS

import snnet
from snnet.docker import DockerPlugin

from .timing import Result, each, median

CONTAINERS, WAITING, REQUESTS = 200, 100, 200


class Gated(snnet.FakeKernel):
    """A kernel that makes callers wait while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def apply(self, *arguments: Any, **options: Any) -> Any:
        self.gate.wait()
        return super().apply(*arguments, **options)


def run() -> Iterator[Result]:
    kernel = Gated()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    config = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with (
        tempfile.TemporaryDirectory(prefix="snnet-") as folder,
        snnet.ComputeNode(
            "cn-1", config, backend=kernel, firewall="fake", api_timeout=60.0
        ) as node,
        DockerPlugin(node, folder=folder, data_dir=f"{folder}/data") as plugin,
    ):
        node.init()
        plugin.init()
        plugin.start()
        docker = Client(Path(folder, "snnet.sock"))
        pool = docker.make_pool("10.1.0.0/16", **IPAM_OPTIONS)
        docker.address(pool, **GATEWAY)
        docker.create_network(NETWORK, OPTIONS, "10.1.0.0/16")

        def container(number: object) -> None:
            endpoint = f"{number:032x}" * 2
            address = docker.address(pool)
            docker.create_endpoint(NETWORK, endpoint, address)
            docker.join(NETWORK, endpoint)
            docker.leave(NETWORK, endpoint)
            docker.release(pool, address)

        yield Result(
            "docker: a container's six calls, on the fake",
            each(container, range(CONTAINERS)) * 1000,
            "ms",
        )
        alone = _latency(docker, pool)
        kernel.gate.clear()
        with ThreadPoolExecutor(WAITING) as threads:
            waiting = [
                threads.submit(
                    docker.create_endpoint, NETWORK, f"{number:032x}" * 2, f"10.1.9.{number}/16"
                )
                for number in range(1, WAITING + 1)
            ]
            time.sleep(0.5)
            try:
                beside = _latency(docker, pool)
                assert not any(one.done() for one in waiting)
            finally:
                kernel.gate.set()
    yield Result("docker: an address", alone * 1000, "ms")
    yield Result("docker: an address, while 100 creates wait / alone", beside / alone, "times", 3.0)


def _latency(docker: Client, pool: str) -> float:
    """Return the seconds that a RequestAddress takes, the median of many."""
    return median(
        each(lambda _: docker.release(pool, docker.address(pool)), [None]) for _ in range(REQUESTS)
    )
