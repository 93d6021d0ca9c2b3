"""The agent on a fake host: from documents to guests that reach each other."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from snnet import (
    Agent,
    Cluster,
    Cnci,
    Conflict,
    FakeKernel,
    InvalidRequest,
    NetworkConfig,
    Report,
    SnnetError,
    Unavailable,
    open_registry,
    plugins,
)
from snnet.agent.membership import Membership
from snnet.cluster import keys
from snnet.cluster.mirror import Mirror
from snnet.contract import (
    Add,
    Address,
    Delete,
    Denied,
    Driver,
    Listener,
    Put,
    Registry,
    Remove,
    SessionLost,
    Tap,
)
from snnet.registries.memory import MemorySession

from .conftest import FakeHost

pytestmark = pytest.mark.usefixtures("quick")


def test_one_host_with_everything(host: FakeHost) -> None:
    """Guests get their addresses by DHCP, and reach each other, their gateway and no host."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    for name in ("v1", "v2", "c1"):
        role = "container" if name == "c1" else "vm"
        host.cluster.create_vnic(name, network="web", role=role)
    host.cluster.create_forward(network="web", protocol="tcp", port=8080, to="v1", to_port=80)
    host.settle()
    assert host.states() == dict.fromkeys(("web", "v1", "v2", "c1", "tcp-8080"), "ready")
    made = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    assert host.cluster.get_vnic("default", "v1").link_name == made["v1"].link_name
    guests = [host.fabric.attach(host.kernel, made[name], dhcp=True) for name in ("v1", "c1")]
    for guest in guests:
        assert host.fabric.ping(guest, "10.1.0.1")
        assert not host.fabric.ping(guest, "192.0.2.11")
    assert host.fabric.ping(guests[0], "10.1.0.4")
    assert host.agent.node.verify() == []


def test_extra_addresses_change_in_place(host: FakeHost) -> None:
    """The guest keeps its link; the cluster says what it may use, and the agent has it so."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    for name in ("v1", "v2"):
        host.cluster.create_vnic(name, network="web")
    host.settle()
    made = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    guest = host.fabric.attach(host.kernel, made["v1"], address="10.1.0.200/24")
    host.fabric.attach(host.kernel, made["v2"], address="10.1.0.3/24")
    assert not host.fabric.ping(guest, "10.1.0.3")
    host.cluster.update_vnic("default", "v1", extra_addresses=["10.1.0.192/28"])
    host.settle()
    assert host.fabric.ping(guest, "10.1.0.3")
    host.cluster.update_vnic("default", "v1", extra_addresses=())
    host.settle()
    assert not host.fabric.ping(guest, "10.1.0.3")
    host.cluster.update_vnic("default", "v1", anti_spoofing=False)
    host.settle()
    assert host.fabric.ping(guest, "10.1.0.3")
    after = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    assert after["v1"].link == made["v1"].link
    assert host.states() == dict.fromkeys(("web", "v1", "v2"), "ready")


def test_rates_change_in_place(host: FakeHost) -> None:
    """The guest keeps its link, and the walk of a packet names the limit that holds now."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    for name in ("v1", "v2"):
        host.cluster.create_vnic(name, network="web", rate_from_guest="50mbit")
    host.settle()
    made = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    guest = host.fabric.attach(host.kernel, made["v1"])
    host.fabric.attach(host.kernel, made["v2"])
    assert "sends at most 50mbit" in str(host.fabric.explain(guest, "10.1.0.3"))
    host.cluster.update_vnic("default", "v1", rate_from_guest="2mbit", rate_to_guest="1mbit")
    host.settle()
    said = str(host.fabric.explain(guest, "10.1.0.3"))
    assert said.index("sends at most 2mbit") < said.index("sends at most 1mbit")
    host.cluster.update_vnic("default", "v1", rate_from_guest=None, rate_to_guest=None)
    host.cluster.update_vnic("default", "v2", rate_from_guest=None)
    host.settle()
    assert "at most" not in str(host.fabric.explain(guest, "10.1.0.3"))
    after = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    assert after["v1"].link == made["v1"].link
    assert host.states() == dict.fromkeys(("web", "v1", "v2"), "ready")


def test_guests_learn_the_mtu_of_their_network(host: FakeHost) -> None:
    cluster = host.cluster
    cluster.create_network("web", subnet="10.1.0.0/24", mtu=1400)
    for name in ("v1", "v2"):
        cluster.create_vnic(name, network="web", role="container")
    host.settle()

    def learned(name: str) -> int:
        (vnic,) = (one for one in host.agent.node.topology().vnics if one.vnic_id == name)
        guest = host.fabric.attach(host.kernel, vnic, dhcp=True)
        assert guest.lease is not None
        return guest.lease.mtu

    assert learned("v1") == 1400
    (cnci,) = host.agent._network.running.values()
    (subnet,) = cnci.topology().subnets
    assert subnet.bridge.mtu == 1400
    cluster.update_network("default", "web", mtu=1300)
    host.settle()
    assert learned("v2") == 1300
    assert host.states() == {"web": "ready", "v1": "ready", "v2": "ready"}
    assert host.agent.node.verify() == cnci.verify() == []


