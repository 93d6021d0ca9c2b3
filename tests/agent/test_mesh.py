"""Many hosts in topology "mesh": guests in one hop, and concentrators that are placed and move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from snnet import Agent, Rule
from snnet.agent.hub import usable_addresses
from snnet.backends.fake import FakeKernel
from snnet.cluster import keys
from snnet.contract import BridgeFdb, Fdb, Neighbour, Put, Remove, TunnelGuard
from snnet.contract.addresses import NO_MAC

from .cloud import MESH, OUTSIDE, Cloud, other

pytestmark = pytest.mark.usefixtures("quick")

GUEST = "02:00:00:00:00:09"
BOTH = ("10.1.0.0/24", "fd00:1::/64")


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """Two network hosts and two compute hosts."""
    cloud = Cloud.of_four(MESH)
    yield cloud
    cloud.close()


def known(kernel: FakeKernel) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Of a host: nodes by MAC, MACs by address, and the nodes that broadcast goes to."""
    nouns = kernel.snapshot({Fdb, Neighbour}).values()
    fdb = [noun for noun in nouns if isinstance(noun, Fdb)]
    return (
        {noun.mac: str(noun.remote) for noun in fdb if noun.mac != NO_MAC},
        {str(noun.address): noun.lladdr for noun in nouns if isinstance(noun, Neighbour)},
        {str(noun.remote) for noun in fdb if noun.mac == NO_MAC},
    )


def ip_of(cloud: Cloud, name: str) -> str:
    return str(cloud.cluster.get_node(name).compute_ip)


def test_from_documents_to_guests_that_reach_each_other(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    cloud.cluster.create_network("db", tenant="acme", subnet=("10.2.0.0/24", "fd00:2::/64"))
    cloud.cluster.create_vnic("d1", tenant="acme", network="db", node="cn-1", role="container")
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
    )
    cloud.cluster.create_public_ip("192.0.2.77", tenant="acme", to="v2")
    cloud.settle()
    assert cloud.states() == {"ready"}
    first, second, third = (cloud.guest(name) for name in ("v1", "v2", "d1"))
    for version in (4, 6):
        size = 1450 - (28 if version == 4 else 48)
        assert cloud.fabric.ping(first, second, size=size, version=version), "the full MTU"
        assert not cloud.fabric.ping(first, second, size=size + 1, version=version)
        assert cloud.fabric.ping(second, third, version=version), "across subnets"
    walk = cloud.fabric.explain(first, second)
    assert "cn-2" in walk
    assert "net-" not in walk, "one hop, without a concentrator"
    assert cloud.fabric.ping(first, OUTSIDE)
    node, address = cloud.places()["acme"]
    assert address is None
    found = cloud.fabric.connected(cloud.outside, ip_of(cloud, node), "tcp", 8080)
    assert found is not None
    assert found.station == "acme-v1"
    found = cloud.fabric.connected(cloud.outside, "192.0.2.77", "tcp", 22)
    assert found is not None
    assert found.station == "acme-v2"
    assert cloud.faults() == []


