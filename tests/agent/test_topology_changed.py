"""Hosts whose topology, pool or roles were changed while they had objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from snnet import ApiError, Cnci, NetworkConfig, Report
from snnet.contract import Namespace, ProxyNeighbour, Remove

from .cloud import CONFIG, MESH, OUTSIDE, Cloud

pytestmark = pytest.mark.usefixtures("quick")

CONFIGS = {
    "hub": CONFIG,
    "mesh": MESH,
    "local": replace(CONFIG, topology="local", concentrator_pool=[]),
}
BOTH = ["compute", "network"]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.close()


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The namespaces that were there while their concentrators were shut down."""
    found: list[str] = []
    shutdown = Cnci.shutdown

    def noted(self: Cnci, **limits: Any) -> Report:
        found.append(self.backend.host.netns.name)
        return shutdown(self, **limits)

    monkeypatch.setattr(Cnci, "shutdown", noted)
    return found


def begin(cloud: Cloud, config: NetworkConfig, roles: list[str] = BOTH) -> None:
    cloud.config = config
    cloud.add("host", roles=roles)
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    for name in ("v1", "v2"):
        cloud.cluster.create_vnic(name, tenant="acme", network="web", node="host")
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
    )
    cloud.settle()


def restart(cloud: Cloud, config: NetworkConfig, roles: list[str] = BOTH) -> None:
    """With other settings."""
    cloud.stop("host")
    cloud.config = config
    cloud.start("host", roles)
    cloud.settle()


@pytest.mark.parametrize(("old", "new"), list(permutations(CONFIGS, 2)))
def test_another_topology(cloud: Cloud, shut: list[str], old: str, new: str) -> None:
    """All that is ready works, as on a host that never had the other one."""
    begin(cloud, CONFIGS[old])
    first = cloud.guest("v1")
    restart(cloud, CONFIGS[new])
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []
    assert len(shut) == ("hub" in (old, new)), "a concentrator of the same kind stays"
    second = cloud.guest("v2")
    assert cloud.fabric.ping(first, second)
    assert cloud.fabric.ping(first, OUTSIDE)
    agent = cloud.agents["host"]
    (subnet,) = agent.node.topology().subnets
    assert (subnet.tunnel is None) == (new == "local")
    proxies = cloud.host("host").snapshot({ProxyNeighbour})
    assert len(proxies) == (new == "hub")
    cloud.cluster.delete_network("acme", "web", force=True)
    cloud.settle()
    assert cloud.host("host").state.children == {}
    assert "snnet1 o=cn:host" not in cloud.host("host").to_text()


@pytest.mark.parametrize("old", ["hub", "local"])
def test_a_host_that_runs_no_concentrators_any_more(
    cloud: Cloud, shut: list[str], old: str
) -> None:
    begin(cloud, CONFIGS[old])
    restart(cloud, CONFIG, ["compute"])
    assert len(shut) == 1
    assert cloud.host("host").snapshot({Namespace, ProxyNeighbour}) == {}
    assert cloud.host("host").state.children == {}


def test_another_pool(cloud: Cloud, shut: list[str]) -> None:
    """The address of the concentrator is not in it, which its namespace was found by."""
    begin(cloud, CONFIG)
    restart(cloud, replace(CONFIG, concentrator_pool=["192.0.3.250"]))
    cloud.cluster.delete_network("acme", "web", force=True)
    cloud.settle()
    assert len(shut) == 1
    assert cloud.host("host").state.children == {}


def test_a_namespace_stays_until_what_is_in_it_has_ended(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DHCP server that lives on without a namespace's name cannot be found by anybody."""

    def fails(self: Cnci, **limits: Any) -> Report:
        raise ApiError("not now")

    begin(cloud, CONFIGS["local"])
    with monkeypatch.context() as patch:
        patch.setattr(Cnci, "shutdown", fails)
        cloud.stop("host")
        cloud.config = CONFIG
        agent = cloud.start("host", BOTH)
        for _ in range(3):
            agent.step(0)
        assert len(cloud.host("host").snapshot({Namespace})) == 1
        network = cloud.cluster.get_network("acme", "web")
        assert (network.state, network.error) == ("failed", "not now")
        cloud.cluster.delete_network("acme", "web", force=True)
        for _ in range(3):
            agent.step(0)
        assert len(cloud.host("host").snapshot({Namespace})) == 1
    for _ in range(20):
        agent.step(0.1)
        if not cloud.host("host").state.children:
            break
    assert cloud.host("host").snapshot({Namespace}) == {}


@pytest.mark.parametrize("config", [CONFIG, MESH], ids=["hub", "mesh"])
def test_a_tunnel_that_went_while_no_agent_ran(config: NetworkConfig) -> None:
    """Its VNIC is as it should be, and would be cut off nevertheless."""
    cloud = Cloud.of_four(config)
    cloud.furnish()
    first, second = cloud.guest("v1"), cloud.guest("v2")
    (subnet,) = cloud.agents["cn-1"].node.topology().subnets
    assert subnet.tunnel is not None
    roles = cloud.stop("cn-1")
    assert cloud.host("cn-1").apply([Remove(subnet.tunnel)]).error is None
    assert not cloud.fabric.ping(first, second)
    cloud.start("cn-1", roles)
    cloud.settle()
    assert cloud.fabric.ping(first, second)
    assert cloud.faults() == []
    cloud.close()
