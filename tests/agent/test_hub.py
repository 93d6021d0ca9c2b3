"""Many hosts in topology "hub": tunnels that follow, concentrators that are placed and move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet import Conflict, open_registry
from snnet.agent.placing import Addresses, Placer
from snnet.cluster import keys
from snnet.contract import Announcement, Delete, Put

from .cloud import CONFIG, OUTSIDE, Cloud, other

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """Two network hosts and two compute hosts."""
    cloud = Cloud.of_four()
    yield cloud
    cloud.close()


def test_from_documents_to_guests_that_reach_each_other(cloud: Cloud) -> None:
    cloud.furnish()
    cloud.cluster.create_network("db", tenant="acme", subnet=("10.2.0.0/24", "fd00:2::/64"))
    cloud.cluster.create_vnic("d1", tenant="acme", network="db", node="cn-1", role="container")
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80,
        sources=["192.0.2.0/24"],
    )  # fmt: skip
    cloud.cluster.create_public_ip("192.0.2.77", tenant="acme", to="v2")
    cloud.settle()
    assert cloud.states() == {"ready"}
    first, second, other = (cloud.guest(name) for name in ("v1", "v2", "d1"))
    assert cloud.fabric.ping(first, second, size=1422), "the full MTU of vxlan"
    assert cloud.fabric.ping(second, other), "across subnets"
    assert cloud.fabric.ping(first, OUTSIDE)
    node, address = cloud.places()["acme"]
    assert node in ("net-1", "net-2")
    found = cloud.fabric.connected(cloud.outside, address, "tcp", 8080)
    assert found is not None
    assert found.station == "acme-v1"
    assert cloud.fabric.connected(cloud.host("cn-1"), address, "tcp", 8080) is None, "no source"
    found = cloud.fabric.connected(cloud.outside, "192.0.2.77", "tcp", 22)
    assert found is not None
    assert found.station == "acme-v2"
    assert cloud.faults() == []


def test_guests_learn_the_mtu_of_their_network(cloud: Cloud) -> None:
    cloud.furnish()
    cloud.cluster.update_network("acme", "web", mtu=1300)
    cloud.settle()
    guest = cloud.guest("v1")
    assert guest.lease is not None
    assert guest.lease.mtu == 1300
    assert cloud.fabric.ping(guest, cloud.guest("v2"), size=1272)
    assert cloud.fabric.ping(guest, OUTSIDE, size=1272)
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_a_node_announces_its_part_of_a_subnet_with_the_status_of_the_vnic(cloud: Cloud) -> None:
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    cloud.settle()
    watch = cloud.registry.watch(keys.ROOT, after=cloud.registry.read().revision)
    cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    cloud.agents["cn-1"].step(0)
    changes = [change for change in watch.next(1) + watch.next(1) if change.entry]
    watch.close()
    status, tunnel = keys.status("cn-1", "vnic", "acme", "v1"), keys.tunnel("cn-1", "acme", "web")
    revisions = {change.key: change.revision for change in changes}
    assert revisions[status] == revisions[tunnel], "one commit"
    number = cloud.cluster.get_node("cn-1").number
    assert number is not None
    assert cloud.documents(tunnel) == {"": {"address": "192.0.4.4", "port": 16384 + number}}
    assert cloud.agents["cn-1"].node.site.port == 16384 + number
    # Another VNIC of the subnet adds nothing, and the last one to go takes it away.
    cloud.cluster.create_vnic("v2", tenant="acme", network="web", node="cn-1")
    cloud.settle()
    assert list(cloud.documents(keys.TUNNELS)) == ["cn-1/acme/web/"]
    cloud.cluster.delete_vnic("acme", "v1")
    cloud.settle()
    assert list(cloud.documents(keys.TUNNELS)) == ["cn-1/acme/web/"]
    cloud.cluster.delete_vnic("acme", "v2")
    cloud.settle()
    assert cloud.documents(keys.TUNNELS) == {}
    assert cloud.faults() == []


@pytest.mark.parametrize(
    ("key", "document"),
    [
        ("x/acme/web/", {}),
        ("x/acme/web/", {"address": "nowhere"}),
        ("x/acme/web/", {"address": "fd00:9::9"}),
        ("x/acme/web/", {"address": "192.0.4.9", "port": "a port"}),
        ("x/acme/", {"address": "192.0.4.9"}),
        ("x/", {"address": "192.0.4.9"}),
        ("/", {"address": "192.0.4.9"}),
    ],
)
def test_a_damaged_announcement_cuts_nobody_else_off(
    cloud: Cloud, key: str, document: dict[str, Any]
) -> None:
    cloud.furnish()
    cloud.registry.commit([Put(keys.TUNNELS + key, document)])
    cloud.cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24")
    cloud.cluster.create_vnic("d1", tenant="acme", network="db", node="cn-2")
    cloud.settle()
    assert [agent.status()["problem"] for agent in cloud.agents.values()] == [None] * 4
    assert cloud.states() == {"ready"}
    assert cloud.fabric.ping(cloud.guest("v1"), cloud.guest("d1"))


def test_concentrators_are_shared_out_and_have_an_address_each(cloud: Cloud) -> None:
    for number in range(10):
        cloud.cluster.create_network("web", tenant=f"t{number}", subnet="10.1.0.0/24")
    cloud.settle()
    places = cloud.places()
    nodes = [node for node, _ in places.values()]
    assert (nodes.count("net-1"), nodes.count("net-2")) == (5, 5)
    assert len({address for _, address in places.values()}) == 10
    claims = cloud.documents("v1/claims/concentrator-addresses/")
    assert {(claim["tenant"], key[:-1]) for key, claim in claims.items()} == {
        (tenant, address) for tenant, (_, address) in places.items()
    }


def test_a_pool_that_is_exhausted_says_so_and_goes_on_when_it_is_not() -> None:
    cloud = Cloud(replace(CONFIG, concentrator_pool=["192.0.3.1"]))
    cloud.add("net-1", "net-2", roles=["network"])
    for tenant in ("a", "b"):
        cloud.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
    for _ in range(5):  # one of them tries again and again
        for agent in cloud.agents.values():
            agent.step(0)
    networks = sorted(cloud.cluster.list_networks(), key=lambda network: network.state)
    assert [network.state for network in networks] == ["failed", "ready"]
    failed, ready = networks
    assert failed.error == "concentrator_pool has no free address: enlarge it"
    cloud.cluster.delete_network(ready.tenant, "web")
    cloud.settle()
    assert cloud.states() == {"ready"}
    assert cloud.places()[failed.tenant][1] == "192.0.3.1"
    cloud.close()


# -- moving ----------------------------------------------------------------------------


def test_a_concentrator_moves_when_its_host_dies(cloud: Cloud) -> None:
    """With its address, forwards, public addresses and DHCP entries; compute hosts do nothing."""
    cloud.furnish()
    cloud.cluster.create_public_ip("192.0.2.77", tenant="acme", to="v2")
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
    )
    cloud.settle()
    first, second = cloud.guest("v1"), cloud.guest("v2")
    node, address = cloud.places()["acme"]
    epoch = cloud.registry.read(keys.concentrator("acme")).entries[keys.concentrator("acme")]
    compute = cloud.host("cn-1").to_text()
    cloud.kill(node)
    assert not cloud.fabric.ping(first, OUTSIDE)
    cloud.settle()
    heir = other(node)
    assert cloud.places()["acme"] == (heir, address)
    after = cloud.registry.read(keys.concentrator("acme")).entries[keys.concentrator("acme")]
    assert after.revision > epoch.revision, "the epoch"
    assert cloud.host(heir).announced == [
        Announcement(link="eth0", address=ip_address(address)),
        Announcement(link="eth0", address=ip_address("192.0.2.77")),
    ]
    assert cloud.fabric.ping(first, OUTSIDE)
    assert cloud.fabric.ping(first, second)
    assert first.renew() is not None
    assert str(first.lease and first.lease.address) == "10.1.0.2", "the registry knows its address"
    found = cloud.fabric.connected(cloud.outside, address, "tcp", 8080)
    assert found is not None
    assert found.station == "acme-v1"
    assert cloud.fabric.ping(cloud.outside, "192.0.2.77")
    assert cloud.host("cn-1").to_text() == compute
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_an_agent_that_is_gone_moves_nothing(cloud: Cloud) -> None:
    """Killed or upgraded, it leaves a data plane that answers; that is looked at again."""
    cloud.furnish()
    node, address = cloud.places()["acme"]
    roles = cloud.stop(node)
    heir = next(name for name in cloud.agents if name.startswith("net"))
    cloud.settle()
    assert cloud.places()["acme"] == (node, address)
    assert cloud.fabric.ping(cloud.guest("v1"), OUTSIDE)
    # The host dies later, and nothing in the registry tells.
    cloud.fabric.unplug(cloud.host(node))
    end = time.monotonic() + 5
    while cloud.places()["acme"] == (node, address) and time.monotonic() < end:
        cloud.agents[heir].step(0.1)
    cloud.settle()
    assert cloud.places()["acme"] == (heir, address)
    cloud.fabric.plug(cloud.host(node), "eth0")
    cloud.start(node, roles)
    cloud.settle()
    assert cloud.places()["acme"] == (heir, address)


def test_an_agent_that_is_back_in_time_keeps_its_concentrators(cloud: Cloud) -> None:
    cloud.furnish()
    node, address = cloud.places()["acme"]
    roles = cloud.kill(node)
    cloud.fabric.plug(cloud.host(node), "eth0")
    cloud.start(node, roles).step(0)
    cloud.settle()
    assert cloud.places()["acme"] == (node, address)


def test_forgetting_a_node_withdraws_its_tunnels_and_nothing_else_does(cloud: Cloud) -> None:
    cloud.furnish()
    node, _ = cloud.places()["acme"]
    number = cloud.cluster.get_node("cn-2").number
    cloud.kill("cn-2")
    cloud.settle()
    assert set(cloud.documents(keys.TUNNELS)) == {"cn-1/acme/web/", "cn-2/acme/web/"}
    inside = cloud.host(node).namespace(cloud.agents[node].node.topology().concentrators[0].netns)
    assert inside.to_text().count("vxlan ") == 2, "liveness alone cuts nothing"
    with pytest.raises(Conflict, match="has the VNICs v2"):
        cloud.cluster.forget_node("cn-2")
    cloud.cluster.forget_node("cn-2", force=True)
    cloud.settle()
    assert set(cloud.documents(keys.TUNNELS)) == {"cn-1/acme/web/"}
    assert inside.to_text().count("vxlan ") == 1
    numbers = cloud.documents(keys.NODE_NUMBERS)
    assert {claim["node"] for claim in numbers.values()} == {"cn-1"}
    assert f"{number}/" not in numbers


def test_forgetting_a_network_host_moves_its_concentrators_without_asking(cloud: Cloud) -> None:
    cloud.furnish()
    node, address = cloud.places()["acme"]
    cloud.stop(node)
    cloud.settle()
    assert cloud.places()["acme"] == (node, address), "it answers"
    cloud.cluster.forget_node(node)
    cloud.settle()
    heir = other(node)
    assert cloud.places()["acme"] == (heir, address)


def test_node_numbers_are_claimed_once_and_kept(cloud: Cloud) -> None:
    cloud.add(*(f"cn-{number}" for number in range(3, 23)), roles=["compute"])
    cloud.settle()
    numbers = {node.name: node.number for node in cloud.cluster.nodes()}
    assert numbers["net-1"] is None
    mine = [number for name, number in numbers.items() if name.startswith("cn")]
    assert len(set(mine)) == 22
    for name in ("cn-1", "cn-5"):
        cloud.start(name, cloud.stop(name))
    cloud.settle()
    assert {node.name: node.number for node in cloud.cluster.nodes()} == numbers


@pytest.mark.parametrize("given_away", [False, True])
def test_a_node_that_was_forgotten_while_its_agent_stood_still(
    cloud: Cloud, given_away: bool
) -> None:
    """Its number may be another's by now: then it must not go on with it."""
    agent, number = cloud.agents["cn-1"], cloud.cluster.get_node("cn-1").number
    assert agent._membership._session is not None
    agent._membership._session.close()  # it ran out
    cloud.cluster.forget_node("cn-1")
    claim = keys.node_number(number or 0)
    assert claim not in cloud.registry.read(keys.ROOT).entries
    if given_away:
        cloud.registry.commit([Put(claim, {"node": "cn-9"})])
    agent._membership._renew_at = 0.0
    if given_away:
        cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
        cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
        for _ in range(5):
            agent.step(0.1)  # it tries again, and goes on refusing
            assert agent.status()["problem"] == (
                f"node_number {number} belongs to node 'cn-9': 'cn-1' was forgotten meanwhile; "
                "restart its agent"
            )
        assert keys.node("cn-1") not in cloud.registry.read(keys.ROOT).entries
        cloud.start("cn-1", cloud.stop("cn-1"))
        cloud.settle()
        assert cloud.cluster.get_node("cn-1").number not in (None, number)
        assert cloud.states() == {"ready"}
        assert cloud.faults() == []
        return
    agent.step(0)
    assert cloud.registry.read(claim).entries[claim].document == {"node": "cn-1"}
    assert cloud.cluster.get_node("cn-1").number == number


