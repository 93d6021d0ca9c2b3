"""A host that has another name than before: ``node`` is the host's name by default."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet import Agent, Cluster, ComputeNode, FakeKernel, NetworkConfig, open_registry
from snnet.cli.waiting import why_pending
from snnet.cluster.documents import Wanted

pytestmark = pytest.mark.usefixtures("quick")

TOPOLOGIES = {
    "local": NetworkConfig(topology="local"),
    "mesh": NetworkConfig(topology="mesh"),
    "hub": NetworkConfig(tunnel="vxlan", concentrator_pool=["192.0.2.200", "192.0.2.201"]),
}


class Host:
    """One host with all roles, whose agent may be started by any name."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config, self.registry = config, open_registry("memory:")
        self.cluster = Cluster(self.registry)
        self.boot()
        self.agent = self.start("debian")
        self.cluster.create_network("web", subnet="10.1.0.0/24")
        self.cluster.create_vnic("v1", network="web")
        self.settle()

    def boot(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.add_uplink("eth0", "192.0.2.11/24")

    def start(self, name: str) -> Agent:
        self.agent = Agent(
            name, self.config, registry=self.registry, backend=self.kernel, firewall="fake",
            dhcp="fake",
        )  # fmt: skip
        self.agent.step(0)
        return self.agent

    def settle(self) -> None:
        for _ in range(20):
            if not self.agent.step(0.02):
                return

    def objects(self) -> list[Wanted]:
        return [*self.cluster.list_networks(), *self.cluster.list_vnics()]

    def why(self, item: Wanted) -> str | None:
        return why_pending(self.cluster.nodes(), self.cluster.placements(), item)


@pytest.fixture(params=TOPOLOGIES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(TOPOLOGIES[request.param])
    assert {item.state for item in host.objects()} == {"ready"}
    host.agent.close()
    yield host
    host.agent.close()
    host.registry.close()


def test_it_makes_nothing_beside_what_it_has_by_its_old_name(host: Host) -> None:
    before, placed = host.kernel.to_text(), host.cluster.placements()
    host.start("box1")
    new = host.cluster.create_network("db", subnet="10.2.0.0/24")
    host.settle()
    problem = str(host.cluster.get_node("box1").problem)
    assert problem.startswith("this host has the links of node 'debian', whose agent is not runn")
    assert "set 'node: debian' in its settings" in problem
    assert host.cluster.get_network("default", "db").state == "pending"
    assert "debian" in str(host.why(new))
    assert (host.kernel.to_text(), host.cluster.placements()) == (before, placed)
    host.agent.close()
    host.start("debian")
    host.settle()
    assert {item.state for item in host.objects()} == {"ready"}


def test_it_begins_once_the_old_name_is_forgotten(host: Host) -> None:
    host.start("box1")
    with ComputeNode("debian", host.config, backend=host.kernel, firewall="fake") as old:
        old.init()
        old.reset_network()
    host.cluster.forget_node("debian", force=True)
    host.cluster.create_vnic("v1", network="web", node="box1")
    for _ in range(50):
        if {item.state for item in host.objects()} == {"ready"}:
            break
        host.agent.step(0.1)
    assert {item.state for item in host.objects()} == {"ready"}
    assert host.agent.node.verify() == []


def test_what_is_pending_names_the_old_name_after_a_reboot() -> None:
    """With topology "local" no other host takes a concentrator over."""
    host = Host(TOPOLOGIES["local"])
    host.agent.close()
    host.boot()
    host.start("box1")
    new = host.cluster.create_network("db", subnet="10.2.0.0/24")
    vnic = host.cluster.create_vnic("v2", network="web", node="debian")
    host.settle()
    advice = (
        "start it with 'snnet agent'; if its host has another name now, set 'node: debian' in "
        "the agent's settings; if it is gone, 'snnet node forget debian'"
    )
    assert host.why(new) == (
        "the concentrator of tenant 'default' is on node 'debian', where no agent is running: "
        f"{advice}"
    )
    assert host.why(vnic) == f"no agent is running on node 'debian': {advice}"
    host.agent.close()
    host.registry.close()