def test_each_host_knows_exactly_the_guests_elsewhere(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    node = cloud.node_of()
    macs, addresses, nodes = known(cloud.host("cn-1"))
    second = cloud.cluster.get_vnic("acme", "v2")
    assert macs.pop(second.guest_mac) == ip_of(cloud, "cn-2")
    (gateway,) = macs
    assert macs == {gateway: ip_of(cloud, node)}
    assert addresses == {
        **{str(ip): second.guest_mac for ip in second.ips},
        **dict.fromkeys(("10.1.0.1", "fd00:1::1", "fe80::1"), gateway),
    }
    assert nodes == {ip_of(cloud, "cn-2"), ip_of(cloud, node)}
    assert known(cloud.host(node))[2] == {ip_of(cloud, "cn-1"), ip_of(cloud, "cn-2")}
    assert known(cloud.host(other(node))) == ({}, {}, set()), "it has no part of the subnet"


def test_nothing_is_asked_for_on_the_wire(cloud: Cloud) -> None:
    """Without an entry for broadcast the known guests reach each other all the same."""
    cloud.furnish(subnet=BOTH)
    guests = [cloud.guest(name) for name in ("v1", "v2")]
    for name in ("cn-1", "cn-2"):
        for noun in cloud.host(name).snapshot({Fdb}).values():
            if isinstance(noun, Fdb) and noun.mac == NO_MAC:
                cloud.host(name).state.drop(noun)
    for version in (4, 6):
        assert cloud.fabric.ping(*guests, version=version)


def test_a_node_announces_its_part_in_the_commit_that_says_it_is_ready(cloud: Cloud) -> None:
    cloud.cluster.create_network("web", tenant="acme", subnet=BOTH)
    cloud.settle()
    watch = cloud.registry.watch(keys.ROOT, after=cloud.registry.read().revision)
    vnic = cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    cloud.agents["cn-1"].step(0)
    changes = [change for change in watch.next(1) + watch.next(1) if change.entry]
    watch.close()
    status, tunnel = keys.status("cn-1", "vnic", "acme", "v1"), keys.tunnel("cn-1", "acme", "web")
    revisions = {change.key: change.revision for change in changes}
    assert revisions[status] == revisions[tunnel], "one commit"
    assert cloud.documents(tunnel) == {
        "": {
            "address": ip_of(cloud, "cn-1"),
            "port": 8473,
            "guests": {vnic.guest_mac: list(map(str, vnic.ips))},
        }
    }
    cloud.cluster.delete_vnic("acme", "v1")
    cloud.settle()
    node = cloud.node_of()
    assert list(cloud.documents(keys.TUNNELS)) == [f"{node}/acme/web/"]


def test_a_guest_that_moves_is_followed(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    cloud.add("cn-3", roles=["compute"])
    cloud.settle()
    first = cloud.guest("v1")
    old = cloud.cluster.get_vnic("acme", "v2")
    assert cloud.fabric.ping(first, str(old.ips[0])) is False, "nobody is there yet"
    cloud.cluster.delete_vnic("acme", "v2")
    cloud.cluster.create_vnic(
        "v2", tenant="acme", network="web", node="cn-3", ip=tuple(map(str, old.ips)),
        mac=old.guest_mac,
    )  # fmt: skip
    cloud.settle()
    macs, _, nodes = known(cloud.host("cn-1"))
    assert macs[old.guest_mac] == ip_of(cloud, "cn-3")
    assert ip_of(cloud, "cn-2") not in nodes
    assert cloud.fabric.ping(first, cloud.guest("v2"))
    assert cloud.faults() == []


def test_groups_and_addresses_are_checked_across_nodes(cloud: Cloud) -> None:
    cloud.cluster.set_group("acme", "web", rules=[Rule("in", "tcp", 80, "group:web"), Rule("out")])
    cloud.furnish(subnet=BOTH, groups=["web"])
    cloud.cluster.create_vnic("v3", tenant="acme", network="web", node="cn-2")
    cloud.settle()
    first, second, third = (cloud.guest(name) for name in ("v1", "v2", "v3"))
    assert cloud.fabric.connect(second, first, "tcp", 80), "a member"
    assert not cloud.fabric.connect(second, first, "tcp", 81)
    assert not cloud.fabric.connect(third, first, "tcp", 80), "no member"
    third.configure([ip_interface("10.1.0.3/24")], [])
    assert not cloud.fabric.connect(third, first, "tcp", 80), "with a member's address"


def test_only_hosts_of_the_subnet_may_send_to_it(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    node = cloud.node_of()
    found = cloud.agents["cn-1"].node.drivers.firewall.snapshot({TunnelGuard}).values()
    assert {str(noun.remote) for noun in found if isinstance(noun, TunnelGuard)} == {
        ip_of(cloud, name) for name in ("cn-1", "cn-2", node)
    }


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"address": "nowhere"},
        {"address": "fd00:9::9"},
        {"address": "192.0.4.9", "port": 8474},
        {"address": "192.0.4.9", "guests": {"no mac": ["10.1.0.9"]}},
        {"address": "192.0.4.9", "guests": {GUEST: ["10.1.0.9"], "no mac": ["10.1.0.10"]}},
        {"address": "192.0.4.9", "guests": ["10.1.0.9"]},
        {"address": "192.0.4.9", "guests": {GUEST: 7}},
        {"address": "192.0.4.9", "guests": {GUEST: ["10.9.0.9"]}},
    ],
)
def test_a_damaged_announcement_cuts_nobody_else_off(
    cloud: Cloud, document: dict[str, Any]
) -> None:
    cloud.furnish(subnet=BOTH)
    cloud.registry.commit([Put(keys.tunnel("cn-9", "acme", "web"), document)])
    others_go_on(cloud)
    macs, _, nodes = known(cloud.host("cn-1"))
    assert GUEST not in macs, "all of it is left out"
    assert "192.0.4.9" not in nodes