def test_a_number_that_another_node_has(cloud: Cloud) -> None:
    number = cloud.cluster.get_node("cn-1").number
    cloud.config = replace(CONFIG, node_number=number)
    cloud.add("cn-9", roles=["compute"])
    cloud.agents["cn-9"].step(0)
    problem = cloud.agents["cn-9"].status()["problem"]
    assert problem.startswith(f"node_number {number} belongs to node 'cn-1': choose another")
    cloud.stop("cn-1")
    cloud.cluster.forget_node("cn-1")
    assert cloud.agents["cn-9"].step(5), "it tries again"
    cloud.settle()
    assert cloud.cluster.get_node("cn-9").number == number


def test_public_addresses_that_are_somebody_elses_are_not_answered_for(cloud: Cloud) -> None:
    cloud.furnish()
    cloud.cluster.create_public_ip("192.0.3.200", tenant="acme", to="v1")
    cloud.agents[cloud.places()["acme"][0]].step(0)
    public = cloud.cluster.get_public_ip("acme", "192.0.3.200")
    assert (public.state, public.error) == ("failed", "192.0.3.200 is in concentrator_pool")
    assert "192.0.3.200" not in cloud.host(cloud.places()["acme"][0]).to_text()


def test_a_placement_that_is_lost_is_made_again(cloud: Cloud) -> None:
    """Whatever happens to the document, no address is used twice."""
    cloud.furnish()
    _, address = cloud.places()["acme"]
    cloud.registry.commit([Delete(keys.concentrator("acme"))])
    cloud.settle()
    assert cloud.places()["acme"][1] == address, "the claim is there"
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_a_data_network_of_ipv6() -> None:
    """The concentrator's address, its proxy entry and its way out are those of the family."""
    cloud = Cloud(
        replace(CONFIG, compute_nets=["fd00:9::/64"], concentrator_pool=["fd00:9::3:1"],
                allow_to_nets=["fd00:9::fe/128"])
    )  # fmt: skip
    for number, (name, role) in enumerate((("net-1", "network"), ("cn-1", "compute")), 1):
        cloud.fabric.add_host(name, f"fd00:9::{number}/64")
        cloud.start(name, [role])
    outside = cloud.fabric.add_host("outside6", "fd00:9::fe/64")
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet=("10.1.0.0/24", "fd00:1::/64"))
    cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    cloud.cluster.create_public_ip("fd00:9::77", tenant="acme", to="v1")
    cloud.settle()
    assert cloud.places() == {"acme": ("net-1", "fd00:9::3:1")}
    assert cloud.states() == {"ready"}
    guest = cloud.guest("v1")
    assert cloud.fabric.ping(guest, "fd00:1::1")
    assert cloud.fabric.ping(outside, "fd00:9::3:1")
    found = cloud.fabric.connected(outside, "fd00:9::77", "tcp", 22)
    assert found is not None
    assert found.station == "acme-v1"
    assert cloud.faults() == []
    cloud.close()


