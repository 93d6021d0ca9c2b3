"""A host of a fabric with an agent, and the cluster that tells it what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnet import Agent, Cluster, Fabric, FakeKernel, NetworkConfig, open_registry
from snnet.contract import Registry
from snnet.system.process import find_program

from .lan import Lan
from .machine import Machine


class FakeHost:
    """One host of a fabric, its agent, and its cluster.  Close it to let the agent go."""

    def __init__(self, registry: Registry, node: str = "host-1") -> None:
        self.registry = registry
        self.cluster = Cluster(registry)
        self.fabric = Fabric()
        self.kernel: FakeKernel = self.fabric.add_host(node, "192.0.2.11/24")
        self.node = node
        self.agent = self.open_agent()

    def open_agent(self) -> Agent:
        config = NetworkConfig(topology="local")
        return Agent(
            self.node,
            config,
            registry=self.registry,
            backend=self.kernel,
            firewall="fake",
            dhcp="fake",
        )

    def restart(self) -> None:
        """Another agent takes the host over."""
        self.agent.close()
        self.agent = self.open_agent()

    def settle(self, rounds: int = 20) -> None:
        """Step until nothing is left to do; the waits between tries are not waited for."""
        for _ in range(rounds):
            if not self.agent.step(0.03):
                return
        raise AssertionError(f"the agent does not come to rest: {self.agent.status()}")

    def states(self) -> dict[str, str]:
        """The state of every object, by name."""
        cluster = self.cluster
        objects = [
            *cluster.list_networks(), *cluster.list_vnics(), *cluster.list_forwards(),
            *cluster.list_public_ips(), *cluster.list_groups(),
        ]  # fmt: skip
        return {item.name: item.state for item in objects}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("memory:") as registry:
        yield registry


@pytest.fixture
def host(registry: Registry) -> Iterator[FakeHost]:
    host = FakeHost(registry)
    host.agent.step(0)
    yield host
    host.agent.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are fractions of a second are a tenth of that."""
    monkeypatch.setattr("snnet.agent.statuses.FIRST_WAIT", 0.03)
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.01)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 0)
    monkeypatch.setattr("snnet.agent.drift.LOOK_EVERY", 300.0)
    monkeypatch.setattr("snnet.agent.placing.LOOK_EVERY", 0.05)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents do not repair what others change."""
    monkeypatch.setattr("snnet.agent.drift.Drift._look", lambda drift, node: None)
    monkeypatch.setattr("snnet.agent.drift.Drift._glances", lambda drift, node: False)


@pytest.fixture
def lan(make_netns: Callable[[], str], tmp_path: Path) -> Iterator[Lan]:
    for program in ("nft", "dnsmasq", "ping", "nsenter"):
        if find_program(program) is None:
            pytest.skip(f"{program} is not installed")
    lan = Lan(make_netns, tmp_path)
    lan.start_agent()
    try:
        lan.until(lambda: '"ready"' in lan.try_snnet("node list --json").stdout)
        yield lan
        if lan.agent is None:
            lan.start_agent()
        lan.snnet("network delete web --force")
        lan.until(lambda: lan.links() <= {"lo", "eth0"}, explain=lambda: f"{lan.links()}\n")
    finally:
        lan.close()


@pytest.fixture
def machine(make_netns: Callable[[], str], tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(make_netns, tmp_path)
    try:
        yield machine
    finally:
        machine.close()
