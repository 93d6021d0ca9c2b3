"""A network host that is cut off from etcd alone, and another one that takes its place."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import pytest

from snnet import FakeKernel, NetworkConfig
from snnet.contract import (
    Changed,
    Hearing,
    IPAddress,
    Link,
    Reading,
    Registry,
    RegistryWatch,
    Session,
    Unavailable,
    Write,
)
from snnet.lab.choice import choose
from snnet.lab.cluster import ClusterLab, cluster_scenario
from snnet.lab.scenario import Machine
from snnet.system.announcer import Announcer
from snnet.system.process import find_program
from tests.registries.members import binary

from .cloud import CONFIG, MESH, OUTSIDE, Cloud

PATIENCE = 40.0
"""Seconds; a quiet machine needs three after the announcement."""


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterLab]:
    """Two network hosts, two compute hosts and three members of etcd, in namespaces."""
    etcd = binary()
    if find_program("busybox") is None or etcd is None:
        pytest.skip("this needs busybox and etcd")
    monkeypatch.setenv("PATH", f"{Path(etcd).parent}:{os.environ['PATH']}")
    lab = ClusterLab(choose("netlink"), cluster_scenario(), threading.Event())
    try:
        lab.build_wire()
        lab.start_registry()
        for host in lab.network_hosts:
            lab.start_agent(host)
        yield lab
    finally:
        left = lab.close()
    assert left == []


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def etcd_routes(lab: ClusterLab, host: Machine, verb: str) -> None:
    """Have a host send nothing to the members, or send to them again."""
    members = [item for item in lab.scenario.others if item.name.startswith("etcd")]
    lab.machine(host).ip([f"route {verb} blackhole {item.address.ip}" for item in members])


@pytest.mark.kernel
def test_it_yields_to_the_announcement_of_the_host_that_has_its_concentrator(
    lab: ClusterLab,
) -> None:
    """It cannot read that its host is drained; being cut off alone, or a lie, moves nothing."""
    lab.ask(lambda cluster: cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24"))
    until(lambda: lab.unready() == [])
    (place,) = lab.places()
    host, heir = sorted(lab.network_hosts, key=lambda item: item.name != place.node)
    assert len(lab.concentrators(host)) == 1
    etcd_routes(lab, host, "add")
    until(lambda: not lab.ask(lambda cluster: cluster.get_node(host.name)).alive)
    time.sleep(3)
    assert lab.places() == [place]
    # Somebody claims the address and does not answer for it.
    with contextlib.closing(Announcer(lab.machine(heir).fd)) as liar:
        liar.announce("eth0", ip_address(place.address), None)
    time.sleep(3)
    assert len(lab.concentrators(host)) == 1
    lab.ask(lambda cluster: cluster.drain_node(host.name))
    until(lambda: lab.places()[0].node == heir.name)
    until(lambda: lab.concentrators(host) == [])
    assert len(lab.concentrators(heir)) == 1
    assert not lab.ask(lambda cluster: cluster.get_node(host.name)).alive, "it is still cut off"
    etcd_routes(lab, host, "delete")
    until(lambda: lab.ask(lambda cluster: cluster.get_node(host.name)).alive)
    assert (lab.concentrators(host), lab.places()[0].node) == ([], heir.name)
    assert lab.unready() == []


# -- on fakes --------------------------------------------------------------------------


class Line(Registry):
    """A registry that can be cut off: calls fail, at once or once ``hangs`` is set."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.cut = False
        self.hangs: threading.Event | None = None
        self.asked = threading.Event()

    def _pass(self) -> Registry:
        if self.cut:
            self.asked.set()
            if self.hangs is not None:
                assert self.hangs.wait(PATIENCE)
            raise Unavailable("the line is cut", unwritten=True)
        return self._registry

    def read(self, *prefixes: str) -> Reading:
        return self._pass().read(*prefixes)

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        return self._pass().commit(writes, expected)

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        return LineWatch(self, self._pass().watch(*prefixes, after=after))

    def session(self, ttl: float) -> Session:
        return LineSession(self, self._pass().session(ttl))

    def close(self) -> None:
        pass