def test_a_node_with_the_address_of_another_one(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    document = {"address": ip_of(cloud, "cn-1"), "guests": {GUEST: ["10.1.0.9"]}}
    cloud.registry.commit([Put(keys.tunnel("cn-9", "acme", "web"), document)])
    others_go_on(cloud)
    assert GUEST not in known(cloud.host("cn-1"))[0]


@pytest.mark.parametrize("key", ["x/acme/", "x/acme/web/more/", "x/", "/", "x//web/"])
def test_a_tunnel_with_a_key_that_says_nothing(cloud: Cloud, key: str) -> None:
    cloud.furnish(subnet=BOTH)
    cloud.registry.commit([Put(keys.TUNNELS + key, {"address": "192.0.4.9"})])
    others_go_on(cloud)


def test_addresses_that_are_written_in_another_way_are_the_same(cloud: Cloud) -> None:
    """The later document counts, and what a host has itself is nowhere else."""
    cloud.furnish(subnet=BOTH)
    cloud.add("cn-3", roles=["compute"])
    cloud.settle()
    first, second = (cloud.cluster.get_vnic("acme", name) for name in ("v1", "v2"))
    document = {
        "address": ip_of(cloud, "cn-3"),
        "guests": {
            first.guest_mac.upper(): ["10.1.0.9"],
            "02:00:00:00:00:0A": ["10.1.0.9", "fd00:1:0::3"],
            "02:00:00:00:00:0a": ["10.1.0.10"],
            "02:00:00:00:00:0b": ["10.1.0.11", "10.1.0.11", "fd00:1:0::2"],
        },
    }
    cloud.registry.commit([Put(keys.tunnel("cn-3", "acme", "web"), document)])
    cloud.settle()
    macs, addresses, _ = known(cloud.host("cn-1"))
    assert macs["02:00:00:00:00:0a"] == ip_of(cloud, "cn-3")
    assert first.guest_mac not in macs
    assert addresses["fd00:1::3"] == "02:00:00:00:00:0a", "the later document says so"
    assert addresses["10.1.0.3"] == second.guest_mac
    assert "fd00:1::2" not in addresses, "it is here"
    assert [agent.status()["problem"] for agent in cloud.agents.values()] == [None] * 5


def others_go_on(cloud: Cloud) -> None:
    """No host has a problem, and each follows what is new on the others."""
    cloud.cluster.create_vnic("new", tenant="acme", network="web", node="cn-2")
    cloud.settle()
    assert [agent.status()["problem"] for agent in cloud.agents.values()] == [None] * 4
    assert cloud.states() == {"ready"}
    first = cloud.guest("v1")
    assert cloud.fabric.ping(first, cloud.guest("new"))
    assert cloud.fabric.ping(first, OUTSIDE)
    assert cloud.faults() == []


def test_what_others_remove_is_repaired(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    kernel = cloud.host("cn-1")
    for noun in kernel.snapshot({BridgeFdb, Neighbour}).values():
        assert kernel.apply([Remove(noun)]).errors == {}
    assert len(cloud.agents["cn-1"].node.verify()) == 7
    end = time.monotonic() + 20
    while cloud.agents["cn-1"].node.verify() and time.monotonic() < end:
        cloud.agents["cn-1"].step(0.1)
    assert cloud.faults() == []


def test_network_hosts_behind_a_router_are_not_taken_for_dead(cloud: Cloud) -> None:
    """Nobody there can be asked, so that silence proves nothing."""
    agent = cloud.agents["net-1"]
    addresses = usable_addresses(agent.node, MESH)
    far, dead = ip_address("198.51.100.9"), ip_address("192.0.200.9")
    assert addresses.pool == ()
    assert addresses.answering([far, dead, ip_address(ip_of(cloud, "net-2"))]) == {
        far,
        ip_address(ip_of(cloud, "net-2")),
    }


# -- concentrators that move -----------------------------------------------------------


def test_a_network_host_dies(cloud: Cloud) -> None:
    """Nothing between guests of a subnet is lost, and the gateway is elsewhere with its MAC."""
    cloud.furnish(subnet=BOTH)
    cloud.cluster.create_public_ip("192.0.2.77", tenant="acme", to="v2")
    cloud.settle()
    first, second = cloud.guest("v1"), cloud.guest("v2")
    node = cloud.node_of()
    before = known(cloud.host("cn-1"))
    cloud.kill(node)
    assert cloud.fabric.ping(first, second)
    assert not cloud.fabric.ping(first, OUTSIDE)
    for _ in range(4):
        for agent in cloud.agents.values():
            agent.step(0)
            assert cloud.fabric.ping(first, second), "at every moment"
    cloud.settle()
    heir = other(node)
    assert cloud.places()["acme"] == (heir, None)
    after = known(cloud.host("cn-1"))
    assert after[1] == before[1], "the same MACs for the same addresses"
    assert [mac for mac, where in after[0].items() if where == ip_of(cloud, heir)] == [
        mac for mac, where in before[0].items() if where == ip_of(cloud, node)
    ]
    assert cloud.fabric.ping(first, OUTSIDE)
    assert cloud.fabric.ping(cloud.outside, "192.0.2.77")
    assert first.renew() is not None
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_an_agent_that_is_gone_moves_nothing(cloud: Cloud) -> None:
    """Its host answers, so that its concentrators are where they were."""
    cloud.furnish(subnet=BOTH)
    cloud.furnish("other", BOTH)
    places = cloud.places()
    for node in ("net-1", "net-2"):
        roles = cloud.stop(node)
        cloud.settle()
        assert cloud.places() == places
        cloud.start(node, roles)
        cloud.settle()
    assert cloud.places() == places
    assert cloud.fabric.ping(cloud.guest("v1"), OUTSIDE)


def test_forgetting_a_compute_host_withdraws_its_part_and_nothing_else_does(cloud: Cloud) -> None:
    cloud.furnish(subnet=BOTH)
    gone = ip_of(cloud, "cn-2")
    cloud.kill("cn-2")
    cloud.settle()
    assert gone in known(cloud.host("cn-1"))[2], "liveness alone cuts nothing"
    cloud.cluster.forget_node("cn-2", force=True)
    cloud.settle()
    assert gone not in known(cloud.host("cn-1"))[2]


def test_a_host_hears_of_its_own_tenants_alone(cloud: Cloud) -> None:
    """A change of another tenant is no work for it."""
    cloud.furnish(subnet=BOTH)
    concerns = cloud.agents["cn-1"]._news.concerns
    assert concerns(keys.tunnel("cn-2", "acme", "web"), gone=False)
    assert not concerns(keys.tunnel("cn-2", "other", "web"), gone=False)


def test_what_a_host_announces_itself_is_no_work_for_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.furnish(subnet=BOTH)
    rounds: list[str] = []
    reconcile = Agent._reconcile

    def counted(agent: Agent) -> None:
        rounds.append(agent.node_id)
        reconcile(agent)

    monkeypatch.setattr(Agent, "_reconcile", counted)
    cloud.cluster.create_vnic("new", tenant="acme", network="web", node="cn-1")
    cloud.settle()
    assert rounds.count("cn-1") == 1
    assert rounds.count("cn-2") == 1, "that of cn-1"