def test_a_public_address_of_a_family_that_its_vnic_lacks(cloud: Cloud) -> None:
    """It fails, and nothing else of the tenant does."""
    cloud.furnish()
    cloud.cluster.create_public_ip("2001:db8::77", tenant="acme", to="v1")
    cloud.agents[cloud.places()["acme"][0]].step(0)
    public = cloud.cluster.get_public_ip("acme", "2001:db8::77")
    assert (public.state, public.error) == ("failed", "vnic 'v1' has no address of IPv6")
    assert cloud.cluster.get_network("acme", "web").state == "ready"


def test_two_guests_of_one_mac_do_not_stop_dhcp_of_their_network(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients created them at once: the first keeps its lease, and the network says so."""
    cloud.furnish()
    monkeypatch.setattr("snnet.cluster.vnics.check_mac", lambda wanted, reading: None)
    mac = cloud.cluster.get_vnic("acme", "v1").guest_mac
    cloud.cluster.create_vnic(
        "a", tenant="acme", network="web", node="cn-2", mac=mac, ip="10.1.0.99"
    )
    cloud.cluster.create_vnic("v3", tenant="acme", network="web", node="cn-2")
    cloud.settle()
    network = cloud.cluster.get_network("acme", "web")
    assert (network.state, network.error) == (
        "failed",
        f"vnic 'a' has the MAC {mac} of vnic 'v1', and gets no address by DHCP: delete it, and "
        "create it with another MAC",
    )
    for name in ("v1", "v3"):
        assert cloud.guest(name).lease is not None
    cloud.cluster.delete_vnic("acme", "a")
    cloud.settle()
    assert cloud.states() == {"ready"}


def test_a_tenant_gets_the_address_that_it_has_claimed() -> None:
    """Wherever its search begins: else the old claim would stay for ever."""
    pool = [ip_address(f"192.0.2.{number}") for number in range(200, 208)]
    for claimed in pool:
        with open_registry("memory:") as registry:
            claim = keys.concentrator_address(claimed)
            registry.commit(
                [
                    Put(keys.node("net-1"), {"name": "net-1", "roles": ["network"]}),
                    Put(keys.alive("net-1"), {}),
                    Put(keys.network("acme", "web"), {}),
                    Put(claim, {"tenant": "acme"}),
                ]
            )
            placer = Placer(registry, "net-1", Addresses(pool, lambda _: set()))
            placer.place(registry.read(""))
            found = registry.read(keys.CONCENTRATORS, keys.CONCENTRATOR_ADDRESSES).entries
            assert [entry.document for entry in found.values()] == [
                {"tenant": "acme"}, {"node": "net-1", "address": str(claimed)}
            ]  # fmt: skip