class LineSession(Session):
    def __init__(self, line: Line, session: Session) -> None:
        self._line, self._session = line, session
        self.id = session.id

    def renew(self) -> None:
        self._line._pass()
        self._session.renew()

    def close(self) -> None:
        self._session.close()


class LineWatch(RegistryWatch):
    def __init__(self, line: Line, watch: RegistryWatch) -> None:
        self._line, self._watch = line, watch
        self._broken = False

    def next(self, timeout: float | None = None) -> list[Changed]:
        if self._line.cut:
            self._broken = True
            raise Unavailable("the line is cut")
        # One that was broken is late: calls are answered before it tells anything.
        return [] if self._broken else self._watch.next(timeout)

    def close(self) -> None:
        self._watch.close()


class Told(Hearing):
    """Hears what the test says."""

    open = 0

    def __init__(self, kernel: FakeKernel, addresses: Collection[IPAddress]) -> None:
        self._kernel, self._addresses = kernel, set(addresses)
        Told.open += 1

    said: ClassVar[set[IPAddress]] = set()

    def heard(self) -> set[IPAddress]:
        found = self._addresses & Told.said
        Told.said -= found
        return found

    def close(self) -> None:
        Told.open -= 1


class LinedCloud(Cloud):
    def __init__(self, config: NetworkConfig = CONFIG) -> None:
        super().__init__(config)
        self.lines: dict[str, Line] = {}

    def registry_of(self, name: str) -> Registry:
        line = self.lines[name] = Line(self.registry)
        return line

    def settle_others(self, away: str) -> None:
        """Let all agents but one come to rest."""
        agent = self.agents.pop(away)
        self.settle()
        self.agents[away] = agent


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[None]:
    """Hosts hear what the test says, and listen no more in the end."""
    monkeypatch.setattr(
        FakeKernel, "hear", lambda self, _, addresses: Told(self, addresses), raising=False
    )
    Told.said, Told.open = set(), 0
    yield
    assert Told.open == 0


@pytest.fixture
def cloud(heard: None) -> Iterator[LinedCloud]:
    """A tenant with a VNIC, whose concentrator is on one of two network hosts."""
    cloud = LinedCloud()
    furnish(cloud)
    yield cloud
    cloud.close()


def furnish(cloud: Cloud) -> None:
    cloud.add("net-1", "net-2", roles=["network"])
    cloud.add("cn-1", roles=["compute"])
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    cloud.settle()


def has_it(cloud: Cloud, name: str) -> bool:
    return len(cloud.agents[name].node.topology().concentrators) == 1


def places(cloud: Cloud) -> tuple[str, str, IPAddress]:
    """Who has the concentrator, who has not, and its address."""
    host, address = cloud.places()["acme"]
    return host, "net-2" if host == "net-1" else "net-1", ip_address(address)


def steps(cloud: Cloud) -> bool:
    for _ in range(3):
        for agent in cloud.agents.values():
            agent.step(0.02)
    return False


def test_only_what_is_announced_and_answered_for_is_given_up(cloud: LinedCloud) -> None:
    host, heir, address = places(cloud)
    cloud.lines[host].cut = True
    steps(cloud)
    assert has_it(cloud, host)
    Told.said = {address}
    steps(cloud)
    assert (has_it(cloud, host), Told.said) == (True, set()), "nobody else answers"
    cloud.cluster.drain_node(host)
    cloud.settle_others(host)
    assert has_it(cloud, heir)
    steps(cloud)
    assert has_it(cloud, host), "it has heard nothing"
    Told.said = {address}
    steps(cloud)
    assert not has_it(cloud, host)
    assert cloud.agents[host].status()["concentrators"] == []
    assert cloud.fabric.ping(cloud.guest("v1"), OUTSIDE)
    cloud.lines[host].cut = False
    until(lambda: cloud.agents[host].step(0.02) and cloud.agents[host].status()["problem"] is None)
    assert not has_it(cloud, host), "made again from what it knew before"
    cloud.settle()
    assert cloud.places()["acme"][0] == heir
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_what_was_given_up_to_somebody_else_comes_back_with_the_registry(
    cloud: LinedCloud,
) -> None:
    """The address was a stranger's for a while; the registry knows of no other place."""
    host, _, address = places(cloud)
    thief = cloud.fabric.add_host("thief", f"{address}/16")
    cloud.lines[host].cut = True
    Told.said = {address}
    steps(cloud)
    assert not has_it(cloud, host)
    cloud.fabric.unplug(thief)
    cloud.lines[host].cut = False
    until(lambda: steps(cloud) or has_it(cloud, host))
    cloud.settle()
    assert cloud.fabric.ping(cloud.guest("v1"), OUTSIDE)
    assert cloud.faults() == []


