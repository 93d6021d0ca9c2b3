"""What an agent says about objects, and when it tries again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from snnet import open_registry
from snnet.agent import statuses
from snnet.agent.statuses import Said, Statuses
from snnet.cluster import keys
from snnet.contract import Registry

V1, V2 = ("vnic", "acme", "v1"), ("vnic", "acme", "v2")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("memory:") as registry:
        yield registry


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Both clocks, to be moved by hand; without jitter."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: 5000 + now[0])
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    return now


def stored(registry: Registry) -> dict[str, object]:
    return {
        key.rstrip("/").rpartition("/")[2]: dict(entry.document)
        for key, entry in registry.read(keys.STATUS).entries.items()
    }


def test_only_what_changed_is_written(registry: Registry) -> None:
    said = Statuses(registry, "cn-1")
    said.write([Said(V1, 3, details={"link_name": "snv-1"}), Said(V2, 4, waits_for="a network")])
    assert stored(registry) == {
        "v1": {"state": "ready", "of": 3, "details": {"link_name": "snv-1"}},
        "v2": {"state": "pending", "of": 4, "error": "waits for a network"},
    }
    revision = registry.read().revision
    said.write([Said(V1, 3, details={"link_name": "snv-1"}), Said(V2, 4, waits_for="a network")])
    assert registry.read().revision == revision
    assert said.counts == {"ready": 1, "pending": 1, "failed": 0}
    said.write([Said(V2, 4)])
    assert stored(registry) == {"v2": {"state": "ready", "of": 4}}


def test_counting_while_the_agent_writes(registry: Registry) -> None:
    """Health checks and metrics ask in threads of their own."""
    said = Statuses(registry, "cn-1")

    class Slow(dict[str, object]):
        """A document during whose reading the agent writes."""

        def get(self, key: str, default: object = None) -> object:
            said.write([Said(V2, 4)])
            return super().get(key, default)

    said.learn({keys.status("cn-1", *V1): Slow(state="ready"), "other": {}})
    assert said.counts == {"ready": 1, "pending": 0, "failed": 0}
    assert said.counts == {"ready": 1, "pending": 0, "failed": 0}


def test_an_earlier_agents_documents_are_taken_over(registry: Registry) -> None:
    """What nothing is said about any more goes, also if another process wrote it."""
    Statuses(registry, "cn-1").write([Said(V1, 3), Said(V2, 4)])
    Statuses(registry, "cn-2").write([Said(V1, 9)])
    later = Statuses(registry, "cn-1")
    entries = registry.read(keys.status("cn-1")).entries
    later.learn({key: entry.document for key, entry in entries.items()})
    later.write([Said(V1, 3)])
    assert list(registry.read(keys.STATUS).entries) == [
        keys.status("cn-1", *V1), keys.status("cn-2", *V1)
    ]  # fmt: skip


def test_waits_grow_while_the_same_document_fails(registry: Registry, clock: list[float]) -> None:
    said = Statuses(registry, "cn-1")
    waits = []
    for pid in range(9):
        said.write([Said(V1, 3, error=f"no answer of dnsmasq (pid {pid})")])
        assert said.retry_in is not None
        waits.append(said.retry_in)
        clock[0] += said.retry_in
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert stored(registry)["v1"] == {
        "state": "failed",
        "of": 3,
        "error": "no answer of dnsmasq (pid 8)",
        "retry_at": round(5000 + clock[0]),
    }
    said.write([Said(V1, 4, error="no answer of dnsmasq (pid 8)")])
    assert said.retry_in == 0.5
    said.write([Said(V1, 3)])
    assert said.retry_in is None


def test_a_round_before_the_retry_keeps_its_time(registry: Registry, clock: list[float]) -> None:
    """Rounds for the sake of others do not count as tries."""
    said = Statuses(registry, "cn-1")
    said.write([Said(V1, 3, error="no tap")])
    clock[0] += 0.1
    said.write([Said(V1, 3, error="no tap"), Said(V2, 4)])
    assert said.retry_in == pytest.approx(0.4)


def test_waits_are_jittered() -> None:
    waits = {statuses.wait_after(3) for _ in range(20)}
    assert len(waits) > 1
    assert all(3.2 <= wait <= 4.8 for wait in waits)


def test_many_are_written_in_commits_within_the_limit(registry: Registry) -> None:
    said = Statuses(registry, "cn-1")
    said.write([Said(("vnic", "acme", f"v{number}"), 1) for number in range(250)])
    assert len(stored(registry)) == 250
    said.write([])
    assert stored(registry) == {}
