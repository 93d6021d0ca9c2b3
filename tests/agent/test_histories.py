"""Agents that are killed between any two of their steps, and registries that lose answers.

A history: hosts get networks and VNICs, a network host dies and comes back, everything is
deleted.  At one point of it, and at another one for each history, an agent is killed, or the
registry does not answer.  Afterwards everything is as it would be without.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from snnet.cluster import keys
from snnet.contract import Registry, Unavailable, applying
from snnet.registries.memory import MemoryRegistry
from tests.killed import Killed

from .cloud import OUTSIDE, Cloud

EVERY = int(os.environ.get("SNNET_TEST_EVERY", "37"))
"""Of so many points one is tried; 1 for all."""


class Faults:
    """Counts what agents do to hosts and to the registry, and fails once, at one of the steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.at = 0
        self.kind = ""
        self.active = False

    def step(self, *, registry: bool) -> str:
        """What becomes of this step: "" if nothing."""
        if not self.active:
            return ""
        self.steps += 1
        if self.steps != self.at or (self.kind != "killed" and not registry):
            return ""
        if self.kind == "killed":
            raise Killed
        return self.kind

    @contextmanager
    def counting(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False


FAULTS = Faults()


class FaultyCloud(Cloud):
    """Its agents are killed and started again by what steps them."""

    def __init__(self, registry: str = "memory:") -> None:
        super().__init__(registry=registry)
        self.killed = 0

    def settle(self, rounds: int = 200) -> int:
        for number in range(rounds):
            busy = False
            for name, agent in tuple(self.agents.items()):
                try:
                    waits = agent.status()["problem"] is not None
                    with FAULTS.counting():
                        busy |= agent.step(0.05 if waits else 0)
                    busy |= agent.status()["problem"] is not None
                except Killed:
                    # Nothing is closed: a killed process has no time for it.
                    self.killed += 1
                    self.host(name).end_claims()
                    self.start(name, agent.roles)
                    busy = True
            if not busy:
                return number
        raise AssertionError([agent.status() for agent in self.agents.values()])


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    make_faulty(monkeypatch, MemoryRegistry)


def make_faulty(monkeypatch: pytest.MonkeyPatch, kind: type[Registry]) -> None:
    """Have operations on hosts and commits to such registries be steps of ``FAULTS``."""
    carry_out = applying.Applying._carry_out_one
    commit = kind.commit

    def carried_out(self: Any, position: int) -> Any:
        FAULTS.step(registry=False)
        return carry_out(self, position)

    def committed(
        self: Registry, writes: Sequence[Any], expected: Mapping[str, int] | None = None
    ) -> int:
        fault = FAULTS.step(registry=True)
        if fault == "unwritten":
            raise Unavailable("nobody answers", unwritten=True)
        revision = commit(self, writes, expected)
        if fault == "unanswered":
            raise Unavailable("the answer is lost")
        return revision

    monkeypatch.setattr(applying.Applying, "_carry_out_one", carried_out)
    monkeypatch.setattr(kind, "commit", committed)


def check(cloud: Cloud) -> None:
    """No address is there twice, no VNIC is lost, no tunnel is left, no concentrator is twice."""
    assert cloud.states() <= {"ready"}
    assert cloud.faults() == []
    places = cloud.places()
    there = [
        (name, side.tenant_id, str(side.ip))
        for name, agent in cloud.agents.items()
        for side in agent.node.topology().concentrators
    ]
    assert sorted(there) == sorted((node, tenant, ip) for tenant, (node, ip) in places.items())
    addresses = Counter(address for _, address in places.values())
    assert set(addresses.values()) <= {1}
    claims = cloud.documents(keys.CONCENTRATOR_ADDRESSES)
    assert {key[:-1]: claim["tenant"] for key, claim in claims.items()} == {
        address: tenant for tenant, (_, address) in places.items()
    }
    vnics = {
        (name, item.tenant_id, item.vnic_id)
        for name, agent in cloud.agents.items()
        for item in agent.node.topology().vnics
    }
    assert vnics == {(item.node, item.tenant, item.name) for item in cloud.cluster.list_vnics()}
    parts = {f"{item.node}/{item.tenant}/{item.network}/" for item in cloud.cluster.list_vnics()}
    assert set(cloud.documents(keys.TUNNELS)) == parts


def history() -> int:
    """One history; returns how many agents were killed."""
    cloud = FaultyCloud()
    cloud.add("net-1", "net-2", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    before = {name: cloud.host(name).to_text() for name in cloud.agents}
    for tenant in ("a", "b"):
        cloud.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        for number in (1, 2):
            cloud.cluster.create_vnic(
                f"v{number}", tenant=tenant, network="web", node=f"cn-{number}"
            )
    cloud.settle()
    check(cloud)
    guests = [cloud.guest(f"v{number}", tenant) for tenant in "ab" for number in (1, 2)]
    cloud.kill("net-1")
    cloud.settle()
    check(cloud)
    assert cloud.fabric.ping(guests[0], guests[1])
    assert all(cloud.fabric.ping(guest, OUTSIDE) for guest in guests)
    cloud.fabric.plug(cloud.host("net-1"), "eth0")
    cloud.start("net-1", ["network"])
    cloud.cluster.update_vnic("a", "v1", node="cn-2")
    cloud.cluster.drain_node("net-2")
    cloud.settle()
    check(cloud)
    for guest in guests:
        cloud.fabric.detach(guest)
    for tenant in ("a", "b"):
        cloud.cluster.delete_network(tenant, "web", force=True)
    cloud.settle()
    check(cloud)
    assert {name: cloud.host(name).to_text() for name in cloud.agents} == before
    assert cloud.documents(keys.CONCENTRATORS) == cloud.documents(keys.STATUS) == {}
    cloud.close()
    return cloud.killed


@pytest.mark.parametrize("kind", ["killed", "unwritten", "unanswered"])
@pytest.mark.usefixtures("faulty")
def test_any_point_of_a_history(kind: str, record_property: Callable[..., None]) -> None:
    FAULTS.at, FAULTS.steps, FAULTS.kind = 0, 0, kind
    history()
    steps, killed, tried = FAULTS.steps, 0, 0
    assert steps > 100
    for at in range(1 + EVERY // 2, steps, EVERY):
        FAULTS.at, FAULTS.steps = at, 0
        try:
            killed += history()
        except BaseException as error:
            error.add_note(f"{kind} at step {at} of {steps}")
            raise
        tried += 1
    record_property("histories", tried)
    sys.stdout.write(f"{tried} histories, each of about {steps} steps and one fault: {kind}\n")
    assert killed == (tried if kind == "killed" else 0)
