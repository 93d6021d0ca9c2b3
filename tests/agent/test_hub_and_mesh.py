"""What holds in both topologies of many hosts, "hub" and "mesh"."""

from __future__ import annotations

import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from snnet import NetworkConfig
from snnet.cluster import keys
from snnet.cluster.mirror import Mirror
from snnet.contract import InvalidRequest, Namespace, Put, Remove, Unavailable

from .cloud import CONFIG, MESH, OUTSIDE, Cloud, other

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(params=[CONFIG, MESH], ids=["hub", "mesh"])
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    found: NetworkConfig = request.param
    return found


@pytest.fixture
def cloud(config: NetworkConfig) -> Iterator[Cloud]:
    """Two network hosts and two compute hosts."""
    cloud = Cloud.of_four(config)
    yield cloud
    cloud.close()


def texts(cloud: Cloud) -> dict[str, str]:
    return {name: kernel.to_text() for name, kernel in cloud.fabric.hosts.items()}


def test_two_tenants_with_the_same_addresses_never_meet(cloud: Cloud) -> None:
    cloud.furnish()
    cloud.furnish("other")
    mine, theirs = cloud.guest("v1"), cloud.guest("v2", "other")
    assert theirs.lease is not None
    assert not cloud.fabric.ping(mine, "10.1.0.3"), "that is the other tenant's"
    assert cloud.guest("v2").lease is not None
    assert cloud.fabric.ping(mine, "10.1.0.3")
    places = cloud.places()
    assert places["acme"] != places["other"]


def test_nothing_is_left_after_everything_is_deleted(cloud: Cloud) -> None:
    before, documents = texts(cloud), cloud.documents(keys.ROOT)
    # IPv4 alone: the host of a concentrator with IPv6 goes on forwarding it.
    cloud.furnish()
    assert cloud.host("cn-1").to_text() != before["cn-1"]
    cloud.cluster.delete_network("acme", "web", force=True)
    cloud.settle()
    assert texts(cloud) == before
    left = cloud.documents(keys.ROOT)
    assert left.pop("registry/"), "its id stays"
    assert left == documents


def test_an_mtu_that_does_not_fit_leaves_the_guests_as_they_are(cloud: Cloud) -> None:
    """The network says so, and VNICs elsewhere too: their hosts may carry less than its own."""
    cloud.furnish()
    with pytest.raises(InvalidRequest, match="9000 is more than the compute nodes carry") as caught:
        cloud.cluster.update_network("acme", "web", mtu=9000)
    assert caught.value.field == "mtu"
    with pytest.raises(InvalidRequest, match="which is at most 1450: lower it, or raise"):
        cloud.cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24", mtu=1451)
    key = keys.network("acme", "web")
    document = cloud.registry.read(key).entries[key].document
    cloud.registry.commit([Put(key, {**document, "mtu": 9000})])  # before an uplink was changed
    cloud.settle()
    network = cloud.cluster.get_network("acme", "web")
    assert (network.state, network.error) == ("failed", "mtu: 9000 is not from 68 to 1450")
    vnic = cloud.cluster.get_vnic("acme", "v1")
    assert vnic.error == (
        "mtu: 9000 is not from 68 to 1450; that is the MTU of network 'web': change it there"
    )
    assert (vnic.status.details["mtu"], vnic.link_name is None) == (1450, False)
    assert cloud.fabric.ping(cloud.guest("v1"), cloud.guest("v2"), size=1422)
    cloud.cluster.update_network("acme", "web", mtu=1400)
    cloud.settle()
    assert cloud.states() == {"ready"}


