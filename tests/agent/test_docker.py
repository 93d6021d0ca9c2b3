"""The agent serves Docker: when it starts to, and what happens when it cannot."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet import Cluster, InvalidRequest
from snnet.agent.docker import DockerService
from snnet.agent.settings import AgentSettings
from snnet.contract import Registry
from snnet.docker import DockerPlugin
from tests.docker.client import GATEWAY, Client

from .conftest import FakeHost


@pytest.fixture
def folder() -> Iterator[Path]:
    # A Unix socket's path has 107 bytes at most, and pytest's own folders are long.
    folder = Path(tempfile.mkdtemp(prefix="snnet-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def settings(folder: Path) -> AgentSettings:
    return AgentSettings(docker=True, listen=f"{folder}/tenants.sock")


def test_docker_is_served_once_the_agent_is_ready(
    registry: Registry, settings: AgentSettings
) -> None:
    host = FakeHost(registry)
    with host.agent, DockerService(settings, host.agent) as service:
        service.step()
        assert not Path(settings.listen).exists(), "the agent has not had a round"
        host.settle()
        service.step()
        docker = Client(Path(settings.listen))
        pool = docker.make_pool(**{"snnet.network": "web"})
        docker.address(pool, **GATEWAY)
        docker.create_network("a" * 64, {})
        assert [one.name for one in host.cluster.list_networks()] == ["web"]
        assert registry.read("v1/docker/host-1/tenants/").entries != {}
    assert not Path(settings.listen).exists()


def test_a_first_round_that_fails_is_no_problem_of_docker(
    registry: Registry, settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeHost(registry)

    def refuse() -> None:
        raise InvalidRequest("no uplink", field="compute_nets")

    with host.agent, DockerService(settings, host.agent) as service:
        monkeypatch.setattr(host.agent.node, "init", refuse)
        host.agent.step(0)
        service.step()
        assert host.agent.status()["problem"] == "compute_nets: no uplink"
        assert not Path(settings.listen).exists()


def test_another_plugin_at_the_socket(
    host: FakeHost, settings: AgentSettings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, a problem of the agent's, and tried again until the other one is gone."""
    other = DockerPlugin(
        host.agent.node, name="tenants", folder=folder, cluster=Cluster(host.registry)
    )
    with DockerService(settings, host.agent) as service:
        with other:
            other.init()
            other.start()
            service.step()
            service.step()
            status = host.agent.status()
            assert status["state"] == "failing"
            assert status["problem"].startswith("docker: another plugin answers at")
            host.cluster.create_network("web", subnet="10.1.0.0/24")
            host.settle()
            assert host.states() == {"web": "ready"}, "the agent works on"
            assert host.agent.status()["problem"] == status["problem"]
        assert caplog.text.count("cannot serve Docker: another plugin answers at") == 1
        service.step()
        status = host.agent.status()
        assert (status["state"], status["problem"]) == ("ready", None)
        assert Client(Path(settings.listen)).ask("NetworkDriver.GetCapabilities")


def test_a_socket_that_somebody_removed(host: FakeHost, settings: AgentSettings) -> None:
    with DockerService(settings, host.agent) as service:
        service.step()
        Path(settings.listen).unlink()
        service.step()
        assert Client(Path(settings.listen)).ask("NetworkDriver.GetCapabilities")
        shutil.rmtree(Path(settings.listen).parent)
        service.step()
        assert Client(Path(settings.listen)).ask("NetworkDriver.GetCapabilities")
        assert host.agent.status()["problem"] is None


def test_a_name_that_docker_cannot_use(host: FakeHost, folder: Path) -> None:
    settings = AgentSettings(docker=True, listen=f"{folder}/NO.sock")
    with pytest.raises(InvalidRequest, match=r"listen: .*'NO' is not a valid name"):
        DockerService(settings, host.agent)


def test_one_place_for_what_is_remembered(host: FakeHost, registry: Registry) -> None:
    with pytest.raises(InvalidRequest, match="cluster: has a registry: leave out registry="):
        DockerPlugin(host.agent.node, registry=registry, cluster=host.cluster)
