"""Docker on many hosts: one network of the cluster, containers on two of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snnet.docker.app import cluster_protocol
from tests.agent.cloud import OUTSIDE, Cloud

from .client import GATEWAY, Direct

WEB = {"snnet.tenant": "acme", "snnet.network": "web"}
SUBNET = "10.1.0.0/24"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A network host and two compute hosts."""
    cloud = Cloud()
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    yield cloud
    cloud.close()


@contextmanager
def at_work(cloud: Cloud) -> Iterator[None]:
    """The agents take turns in a thread, and come to rest at the end."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for agent in tuple(cloud.agents.values()):
                agent.step(0.01)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    cloud.settle()


def test_containers_of_two_hosts_reach_each_other(cloud: Cloud) -> None:
    """No host knows the other's Docker: addresses, keys and concentrator are the cluster's."""
    with at_work(cloud):
        for number, name in enumerate(("cn-1", "cn-2")):
            node = cloud.agents[name].node
            docker = Direct(cluster_protocol(cloud.registry, node, "snnet", time.time))
            network, endpoint = f"{number:064x}", f"{number + 7:x}" * 64
            pool = docker.make_pool(SUBNET, **WEB)
            docker.address(pool, **GATEWAY)
            docker.create_network(network, {"snnet.tenant": "acme"})
            address = docker.address(pool)
            assert address == f"10.1.0.{number + 2}/24"
            docker.create_endpoint(network, endpoint, address)
            assert docker.join(network, endpoint)["Gateway"] == "10.1.0.1"
    vnics = cloud.cluster.list_vnics("acme")
    assert {(vnic.node, vnic.state) for vnic in vnics} == {("cn-1", "ready"), ("cn-2", "ready")}
    assert cloud.states() == {"ready"}
    one, two = (cloud.guest(vnic.name) for vnic in vnics)
    assert cloud.fabric.ping(one, two), "by the tunnels of both hosts"
    assert cloud.fabric.ping(one, OUTSIDE)
