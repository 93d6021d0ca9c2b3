"""An uplink that changes while the agent runs: as with DHCP, or when a cable is pulled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from snnet import FakeKernel, NetworkConfig
from snnet.contract import Add, Address, Change, Link, Operation, Remove

from .cloud import CONFIG, MESH, OUTSIDE, Cloud
from .conftest import FakeHost

pytestmark = pytest.mark.usefixtures("quick", "at_once")

GENEVE = replace(CONFIG, tunnel="geneve")
HOSTS = {"cn-1": "192.0.4.4", "net-1": "192.0.4.2"}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look follows each change at once."""
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.0)
    monkeypatch.setattr("snnet.agent.drift.SHARE_REPAIRED", 0)


@pytest.fixture(params=[CONFIG, GENEVE, MESH], ids=["hub", "geneve", "mesh"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    config: NetworkConfig = request.param
    cloud = Cloud(config)
    cloud.add("net-1", "net-2", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    cloud.cluster.drain_node("net-2")
    cloud.furnish()
    yield cloud
    cloud.close()


def do(kernel: FakeKernel, *operations: Operation) -> None:
    outcome = kernel.apply(operations)
    assert outcome.error is None, outcome.error


def address(cidr: str) -> Address:
    return Address(link="eth0", address=ip_interface(cidr))


def take(kernel: FakeKernel, cidr: str) -> None:
    do(kernel, Remove(address(cidr)))


def put(kernel: FakeKernel, cidr: str) -> None:
    do(kernel, Add(address(cidr)))


def reach(cloud: Cloud) -> set[bool]:
    """Whether guests, which take their leases, reach each other and the outside."""
    guests = [cloud.guest(vnic.name, vnic.tenant) for vnic in cloud.cluster.list_vnics()]
    found = {cloud.fabric.ping(guest, OUTSIDE) for guest in guests}
    found |= {cloud.fabric.ping(guest, other) for guest in guests for other in guests}
    for guest in guests:
        cloud.fabric.detach(guest)
    return found


def check(cloud: Cloud) -> None:
    assert cloud.states() == {"ready"}
    assert {node.problem for node in cloud.cluster.nodes()} == {None}
    assert cloud.faults() == []
    assert reach(cloud) == {True}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_gets_another_address(cloud: Cloud, name: str) -> None:
    """Tunnels, and what other hosts know, follow, as when an agent is started then."""
    kernel = cloud.host(name)
    links = {vnic.link for vnic in cloud.agents["cn-1"].node.topology().vnics}
    do(kernel, Remove(address(f"{HOSTS[name]}/16")), Add(address("192.0.4.99/17")))
    cloud.settle()
    check(cloud)
    take(kernel, "192.0.4.99/17")
    cloud.settle()
    put(kernel, "192.0.4.98/16")
    cloud.settle()
    check(cloud)
    assert cloud.cluster.get_node(name).compute_ip == "192.0.4.98"
    assert links == {vnic.link for vnic in cloud.agents["cn-1"].node.topology().vnics}
    before = [host.to_text() for host in cloud.fabric.hosts.values()]
    cloud.start(name, cloud.stop(name))
    cloud.settle()
    assert before == [host.to_text() for host in cloud.fabric.hosts.values()]


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_without_its_address_says_so_and_goes_on_when_it_is_back(
    cloud: Cloud, name: str
) -> None:
    """Nothing on the host changes meanwhile, and what it carries is not ready."""
    kernel, agent = cloud.host(name), cloud.agents[name]
    before = kernel.to_text()
    take(kernel, f"{HOSTS[name]}/16")
    cloud.settle()
    node = cloud.cluster.get_node(name)
    assert node.state == "failing"
    assert str(node.problem).startswith(f"uplink eth0: has no address {HOSTS[name]} -> ")
    assert "no link of this node has an address in 192.0.0.0/16; seen: " in str(node.problem)
    network, vnic = cloud.cluster.get_network("acme", "web"), cloud.cluster.get_vnic("acme", "v1")
    states = {"net-1": (network.state, network.error), "cn-1": (vnic.state, vnic.error)}
    assert states[name] == ("failed", node.problem)
    assert cloud.cluster.get_vnic("acme", "v2").state == "ready"
    assert agent.status()["state"] == "failing"
    put(kernel, f"{HOSTS[name]}/16")
    cloud.settle()
    check(cloud)
    assert kernel.to_text() == before


def test_an_uplink_that_is_down_is_named(cloud: Cloud) -> None:
    kernel = cloud.host("cn-1")
    up = kernel.find(Link(name="eth0"))
    assert isinstance(up, Link)
    down = replace(up, up=False)
    do(kernel, Change(down, old=up))
    cloud.settle()
    said = "uplink eth0: is down -> should be up: ip link set eth0 up"
    assert cloud.cluster.get_node("cn-1").problem == said
    assert cloud.cluster.get_vnic("acme", "v1").error == said
    do(kernel, Change(up, old=down))
    cloud.settle()
    check(cloud)


def test_guests_have_the_mtu_that_the_uplink_has_by_now(cloud: Cloud) -> None:
    kernel = cloud.host("cn-1")
    before = kernel.find(Link(name="eth0"))
    assert isinstance(before, Link)
    do(kernel, Change(replace(before, mtu=1400), old=before))
    cloud.settle()
    assert {vnic.mtu for vnic in cloud.agents["cn-1"].node.topology().vnics} == {1350}
    check(cloud)


def test_a_pool_that_does_not_fit_the_new_network() -> None:
    """A network host says so, as it does at its start, and is back with its old address."""
    config = replace(CONFIG, compute_nets=["192.0.0.0/16", "198.51.100.0/24"])
    cloud = Cloud(config)
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    cloud.furnish()
    kernel = cloud.host("net-1")
    do(kernel, Remove(address("192.0.4.2/16")), Add(address("198.51.100.5/24")))
    for _ in range(3):
        cloud.agents["net-1"].step(0)
    problem = str(cloud.agents["net-1"].status()["problem"])
    assert "is not a free address of 198.51.100.0/24, the network of eth0" in problem
    assert cloud.agents["net-1"].status()["state"] == "failing"
    do(kernel, Remove(address("198.51.100.5/24")), Add(address("192.0.4.2/16")))
    for _ in range(100):
        if not cloud.agents["net-1"].status()["problem"]:
            break
        cloud.agents["net-1"].step(0.1)
    cloud.settle()
    check(cloud)
    cloud.close()


def test_one_host_with_everything_goes_on_without_its_uplink(host: FakeHost) -> None:
    """Its guests reach each other, so they are ready; the node says what is wrong."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    take(host.kernel, "192.0.2.11/24")
    host.settle()
    assert host.cluster.nodes()[0].state == "failing"
    host.cluster.create_vnic("v2", network="web")
    host.settle()
    assert host.states() == dict.fromkeys(("web", "v1", "v2"), "ready")
    put(host.kernel, "198.51.100.7/24")
    host.settle()
    assert host.cluster.nodes()[0].state == "ready"
    assert host.cluster.nodes()[0].compute_ip == "198.51.100.7"
    assert host.agent.node.verify() == []
    assert host.states() == dict.fromkeys(("web", "v1", "v2"), "ready")
