"""A registry that is not the one a host was made by: nothing is removed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from snnet import Cluster, open_registry
from snnet.agent.pause import Pause
from snnet.cluster import keys
from snnet.cluster.mirror import Mirror
from snnet.contract import Conflict, Delete, Put, Registry
from snnet.node.noted import forget_registries

from .cloud import Cloud
from .conftest import FakeHost


@pytest.fixture
def made(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host with a guest and its network; a round that failed is repeated at once."""
    monkeypatch.setattr(Pause, "begin", lambda pause: 0.0)
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    assert set(host.states().values()) == {"ready"}
    return host


@pytest.fixture
def other() -> Iterator[Registry]:
    with open_registry("memory:") as registry:
        yield registry


def wipe(registry: Registry) -> dict[str, Mapping[str, Any]]:
    """Delete every document at once, and return them."""
    found = registry.read(keys.ROOT).entries
    registry.commit([Delete(key) for key in found])
    return {key: entry.document for key, entry in found.items()}


def step(host: FakeHost) -> str:
    """Some rounds; return what the agent says is wrong."""
    for _ in range(4):
        host.agent.step(0)
    return str(host.agent.problem)


@pytest.mark.parametrize("is_peopled", [False, True])
def test_an_agent_of_another_registry_changes_nothing(
    made: FakeHost, other: Registry, *, is_peopled: bool
) -> None:
    before = made.kernel.to_text()
    if is_peopled:
        Cluster(other).create_network("late", subnet="10.7.0.0/24")
        other.commit([Put(keys.REGISTRY, {"id": "theirs"})])
    mine, made.registry = made.registry, other
    made.restart()
    assert "'snnet host follow'" in step(made)
    assert made.kernel.to_text() == before
    node = next(iter(Cluster(other).nodes()))
    assert "restore its backup" in str(node.problem), "others see it"

    made.registry = mine
    made.restart()
    made.settle()
    assert made.agent.problem is None
    assert made.kernel.to_text() == before


@pytest.mark.parametrize("restarts", [False, True])
def test_a_registry_that_lost_its_documents_removes_nothing(
    made: FakeHost, *, restarts: bool
) -> None:
    before = made.kernel.to_text()
    lost = wipe(made.registry)
    if restarts:
        made.restart()
    assert "has lost its documents" in step(made)
    made.cluster.create_network("late", subnet="10.7.0.0/24")
    assert "has lost its documents" in step(made)
    assert made.kernel.to_text() == before

    made.cluster.delete_network("default", "late")
    made.registry.commit([Put(key, lost[key]) for key in lost if "alive" not in key])
    made.settle()
    assert made.agent.problem is None
    assert made.kernel.to_text() == before


def test_an_etcd_without_its_data_begins_with_low_revisions(
    made: FakeHost, other: Registry
) -> None:
    mirror = Mirror(other)
    mirror.follow(keys.REGISTRY, keys.NETWORKS)
    assert mirror.revision < made.registry.read().revision
    with pytest.raises(Conflict, match="lost its documents"):
        made.agent._origin.reading(mirror)
    mirror.close()


def test_a_lost_file_of_sqlite_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pause, "begin", lambda pause: 0.0)
    url = f"sqlite://{tmp_path}/r.db"
    with open_registry(url) as registry:
        host = FakeHost(registry)
        host.cluster.create_network("web", subnet="10.1.0.0/24")
        host.settle()
        before = host.kernel.to_text()
        host.agent.close()
        for path in tmp_path.iterdir():
            path.unlink()
    with open_registry(url) as registry:
        host.registry = registry
        host.agent = host.open_agent()
        assert "nothing is changed here" in step(host)
        host.agent.close()
    assert host.kernel.to_text() == before


def test_follow_makes_the_host_as_the_new_registry_says(made: FakeHost) -> None:
    wipe(made.registry)
    made.cluster.create_network("late", subnet="10.7.0.0/24")
    step(made)
    assert forget_registries(made.kernel) == 1
    made.settle()
    assert made.agent.problem is None
    assert made.states() == {"late": "ready"}
    assert not made.agent.node.topology().vnics


@pytest.mark.parametrize("resets", [False, True])
def test_a_host_without_anything_follows_any_registry(
    made: FakeHost, other: Registry, *, resets: bool
) -> None:
    made.cluster.delete_network("default", "web", force=True)
    made.settle()
    if resets:
        made.agent.node.reset_network()
    made.registry = other
    made.restart()
    made.settle()
    assert made.agent.problem is None


def test_hosts_that_start_together_agree_on_the_id() -> None:
    cloud = Cloud.of_four()
    cloud.furnish()
    assert cloud.states() == {"ready"}
    assert [agent.problem for agent in cloud.agents.values()] == [None] * 4
    (entry,) = cloud.registry.read(keys.REGISTRY).entries.values()
    places = cloud.places()
    wipe(cloud.registry)
    before = {name: cloud.host(name).to_text() for name in cloud.agents}
    for _ in range(3):
        for agent in cloud.agents.values():
            agent.step(0)
    assert {name: cloud.host(name).to_text() for name in cloud.agents} == before
    assert places
    assert entry.document["id"]
    cloud.close()