@pytest.mark.parametrize(
    ("mtu", "made", "said"),
    [
        (9000, 1500, "mtu: 9000 is not from 1280 to 1500"),
        (1000, 1280, "mtu: 1000 is not from 1280 to 1500"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_an_mtu_that_does_not_fit_is_the_networks_fault(
    host: FakeHost, mtu: int, made: int, said: str
) -> None:
    """It says so, and its guests go on, also after the agent has started again."""
    host.cluster.create_network("web", subnet=["10.1.0.0/24", "fd00:1::/64"], mtu=1400)
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    assert host.states() == {"web": "ready", "v1": "ready"}
    key = keys.network("default", "web")
    document = host.registry.read(key).entries[key].document
    host.registry.commit([Put(key, {**document, "mtu": mtu})])  # 1000 came from an older version
    host.cluster.create_vnic("v2", network="web")
    host.settle()
    links = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    guests = [host.fabric.attach(host.kernel, links[name], dhcp=True) for name in ("v1", "v2")]
    assert host.fabric.ping(*guests)
    for _ in range(2):
        assert host.states() == {"web": "failed", "v1": "ready", "v2": "ready"}
        assert host.cluster.get_network("default", "web").error == said
        vnics = host.agent.node.topology().vnics
        assert {vnic.vnic_id: vnic.mtu for vnic in vnics} == dict.fromkeys(("v1", "v2"), made)
        assert [guest.lease.mtu for guest in guests if guest.lease] == [made, made]
        host.restart()
        host.settle()
    host.cluster.update_network("default", "web", mtu=1450)
    host.settle()
    assert host.states() == {"web": "ready", "v1": "ready", "v2": "ready"}


def test_two_tenants_with_the_same_addresses_never_meet(host: FakeHost) -> None:
    for tenant in ("a", "b"):
        host.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        for name in ("v1", "v2"):
            host.cluster.create_vnic(name, tenant=tenant, network="web")
    host.settle()
    made = {(vnic.tenant_id, vnic.vnic_id): vnic for vnic in host.agent.node.topology().vnics}
    guest = host.fabric.attach(host.kernel, made["a", "v1"], dhcp=True)
    assert not host.fabric.ping(guest, "10.1.0.3"), "nobody is there yet"
    host.fabric.attach(host.kernel, made["b", "v2"], dhcp=True)
    assert not host.fabric.ping(guest, "10.1.0.3"), "that is the other tenant's"
    host.fabric.attach(host.kernel, made["a", "v2"], dhcp=True)
    assert host.fabric.ping(guest, "10.1.0.3")


def test_nothing_is_left_after_everything_is_deleted(host: FakeHost) -> None:
    before = host.kernel.to_text()
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    assert host.kernel.to_text() != before
    host.cluster.delete_network("default", "web", force=True)
    host.settle()
    assert host.kernel.to_text() == before
    assert host.registry.read(keys.STATUS, keys.CONCENTRATORS).entries == {}


def test_a_concentrator_that_is_gone_keeps_nothing_open(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace that an open descriptor leads to would live on without its name."""
    opened: list[str] = []
    inside = host.kernel.inside

    @contextmanager
    def counted(namespace: str, alias: str | None = None) -> Iterator[Driver]:
        with inside(namespace, alias) as backend:
            opened.append(namespace)
            try:
                yield backend
            finally:
                opened.remove(namespace)

    monkeypatch.setattr(host.kernel, "inside", counted)
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.settle()
    assert len(opened) == 1
    host.cluster.delete_network("default", "web")
    host.settle()
    assert opened == []


def test_the_data_plane_outlives_the_agent(host: FakeHost) -> None:
    """The next agent finds all as it is, and changes nothing."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    before = host.kernel.to_text()
    host.agent.close()
    assert host.kernel.to_text() == before
    host.agent = host.open_agent()
    host.settle()
    assert host.kernel.to_text() == before
    assert host.agent.status()["repaired"] == 0
    assert host.states() == {"web": "ready", "v1": "ready"}


def test_what_changed_meanwhile_is_caught_up_with(host: FakeHost) -> None:
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    host.agent.close()
    host.cluster.delete_vnic("default", "v1")
    host.cluster.create_vnic("v2", network="web")
    host.agent = host.open_agent()
    host.settle()
    assert [vnic.vnic_id for vnic in host.agent.node.topology().vnics] == ["v2"]


def test_after_a_reboot_everything_is_made_again(registry: Registry) -> None:
    """Only the registry is left; the same names come back, as they are hashes of identities."""
    first = FakeHost(registry)
    first.agent.step(0)
    first.cluster.create_network("web", subnet="10.1.0.0/24")
    first.cluster.create_vnic("v1", network="web")
    first.cluster.create_forward(network="web", protocol="tcp", port=8080, to="v1")
    first.settle()
    link = first.cluster.get_vnic("default", "v1").link_name
    first.agent.close()
    second = FakeHost(registry)
    second.settle()
    assert set(second.states().values()) == {"ready"}
    assert second.cluster.get_vnic("default", "v1").link_name == link
    assert second.agent.node.verify() == []
    second.agent.close()


def test_drift_is_repaired(host: FakeHost) -> None:
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    vnic = host.cluster.create_vnic("v1", network="web")
    host.settle()
    name = host.cluster.get_vnic(vnic.tenant, vnic.name).link_name
    found = host.kernel.find(Tap(name=str(name)))
    assert found is not None
    assert not host.kernel.apply([Remove(found)]).errors
    assert host.agent.node.verify() != []
    host.settle()
    assert host.agent.node.verify() == []
    assert host.agent.status()["repaired"] >= 1


def test_one_failure_leaves_the_others_alone(host: FakeHost) -> None:
    """A VNIC that cannot be made has a reason and a time, and is made when it can be."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    # Together with others, and then alone.
    host.kernel.fail(at=1, error="ENOMEM")
    host.kernel.fail(at=2, error="ENOMEM")
    host.cluster.create_vnic("v2", network="web")
    host.agent.step(0.05)
    failed = host.cluster.get_vnic("default", "v2")
    assert failed.state == "failed"
    assert "ENOMEM" in str(failed.error)
    assert failed.to_dict()["retry_at"] > 0
    assert host.cluster.get_vnic("default", "v1").state == "ready"
    for _ in range(5):
        host.agent.step(0.1)
    assert host.states() == {"web": "ready", "v1": "ready", "v2": "ready"}


def test_any_failure_anywhere_is_overcome(registry: Registry) -> None:
    """Whichever operation of the host fails first, all is ready in the end."""
    at, failed = 1, True
    while failed:
        host = FakeHost(registry, f"host-{at}")
        host.agent.step(0)
        host.kernel.fail(at=at, error="EBUSY")
        tenant = f"t{at}"
        host.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        host.cluster.create_vnic("v1", tenant=tenant, network="web", node=host.node)
        failed = False
        for _ in range(30):
            host.agent.step(0.05)
            states = {
                host.cluster.get_network(tenant, "web").state,
                host.cluster.get_vnic(tenant, "v1").state,
            }
            failed |= "failed" in states
            if states == {"ready"}:
                break
        assert states == {"ready"}, at
        assert host.agent.node.verify() == []
        host.cluster.delete_network(tenant, "web", force=True)
        host.agent.close()
        failed |= at < 10
        at += 7


@pytest.mark.parametrize("subnet", [("10.1.0.0/24",), ("10.1.0.0/24", "fd00:1::/64")])
def test_all_that_is_ready_works(registry: Registry, subnet: tuple[str, ...]) -> None:
    """Whichever operations fail: a guest of what is said to be ready reaches the outside."""
    at, failing = 0, True
    while failing:
        at += 1
        host = FakeHost(registry, f"host-{at}")
        host.agent.step(0)
        host.fabric.add_host("outside", "192.0.2.1/24")
        tenant = f"t{at}"
        host.cluster.create_network("web", tenant=tenant, subnet=subnet)
        host.cluster.create_vnic("v1", tenant=tenant, network="web", node=host.node)
        host.kernel.fail(at=at, error="EBUSY")
        host.kernel.fail(at=at + 1, error="EBUSY")  # tried again at once, it fails again
        host.agent.step(0.05)
        failing = len(host.kernel.faults.pending) < 2
        if not failing:
            host.settle()
        network = host.cluster.get_network(tenant, "web")
        vnic = host.cluster.get_vnic(tenant, "v1")
        assert failing or (network.state, vnic.state) == ("ready", "ready")
        if network.state == vnic.state == "ready":
            (made,) = host.agent.node.topology().vnics
            guest = host.fabric.attach(host.kernel, made, dhcp=True)
            assert host.fabric.ping(guest, "192.0.2.1"), at
        host.cluster.delete_network(tenant, "web", force=True)
        host.agent.close()


def test_networks_that_are_others_now(host: FakeHost) -> None:
    """Deleted and created again while the agent does not look: keys and networks are others."""
    nets = {"web": "10.1.0.0/24", "db": "10.2.0.0/24"}
    for turn in range(3):
        for name in sorted(nets, reverse=bool(turn % 2)):
            host.cluster.create_network(name, subnet=nets[name])
            host.cluster.create_vnic(f"v-{name}", network=name)
        host.settle()
        assert set(host.states().values()) == {"ready"}, turn
        assert host.agent.node.verify() == []
        guests = [
            host.fabric.attach(host.kernel, made, dhcp=True)
            for made in host.agent.node.topology().vnics
        ]
        assert host.fabric.ping(*guests), turn
        for name in nets:
            host.cluster.delete_network("default", name, force=True)
        if turn == 1:
            nets = {"web": nets["db"], "db": nets["web"]}


def test_without_a_registry_the_host_stays_and_drift_is_repaired(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    vnic = host.cluster.create_vnic("v1", network="web")
    host.settle()
    name = host.cluster.get_vnic(vnic.tenant, vnic.name).link_name

    def unavailable(*arguments: object, **keywords: object) -> None:
        raise Unavailable("no quorum")

    with monkeypatch.context() as patch:
        for method in ("read", "commit", "watch", "session"):
            patch.setattr(host.registry, method, unavailable)
        assert host.agent._mirror._watch is not None
        patch.setattr(host.agent._mirror._watch, "next", unavailable)
        found = host.kernel.find(Tap(name=str(name)))
        assert found is not None
        host.kernel.apply([Remove(found)])
        for _ in range(3):
            host.agent.step(0.1)
        assert host.agent.status()["state"] == "failing"
        assert host.agent.status()["problem"] == "registry: no quorum"
        assert host.kernel.find(Tap(name=str(name))) is not None
    for _ in range(6):
        host.agent.step(0.1)
    assert host.agent.status()["problem"] is None
    assert host.states() == {"web": "ready", "v1": "ready"}


def test_the_port_of_the_host_has_one_owner(registry: Registry) -> None:
    """Forwards of two tenants that were stored before the host was known: the older wins."""
    host = FakeHost(registry)
    cluster = host.cluster
    for tenant in ("b", "a"):
        cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        cluster.create_vnic("v1", tenant=tenant, network="web", node=host.node)
        cluster.create_forward(tenant=tenant, network="web", protocol="tcp", port=80, to="v1")
    host.agent.step(0)
    host.agent.step(0.05)
    assert cluster.get_forward("b", "tcp-80").state == "ready"
    refused = cluster.get_forward("a", "tcp-80")
    assert refused.state == "failed"
    assert refused.error == "the port of this host belongs to forward 'tcp-80' of tenant 'b'"
    assert cluster.get_vnic("a", "v1").state == "ready"
    cluster.delete_forward("b", "tcp-80")
    for _ in range(4):
        host.agent.step(0.1)
    assert cluster.get_forward("a", "tcp-80").state == "ready"
    host.agent.close()


def test_a_forward_of_a_busy_port_fails_alone(host: FakeHost) -> None:
    """It says why, is tried again, and neither the network nor other forwards suffer."""
    host.kernel.sockets.append(Listener("tcp", 22, None, "sshd (pid 1)"))
    cluster = host.cluster
    cluster.create_network("web", subnet="10.1.0.0/24")
    cluster.create_vnic("v1", network="web", role="container")
    for port in (22, 80):
        cluster.create_forward(network="web", protocol="tcp", port=port, to="v1")
    host.settle()
    ready = dict.fromkeys(("web", "v1", "tcp-22", "tcp-80"), "ready")
    assert host.states() == ready | {"tcp-22": "failed"}
    assert cluster.get_forward("default", "tcp-22").error == (
        "port tcp/22 of this host is in use by sshd (pid 1): stop it, or choose another port"
    )
    (side,) = host.agent.node.topology().concentrators
    (cnci,) = host.agent._network.running.values()
    assert (
        [rule.port for rule in side.forwards] == [rule.port for rule in cnci.port_forwards] == [80]
    )
    host.kernel.sockets.clear()
    for _ in range(4):
        host.agent.step(0.3)
    assert host.states() == ready
    assert host.agent.node.verify() == cnci.verify() == []


def test_a_network_of_the_host_fails_alone(host: FakeHost) -> None:
    """One that is served before the host has such an address stays, also for the next agent."""
    cluster, reason = host.cluster, "subnet {} overlaps {} on link eth0: choose another subnet"
    cluster.create_network("bad", subnet="192.0.2.128/25")
    host.settle()
    assert host.states() == {"bad": "failed"}
    cluster.create_network("web", subnet="10.1.0.0/24")
    cluster.create_vnic("v1", network="web", ip="10.1.0.9")
    cluster.create_forward(network="web", protocol="tcp", port=80, to="v1")
    host.settle()
    ready = {"web": "ready", "v1": "ready", "tcp-80": "ready"}
    assert host.states() == {"bad": "failed", **ready}
    error = cluster.get_network("default", "bad").error
    assert error == reason.format("192.0.2.128/25", "192.0.2.11/24")

    late = Address(link="eth0", address=ip_interface("10.1.0.77/16"))
    assert host.kernel.apply([Add(late)]).error is None
    host.restart()
    host.settle()
    cluster.create_network("late", subnet="10.1.1.0/24")
    host.settle()
    assert host.states() == {"bad": "failed", "late": "failed", **ready}
    error = cluster.get_network("default", "late").error
    assert error == reason.format("10.1.1.0/24", "10.1.0.77/16")

    assert host.kernel.apply([Remove(late)]).error is None
    cluster.delete_network("default", "bad")
    host.restart()
    host.settle()
    assert host.states() == {"late": "ready", **ready}


def test_a_host_without_an_uplink_waits_for_one(registry: Registry) -> None:
    host = FakeHost(registry)
    found = host.kernel.state.link("eth0")
    assert found is not None
    host.kernel.state.update_link(found, alias="")
    host.agent.close()
    agent = Agent(
        "host-1", NetworkConfig(compute_nets=["198.51.100.0/24"], topology="local"),
        registry=registry, backend=host.kernel, firewall="fake", dhcp="fake",
    )  # fmt: skip
    with agent:
        agent.step(0)
        assert agent.status()["state"] == "failing"
        assert "198.51.100.0/24" in agent.status()["problem"]
        host.kernel.add_uplink("eth1", "198.51.100.7/24")
        for _ in range(3):
            agent.step(0.1)
        assert agent.status()["state"] == "ready"


@pytest.mark.parametrize("cause", ["no uplink", "number of another node", "fault of ours"])
def test_an_agent_that_cannot_start_pauses_between_tries(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    monkeypatch.setattr("snnet.agent.statuses.FIRST_WAIT", 60.0)
    kernel = FakeKernel()
    if cause != "no uplink":
        kernel.add_uplink("eth0", "192.0.2.11/24")
    registry.commit([Put(keys.node_number(7), {"node": "host-2"})])
    if cause == "fault of ours":
        monkeypatch.setattr("snnet.node.ComputeNode.init", None)
    with Agent(
        "host-1", NetworkConfig(node_number=7 if cause == "number of another node" else None),
        registry=registry, roles=["compute"], backend=kernel, firewall="fake", dhcp="fake",
    ) as agent:  # fmt: skip
        for _ in range(20):
            agent.step(0)
        assert agent.status()["state"] == "failing"
        assert agent.status()["rounds"] == 1


def test_an_agent_that_cannot_start_tries_again_once_the_host_changes(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the waits are by then: DHCP may be slow, and guests wait for the agent."""
    monkeypatch.setattr("snnet.agent.statuses.FIRST_WAIT", 0.05)
    kernel = FakeKernel()
    with Agent(
        "host-1", NetworkConfig(topology="local"), registry=registry, backend=kernel,
        firewall="fake", dhcp="fake",
    ) as agent:  # fmt: skip
        agent._pause._failures = 10  # the next wait is a minute
        agent.step(0)
        assert agent.status()["state"] == "failing"
        assert not agent.step(0.1)
        kernel.add_uplink("eth0", "192.0.2.11/24")
        assert agent.step(10)
        assert agent.status()["state"] == "ready"


def test_a_look_with_a_fault_of_ours_pauses_too(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves the rest of the agent at work."""
    host.settle()
    with monkeypatch.context() as patch:
        patch.setattr(host.agent.node, "verify", None)
        host.agent._drift._soon(host.agent.node)
        host.settle()
        assert host.agent._drift._failed
        assert host.agent.status()["failures"] == 0
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.settle()
    assert host.states() == {"web": "ready"}


@pytest.mark.parametrize("topology", ["local", "mesh", "hub"])
def test_a_fake_backend_that_is_named_runs_the_concentrators_too(
    registry: Registry, topology: Any
) -> None:
    pool = ["198.51.100.64"] if topology == "hub" else []
    config = NetworkConfig(
        compute_nets=["198.51.100.0/24"], topology=topology, concentrator_pool=pool
    )
    cluster = Cluster(registry)
    with Agent(
        "host-1", config, registry=registry, backend="fake", firewall="fake", dhcp="fake"
    ) as agent:
        agent.step(0)
        cluster.create_network("web", subnet="10.1.0.0/24")
        cluster.create_vnic("v1", network="web", node="host-1")
        for _ in range(20):
            if not agent.step(0.03):
                break
        network = cluster.get_network("default", "web")
        assert (network.state, network.error) == ("ready", None)
        assert cluster.get_vnic("default", "v1").state == "ready"


@pytest.mark.parametrize("at", range(1, 5))
def test_a_node_says_where_it_is_whichever_answer_of_the_registry_is_lost(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    commits = 0
    commit = registry.commit

    def lost(*args: Any) -> int:
        nonlocal commits
        commits += 1
        if commits == at:
            raise Unavailable("nobody answers", unwritten=True)
        return commit(*args)

    monkeypatch.setattr(registry, "commit", lost)
    host = FakeHost(registry)
    for _ in range(8):
        host.agent.step(0.1)
    assert commits >= 2
    assert host.agent.status()["state"] == "ready"
    (node,) = host.cluster.nodes()
    assert (node.compute_ip, node.state) == ("192.0.2.11", "ready")
    host.agent.close()


@pytest.mark.parametrize("error", [Unavailable, Denied, Conflict, RuntimeError])
@pytest.mark.parametrize("method", ["read", "session", "watch_groups"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_registry_that_fails_at_once(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    error: type[Exception],
    *,
    begun: bool,
) -> None:
    """Whatever it raises: no loop without a pause, and the host stays as it was made."""

    def fails(*arguments: object, **keywords: object) -> None:
        raise error("not now")

    host = FakeHost(registry)
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web", node="host-1")
    if begun:
        host.settle()
    before = host.kernel.to_text()
    host.agent._mirror.close()
    host.agent._membership.close()
    with monkeypatch.context() as patch:
        patch.setattr(registry, method, fails)
        if begun:
            (tap,) = host.kernel.snapshot({Tap}).values()
            assert host.kernel.apply([Remove(tap)]).error is None
        began = time.monotonic()
        host.agent.step(0.1)
        assert time.monotonic() - began >= 0.1
        assert "not now" in str(host.agent.status()["problem"])
        if begun:
            host.agent.step(0.1)
            assert host.kernel.to_text() == before
    for _ in range(100):  # the next try comes after a pause
        host.agent.step(0.1)
        if set(host.states().values()) == {"ready"}:
            break
    assert host.states() == {"web": "ready", "v1": "ready"}
    host.agent.close()


def test_a_registry_that_is_not_there_when_the_agent_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever it is: the agent goes on once it answers."""
    opened, away = plugins.open_registry, [True]

    def open_later(url: str) -> Registry:
        if away[0]:
            raise Unavailable("not yet")
        return opened(url)

    monkeypatch.setattr(plugins, "open_registry", open_later)
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    with Agent(
        "host-1", NetworkConfig(topology="local"), registry="memory:late", backend=kernel,
        firewall="fake", dhcp="fake",
    ) as agent:  # fmt: skip
        agent.step(0)
        assert agent.status()["problem"] == "registry: not yet"
        with open_registry("memory:late") as registry:
            cluster = Cluster(registry)
            cluster.create_network("web", subnet="10.1.0.0/24")
            away[0] = False
            for _ in range(20):
                agent.step(0.1)
                if cluster.get_network("default", "web").state == "ready":
                    break
            assert cluster.get_node("host-1").state == "ready"
            assert cluster.get_network("default", "web").state == "ready"


def test_documents_that_cannot_be_read_fail_alone(host: FakeHost) -> None:
    """As those of a later version; a VNIC that is there stays, and so do all others."""
    cluster = host.cluster
    cluster.set_group("default", "web", rules=["in tcp 80 from group:web", "out"])
    for tenant in ("default", "other"):
        cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        cluster.create_vnic("v1", tenant=tenant, network="web")
        cluster.create_forward(
            tenant=tenant, network="web", protocol="tcp", port=80 + len(tenant), to="v1"
        )
    cluster.create_vnic("v2", network="web", groups=["web"])
    host.settle()
    for key in (keys.vnic("host-1", "other", "v1"), keys.forward("other", "tcp-85")):
        (entry,) = host.registry.read(key).entries.values()
        host.registry.commit([Put(key, {**entry.document, "later": True})])
    for key in (
        keys.vnic("host-1", "other", "v9"), f"{keys.ADDRESSES}other/web/nothing/",
        f"{keys.MEMBERS}default/v9/", f"{keys.FORWARDS}other/", keys.public_ip("other", "x"),
    ):  # fmt: skip
        host.registry.commit([Put(key, {"vnic": 7})])
    host.agent.step(0)
    assert host.agent.status()["problem"] is None
    assert {vnic.tenant_id for vnic in host.agent.node.topology().vnics} == {"default", "other"}
    key = keys.status("host-1", "vnic", "other", "v1")
    said = host.registry.read(key).entries[key].document
    assert "its document cannot be read: later: unknown field of a vnic" in said["error"]
    cluster.create_vnic("v3", network="web", groups=["web"])
    host.settle()  # a step may be that of a retry that was due before
    assert cluster.get_vnic("default", "v3").state == "ready"
    assert cluster.get_forward("default", "tcp-87").state == "ready"
    (kept,) = [vnic for vnic in host.agent.node.topology().vnics if vnic.tenant_id == "other"]
    assert host.kernel.find(kept.link) is not None


def test_draining_outlives_the_agent(host: FakeHost) -> None:
    """Neither a restart nor a lost session takes back what somebody said about the node."""
    host.cluster.drain_node("host-1")
    host.restart()
    host.agent.step(0)
    assert host.cluster.get_node("host-1").draining


def test_a_vnic_that_waits_is_left_as_it_is(host: FakeHost) -> None:
    """What it waits for may have gone for a moment: the guest keeps its link."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    key = keys.network("default", "web")
    stored = host.registry.read(key).entries[key]
    host.registry.commit([Delete(key)])
    host.settle()
    assert host.cluster.get_vnic("default", "v1").error == "waits for network 'web'"
    assert [vnic.vnic_id for vnic in host.agent.node.topology().vnics] == ["v1"]
    host.registry.commit([Put(key, stored.document)])
    host.settle()
    assert host.states() == {"web": "ready", "v1": "ready"}


def test_a_concentrator_that_an_earlier_agent_ran_is_shut_down(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its namespace alone would leave its DHCP server running."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.settle()
    host.agent.close()
    host.cluster.delete_network("default", "web")
    host.agent = host.open_agent()
    shut: list[str] = []
    shutdown = Cnci.shutdown

    def noted(self: Cnci) -> Report:
        shut.append(self.tenant_id)
        return shutdown(self)

    monkeypatch.setattr(Cnci, "shutdown", noted)
    host.settle()
    assert shut == ["default"]
    assert host.kernel.state.children == {}


def test_a_fault_of_ours_ends_the_round_and_not_the_agent(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(host.agent.node, "reconcile", None)
        host.cluster.create_network("web", subnet="10.1.0.0/24")
        host.agent.step(0.1)
        assert "TypeError" in str(host.agent.status()["problem"])
    for _ in range(3):
        host.agent.step(0.1)
    assert host.states() == {"web": "ready"}


def test_the_session_is_kept_during_a_long_round(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    member = Membership(registry, "host-1", FakeKernel(), ["network"], "local", ttl=1.0)
    member.connect(Mirror(registry))
    monkeypatch.setattr(
        "snnet.registries.memory.MemorySession.renew", lambda session: renewed.set()
    )
    with member.kept():
        assert renewed.wait(10)
    member.close()


def test_a_session_that_begins_in_a_long_round_is_kept(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first round registers the node again, with its address; the older session ends."""
    renewed: list[str] = []
    again = threading.Event()

    def renew(session: MemorySession) -> None:
        renewed.append(session.id)
        again.set()

    member = Membership(registry, "host-1", FakeKernel(), ["network"], "local", ttl=1.0)
    member.connect(Mirror(registry))
    first = member._session
    assert first is not None
    with member.kept():
        member.register()
        second = member._session
        monkeypatch.setattr(MemorySession, "renew", renew)
        assert again.wait(10)
    assert second is not None
    assert set(renewed) == {second.id}
    monkeypatch.undo()
    with pytest.raises(SessionLost):
        first.renew()
    assert keys.alive("host-1") in registry.read(keys.ALIVE).entries
    member.close()


def test_a_problem_is_told_although_the_session_ended_before_its_time(registry: Registry) -> None:
    """An administrator of etcd may revoke it, say, between two renewals."""
    member = Membership(registry, "host-1", FakeKernel(), ["network"], "local", ttl=60.0)
    member.connect(Mirror(registry))
    assert member._session is not None
    member._session.close()
    member.problem = "no uplink"
    assert member.connect(Mirror(registry)), "what the node said has gone with the session"
    (node,) = Cluster(registry).nodes()
    assert (node.state, node.problem) == ("failing", "no uplink")
    assert not member.connect(Mirror(registry))
    member.close()


def test_a_session_shows_that_the_agent_lives(host: FakeHost) -> None:
    assert [(node.name, node.alive) for node in host.cluster.nodes()] == [("host-1", True)]
    with pytest.raises(Conflict, match="the agent of node 'host-1' is running"):
        host.cluster.forget_node("host-1")
    host.agent.close()
    assert [(node.name, node.state) for node in host.cluster.nodes()] == [("host-1", "no agent")]
    host.cluster.forget_node("host-1")
    assert host.cluster.nodes() == []


def test_a_second_agent_of_a_host_waits_for_the_first(host: FakeHost) -> None:
    """It cannot do the node's work, so it says nothing in the registry."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.settle()
    before = host.registry.read()
    with host.open_agent() as second:
        for _ in range(3):
            second.step(0)
        problem = str(second.status()["problem"])
        assert problem.startswith("another agent on this host runs as node 'host-1': stop it")
        assert host.registry.read() == before
    host.settle()
    assert host.registry.read() == before
    with pytest.raises(Conflict, match="is running: stop it first"):
        host.cluster.forget_node("host-1")
    with host.open_agent() as second:
        second.step(0)
        host.agent.close()
        second.step(0)
        assert (second.status()["state"], host.cluster.get_node("host-1").state) == ("ready",) * 2


def test_an_agent_takes_over_at_once_from_one_that_was_killed(host: FakeHost) -> None:
    """Although the session of that one has not ended yet."""
    host.agent._membership._claims.close()  # as the kernel does
    with host.open_agent() as second:
        second.step(0)
        assert second.status()["state"] == "ready"
        host.agent.close()
        assert host.cluster.get_node("host-1").state == "ready"


@pytest.mark.parametrize("roles", [["compute"], ["compute", "network"]])
@pytest.mark.parametrize("what", ["forgotten", "session ended", "taken over"])
def test_an_agent_whose_registration_is_gone_registers_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, what: str, roles: list[str]
) -> None:
    """Whoever did that: until then others believe that it does not work."""
    kernel, cluster = FakeKernel(), Cluster(registry)
    kernel.add_uplink("eth0", "192.0.2.11/24")
    with Agent(
        "host-1", NetworkConfig(compute_nets=["192.0.2.0/24"], topology="mesh"), roles=roles,
        registry=registry, backend=kernel, firewall="fake", dhcp="fake", session_ttl=3600,
    ) as agent:  # fmt: skip
        agent.step(0)
        cluster.create_network("web", subnet="10.1.0.0/24")
        cluster.create_vnic("v1", network="web", node="host-1")
        while agent.step(0):
            pass
        (node,), alive = cluster.nodes(), keys.alive("host-1")
        if what == "taken over":  # and that one is gone already
            session = registry.session(3600)
            registry.commit([Put(alive, registry.read(alive).entries[alive].document, session.id)])
            session.close()
        else:
            registry.commit([Delete(alive)])
        if what == "forgotten":
            cluster.forget_node("host-1", force=True)
        for _ in range(5):
            agent.step(0)
        assert cluster.nodes() == [node]
        if what == "forgotten":
            cluster.create_vnic("v1", network="web", node="host-1")
            while agent.step(0):
                pass
        assert cluster.get_vnic("default", "v1").state == "ready"
        with pytest.raises(Conflict, match="is running: stop it first"):
            cluster.forget_node("host-1")


def test_what_prevents_an_agent_from_working_is_in_the_registry(registry: Registry) -> None:
    """Its session alone does not make a node ready."""
    host = FakeHost(registry)
    uplink = host.kernel.snapshot({Address}).values()
    assert not host.kernel.apply([Remove(noun) for noun in uplink]).errors
    host.agent.step(0)
    host.agent.step(0)
    (node,) = host.cluster.nodes()
    assert (node.alive, node.state) == (True, "failing")
    assert node.problem == host.agent.status()["problem"]
    assert (node.problem or "").startswith("compute_nets: no nets are given")
    assert host.cluster.get_node("host-1") == node
    assert not host.kernel.apply([Add(noun) for noun in uplink]).errors
    host.agent._due = 0.0
    host.settle()
    host.agent.report("docker", "another plugin answers")
    host.agent.step(0)
    (node,) = host.cluster.nodes()
    assert node.problem == "docker: another plugin answers"
    host.agent.report("docker", None)
    host.agent.step(0)
    (node,) = host.cluster.nodes()
    assert (node.state, node.problem) == ("ready", None)
    host.agent.close()


def test_running_in_a_thread(registry: Registry) -> None:
    host = FakeHost(registry)
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web", node="host-1")
    host.agent.start()
    assert host.cluster.wait_vnic("default", "v1", timeout=10).state == "ready"
    host.agent.stop()
    host.agent.stop()


def test_a_hub_needs_addresses_for_concentrators(registry: Registry) -> None:
    """The setting is named.  Without the role nothing is needed."""
    drivers: dict[str, Any] = {"backend": "fake", "firewall": "fake", "dhcp": "fake"}
    hub = NetworkConfig(compute_nets=["192.0.2.0/24"])
    with pytest.raises(InvalidRequest, match="concentrator_pool: is empty"):
        Agent("host-1", hub, registry=registry, **drivers)
    outside = replace(hub, concentrator_pool=["198.51.100.9"])
    with Agent("host-2", outside, registry=registry, roles=["network"], **drivers) as agent:
        agent.step(0)
        assert agent.status()["problem"] == (
            "concentrator_pool: 198.51.100.9 is not a free address of 192.0.2.0/24, the network "
            "of eth0, where others look for it"
        )
    mesh = replace(hub, topology="mesh")
    with Agent("host-3", mesh, registry=registry, roles=["network"], **drivers) as agent:
        agent.step(0)
        assert agent.status()["problem"] is None
    with Agent("host-1", hub, registry=registry, roles=["compute"], **drivers) as agent:
        cluster = Cluster(registry)
        agent.step(0)
        cluster.create_network("web", subnet="10.1.0.0/24")
        vnic = cluster.create_vnic("v1", network="web")
        agent.step(0.1)
        assert cluster.get_vnic("default", "v1").error == (
            "waits for a concentrator of its tenant with an address"
        )
        assert vnic.node == "host-1"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"roles": ["storage"]}, r"roles\[0\]: 'storage' is not one of"),
        ({"roles": []}, "roles: give at least one"),
        ({"registry": "zookeeper:x"}, "no registry 'zookeeper' is installed"),
    ],
)
def test_bad_arguments(registry: Registry, fields: dict[str, Any], message: str) -> None:
    arguments = {"registry": registry, "backend": "fake", "firewall": "fake", "dhcp": "fake"}
    with pytest.raises(SnnetError, match=message) as caught:
        Agent("host-1", NetworkConfig(topology="local"), **{**arguments, **fields})
    assert isinstance(caught.value, InvalidRequest) or "registry" in fields


@pytest.mark.parametrize(
    ("subnet", "sources", "targets"),
    [
        (("10.1.0.0/24", "fd00:1::/64"), (), ["10.1.0.2", "fd00:1::2"]),
        (("10.1.0.0/24", "fd00:1::/64"), ("2001:db8::/32",), ["fd00:1::2"]),
        (("fd00:1::/64",), (), ["fd00:1::2"]),
        (("10.1.0.0/24",), ("2001:db8::/32",), None),
    ],
)
def test_a_forward_leads_on_by_each_family_that_may_come(
    host: FakeHost, subnet: tuple[str, ...], sources: tuple[str, ...], targets: list[str] | None
) -> None:
    host.cluster.create_network("web", subnet=subnet)
    host.cluster.create_vnic("v1", network="web", role="container")
    host.cluster.create_forward(network="web", protocol="tcp", port=80, to="v1", sources=sources)
    host.settle()
    (cnci,) = host.agent._network.running.values()
    if targets is None:
        assert host.states() == {"web": "ready", "v1": "ready", "tcp-80": "failed"}
        error = host.cluster.get_forward("default", "tcp-80").error
        assert error == "vnic 'v1' has no address of a family by which packets can come"
        assert cnci.port_forwards == ()
    else:
        assert set(host.states().values()) == {"ready"}
        assert [str(rule.target) for rule in cnci.port_forwards] == targets
    assert host.agent.node.verify() == cnci.verify() == []


def test_an_agent_that_cannot_be_made_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without descriptors for the last of its parts, it closes those that it has opened."""

    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    config = NetworkConfig(topology="local")
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr("select.epoll", full)
    with pytest.raises(OSError, match="Too many open files") as caught:
        Agent(
            "cn-1", config, registry=f"sqlite:{tmp_path}/r.db", backend="fake", firewall="fake",
            dhcp="fake",
        )  # fmt: skip
    assert os.listdir("/proc/self/fd") == before
    assert caught.value.errno == errno.EMFILE
