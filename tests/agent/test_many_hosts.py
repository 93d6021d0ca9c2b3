"""Fifty compute hosts with twenty VNICs each converge; some die, and come back."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from .cloud import OUTSIDE, Cloud

HOSTS, VNICS = map(int, os.environ.get("SNNET_TEST_HOSTS", "50x20").split("x"))
TENANTS = max(10, HOSTS // 5)
SPREAD = 10
"""On so many tenants' networks are the VNICs of one host."""


def tenant_of(host: int, number: int) -> str:
    return f"t{(host // SPREAD * SPREAD + number % SPREAD) % TENANTS}"


def furnish(cloud: Cloud) -> dict[str, list[str]]:
    """The networks and VNICs; returns the VNICs of each tenant, the hosts one after the other."""
    for number in range(TENANTS):
        cloud.cluster.create_network("web", tenant=f"t{number}", subnet="10.1.0.0/16")
    vnics: dict[str, list[str]] = {}
    for host in range(HOSTS):
        for number in range(VNICS):
            tenant, name = tenant_of(host, number), f"v{host}-{number}"
            cloud.cluster.create_vnic(name, tenant=tenant, network="web", node=f"cn-{host}")
            vnics.setdefault(tenant, []).append(name)
    return vnics


def concentrators(cloud: Cloud) -> Counter[str]:
    """How often each concentrator is there, among the hosts with an agent."""
    return Counter(
        side.tenant_id
        for agent in cloud.agents.values()
        for side in agent.node.topology().concentrators
    )


@pytest.mark.usefixtures("quick")
def test_many_hosts_converge_and_lose_some() -> None:
    cloud = Cloud()
    networks = [f"net-{number}" for number in range(max(4, HOSTS // 50))]
    cloud.add(*networks, roles=["network"])
    cloud.add(*(f"cn-{number}" for number in range(HOSTS)), roles=["compute"])
    cloud.settle()
    vnics = furnish(cloud)
    cloud.settle()
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []
    assert concentrators(cloud) == Counter(vnics.keys())
    guests = {
        tenant: [cloud.guest(names[0], tenant), cloud.guest(names[-1], tenant)]
        for tenant, names in list(vnics.items())[:10]
    }
    for first, last in guests.values():
        assert cloud.fabric.ping(first, last)
        assert cloud.fabric.ping(last, OUTSIDE)

    dead = [networks[0], *(f"cn-{number}" for number in range(1, HOSTS, 10))]
    places = cloud.places()
    moving = {tenant for tenant, (node, _) in places.items() if node == networks[0]}
    assert moving
    roles = {name: cloud.kill(name) for name in dead}
    cloud.settle()
    assert {node for node, _ in cloud.places().values()} == {*networks[1:]}
    assert concentrators(cloud) == Counter(vnics.keys())
    for first, last in guests.values():
        assert cloud.fabric.ping(first, last)
        assert cloud.fabric.ping(last, OUTSIDE)
    after = cloud.places()
    for tenant, place in places.items():
        assert after[tenant][1] == place[1], "it keeps its address"
        assert (after[tenant] == place) == (tenant not in moving), "the others stay"

    for name in dead:
        cloud.fabric.plug(cloud.host(name), "eth0")
        cloud.start(name, roles[name])
    cloud.settle()
    assert cloud.places() == after
    assert concentrators(cloud) == Counter(vnics.keys())
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []
    for first, last in guests.values():
        assert cloud.fabric.ping(first, last)
    cloud.close()