def test_with_the_registry_nobody_is_believed(cloud: LinedCloud) -> None:
    host, _, address = places(cloud)
    cloud.fabric.add_host("thief", f"{address}/16")
    Told.said = {address}
    steps(cloud)
    assert has_it(cloud, host)


def test_what_others_change_is_repaired_while_the_registry_is_asked_in_vain(
    cloud: LinedCloud,
) -> None:
    """The answer of a registry may take many seconds to fail."""
    agent, kernel, line = cloud.agents["cn-1"], cloud.host("cn-1"), cloud.lines["cn-1"]
    (vnic,) = agent.node.topology().vnics
    line.cut = True
    agent.step(0.02)
    line.hangs = threading.Event()
    line.asked.clear()

    def ask() -> None:
        while not line.asked.is_set():  # the next try has its time
            agent.step(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert line.asked.wait(PATIENCE)
        kernel.links.remove(vnic.link)
        until(lambda: kernel.find(Link(name=vnic.link_name)) is not None)
        assert thread.is_alive(), "the registry has not answered yet"
    finally:
        line.hangs.set()
        thread.join()
    line.cut, line.hangs = False, None
    cloud.settle()
    assert cloud.faults() == []


def moved_away(cloud: LinedCloud) -> tuple[str, IPAddress]:
    """A host that is cut off from the registry, and the address of which another one has."""
    host, _, address = places(cloud)
    cloud.lines[host].cut = True
    steps(cloud)
    cloud.cluster.drain_node(host)
    cloud.settle_others(host)
    return host, address


def test_what_was_heard_is_kept_until_somebody_could_be_asked(
    cloud: LinedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, address = moved_away(cloud)
    with monkeypatch.context() as patch:
        patch.setattr(cloud.host(host), "answering", Mock(side_effect=OSError("not now")))
        Told.said = {address}
        steps(cloud)
        assert Told.said == set()
        assert has_it(cloud, host)
    steps(cloud)
    assert not has_it(cloud, host)


def test_a_host_that_could_not_listen_tries_again(
    cloud: LinedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, _ = places(cloud)
    roles = cloud.stop(host)
    with monkeypatch.context() as patch:
        patch.setattr(FakeKernel, "hear", Mock(side_effect=OSError("not now")), raising=False)
        cloud.start(host, roles)
        cloud.settle()
    assert Told.open == 0
    host, address = moved_away(cloud)
    Told.said = {address}
    steps(cloud)
    assert not has_it(cloud, host)


def test_what_was_heard_before_the_registry_was_back_counts_no_more(
    cloud: LinedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address was a stranger's for a while, and the registry says that it is ours."""
    host, _, address = places(cloud)
    thief = cloud.fabric.add_host("thief", f"{address}/16")
    cloud.lines[host].cut = True
    with monkeypatch.context() as patch:
        refuse = Mock(side_effect=Unavailable("not now"))
        patch.setattr(cloud.agents[host].node, "remove_concentrator", refuse)
        Told.said = {address}
        steps(cloud)
    assert has_it(cloud, host)
    cloud.fabric.unplug(thief)
    cloud.lines[host].cut = False
    until(lambda: cloud.agents[host].step(0.02) and cloud.agents[host].status()["problem"] is None)
    cloud.settle()
    cloud.lines[host].cut = True
    steps(cloud)
    assert has_it(cloud, host)


def test_addresses_that_a_host_translates_are_nobody_elses(heard: None) -> None:
    """In a mesh they are link-local, and each host has the same."""
    cloud = LinedCloud(MESH)
    furnish(cloud)
    for line in cloud.lines.values():
        line.cut = True
    steps(cloud)
    assert Told.open == 0
    cloud.close()