def test_what_an_agent_says_is_no_news_to_it(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads that when it starts; the answer to a commit tells it the rest."""
    heard: set[str] = set()
    refresh = Mirror.refresh

    def listened(mirror: Mirror, timeout: float) -> set[str]:
        changed = refresh(mirror, timeout)
        heard.update(changed)
        return changed

    monkeypatch.setattr(Mirror, "refresh", listened)
    cloud.furnish()
    assert cloud.states() == {"ready"}
    assert heard
    assert not [key for key in heard if key.startswith(keys.STATUS)]


def test_hosts_with_both_roles(config: NetworkConfig) -> None:
    cloud = Cloud(config)
    cloud.add("cn-1", "cn-2", roles=["compute", "network"])
    cloud.settle()
    cloud.furnish()
    first, second = cloud.guest("v1"), cloud.guest("v2")
    assert cloud.fabric.ping(first, second)
    assert cloud.fabric.ping(second, OUTSIDE)
    assert cloud.fabric.ping(first, OUTSIDE)
    assert cloud.faults() == []
    cloud.close()


def test_an_agent_takes_over_what_an_earlier_one_left(cloud: Cloud) -> None:
    cloud.furnish(subnet=("10.1.0.0/24", "fd00:1::/64"))
    before = texts(cloud)
    for name in tuple(cloud.agents):
        cloud.start(name, cloud.stop(name))
    cloud.settle()
    assert texts(cloud) == before
    assert cloud.faults() == []


def test_draining_moves_concentrators_without_waiting(cloud: Cloud) -> None:
    bare = texts(cloud)
    cloud.furnish()
    guest = cloud.guest("v1")
    node, address = cloud.places()["acme"]
    heir = other(node)
    before = texts(cloud)
    assert before[node] != bare[node]
    cloud.cluster.drain_node(node)
    cloud.settle()
    assert cloud.places()["acme"] == (heir, address)
    assert cloud.fabric.ping(guest, OUTSIDE)
    assert cloud.host(node).to_text() == bare[node]
    # With nowhere to go it stays.
    cloud.cluster.drain_node(heir)
    cloud.settle()
    assert cloud.places()["acme"] == (heir, address)
    cloud.cluster.drain_node(node, draining=False)
    cloud.settle()
    assert cloud.places()["acme"] == (node, address)
    assert texts(cloud) == before
    assert cloud.faults() == []


def test_a_network_host_that_comes_back_gives_up_what_has_moved(cloud: Cloud) -> None:
    """Its namespaces may be there still, if only its wire was broken."""
    bare = texts(cloud)
    cloud.furnish()
    node, address = cloud.places()["acme"]
    roles = cloud.kill(node)
    cloud.settle()
    cloud.fabric.plug(cloud.host(node), "eth0")
    assert cloud.host(node).to_text() != bare[node]
    cloud.start(node, roles)
    cloud.settle()
    assert cloud.host(node).to_text() == bare[node]
    assert cloud.places()["acme"] == (other(node), address)
    assert cloud.fabric.ping(cloud.guest("v1"), OUTSIDE)
    assert cloud.faults() == []


@pytest.mark.parametrize("name", ["net-1", "net-2", "cn-1"])
def test_a_node_that_is_forgotten_while_its_agent_sleeps_says_everything_again(
    cloud: Cloud, name: str
) -> None:
    """The agent noticed nothing of it, and what it had said is gone."""
    cloud.furnish()
    before = cloud.documents(keys.TUNNELS)
    session = cloud.agents[name]._membership._session
    assert session is not None
    session.close()  # it ran out
    cloud.cluster.forget_node(name, force=True)
    if name == "cn-1":
        cloud.cluster.create_vnic("v1", tenant="acme", network="web", node=name)
    cloud.agents[name]._membership._renew_at = 0.0
    cloud.settle()
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []
    after = cloud.documents(keys.TUNNELS)
    places = (
        {f"{cloud.places()['acme'][0]}/acme/web/"} if cloud.config.topology == "mesh" else set()
    )
    assert set(after) == {"cn-1/acme/web/", "cn-2/acme/web/"} | places
    assert after["cn-1/acme/web/"] == before["cn-1/acme/web/"]
    guests = [cloud.guest(vnic) for vnic in ("v1", "v2")]
    assert all(cloud.fabric.ping(guest, OUTSIDE) for guest in guests)


def test_a_concentrator_whose_namespace_is_made_anew(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent moves into the new one, also while the registry does not answer."""
    cloud.furnish()
    guest, node = cloud.guest("v1"), cloud.node_of()
    kernel, agent = cloud.host(node), cloud.agents[node]
    before = kernel.to_text()

    def deleted_and_back() -> bool:
        (space,) = kernel.snapshot({Namespace}).values()
        assert kernel.apply([Remove(space)]).errors == {}
        assert not cloud.fabric.ping(guest, OUTSIDE)
        end = time.monotonic() + 20
        while not (back := cloud.fabric.ping(guest, OUTSIDE)) and time.monotonic() < end:
            agent.step(0.02)
        return back

    assert deleted_and_back()
    assert guest.renew() is not None, "it has a DHCP server"
    with monkeypatch.context() as patch:
        patch.setattr(agent, "_connect", Mock(side_effect=Unavailable("cut")))
        assert deleted_and_back()
    assert guest.renew() is not None
    cloud.settle()
    assert kernel.to_text() == before
    assert cloud.faults() == []
