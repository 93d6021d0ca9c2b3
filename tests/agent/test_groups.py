"""Security groups of a cluster, which agents pass on to their nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet import Agent, NetworkConfig
from snnet.cluster import keys
from snnet.contract import Registry
from snnet.core.groups import GroupId

from .cloud import Cloud
from .conftest import FakeHost

SERVE = ["in tcp 80 from group:web", "in icmp from group:web"]


@pytest.fixture
def cloud(quick: None) -> Iterator[Cloud]:
    """Two compute hosts and a network host; "db" on the one, "v1" and "v2" on the other."""
    cloud = Cloud()
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", "cn-3", roles=["compute"])
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    cloud.cluster.set_group("acme", "web", rules=["out"])
    cloud.cluster.set_group("acme", "db", rules=SERVE)
    for name, node in {"db": "cn-1", "v1": "cn-2", "v2": "cn-2"}.items():
        cloud.cluster.create_vnic(name, tenant="acme", network="web", node=node)
    cloud.settle()
    yield cloud
    cloud.close()


def known(cloud: Cloud, node: str) -> dict[str, list[str]]:
    """The groups that a node knows, each with its members elsewhere."""
    groups = cloud.agents[node].node.topology().groups
    return {group.name: [str(member) for member in group.members] for group in groups}


def test_members_on_other_nodes_are_filtered(cloud: Cloud) -> None:
    """Who joins or leaves a group, or moves, reaches every node that needs it."""
    cluster, ping = cloud.cluster, cloud.fabric.ping
    guests = {name: cloud.guest(name) for name in ("db", "v1", "v2")}
    ips = {name: str(cluster.get_vnic("acme", name).ip[0]) for name in guests}
    assert ping(guests["v1"], ips["db"]), "in no group everything passes"
    assert known(cloud, "cn-1") == {}
    cluster.update_vnic("acme", "db", groups=["db"])
    cloud.settle()
    assert known(cloud, "cn-1") == {"db": [], "web": []}
    assert known(cloud, "cn-2") == known(cloud, "net-1") == {}
    assert not ping(guests["v1"], ips["db"])
    cluster.update_vnic("acme", "v1", groups=["web"])
    cloud.settle()
    assert known(cloud, "cn-1") == {"db": [], "web": [ips["v1"]]}
    assert known(cloud, "cn-2") == {"web": []}, "its own members are known by their ports"
    assert ping(guests["v1"], ips["db"])
    assert not ping(guests["v2"], ips["db"])
    assert "no rule" in str(cloud.fabric.explain(guests["v2"], ips["db"]))
    cluster.update_vnic("acme", "v2", groups=["web"])
    cluster.update_vnic("acme", "v1", groups=[])
    cloud.settle()
    assert ping(guests["v2"], ips["db"])
    assert not ping(guests["v1"], ips["db"])
    cluster.update_vnic("acme", "v2", node="cn-3")
    cloud.settle()
    assert known(cloud, "cn-1")["web"] == [ips["v2"]]
    assert known(cloud, "cn-2") == {}
    cluster.delete_vnic("acme", "v2")
    cloud.settle()
    assert known(cloud, "cn-1")["web"] == []
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []


def test_changes_that_nobody_needs_are_no_work(cloud: Cloud) -> None:
    """Nodes without VNICs in a tenant's groups do not wake up for the members of others."""
    cloud.cluster.update_vnic("acme", "v1", groups=["web"])
    cloud.settle()
    for key in (keys.member("acme", "v2"), keys.group("acme", "web")):
        woken = {
            name for name, agent in cloud.agents.items() if agent._news.concerns(key, gone=False)
        }
        assert woken == {"cn-2"}, key
    cloud.cluster.update_vnic("acme", "v2", groups=["web"])
    cloud.cluster.update_vnic("acme", "db", groups=["db"])
    cloud.settle()
    assert len(known(cloud, "cn-1")["web"]) == 2


def test_rules_change_and_groups_go(host: FakeHost) -> None:
    """A group is on the host while a VNIC needs it, and survives a new agent."""
    cluster = host.cluster
    cluster.create_network("web", subnet="10.1.0.0/24")
    cluster.set_group("default", "web", rules=["in icmp 8", "out"])
    for name, groups in {"v1": ["web"], "v2": []}.items():
        cluster.create_vnic(name, network="web", groups=groups)
    host.settle()
    made = {vnic.vnic_id: vnic for vnic in host.agent.node.topology().vnics}
    host.fabric.attach(host.kernel, made["v1"])
    other = host.fabric.attach(host.kernel, made["v2"])
    assert host.fabric.ping(other, made["v1"].ip)
    cluster.update_group("default", "web", rules=["out"])
    assert cluster.get_group("default", "web").state == "pending"
    host.settle()
    assert not host.fabric.ping(other, made["v1"].ip)
    assert set(host.states().values()) == {"ready"}
    before = host.kernel.to_text()
    host.restart()
    host.settle()
    assert host.kernel.to_text() == before
    cluster.update_vnic("default", "v1", groups=[])
    cluster.delete_group("default", "web")
    host.settle()
    assert host.agent.node.topology().groups == ()
    assert host.fabric.ping(other, made["v1"].ip)
    assert host.agent.node.verify() == []


def test_two_tenants_groups_of_one_name_stay_apart(host: FakeHost) -> None:
    rules = {"a": ["in icmp", "out"], "b": ["out"]}
    for tenant, allowed in rules.items():
        host.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
        host.cluster.set_group(tenant, "web", rules=allowed)
        host.cluster.create_vnic("v1", tenant=tenant, network="web", groups=["web"])
        host.cluster.create_vnic("v2", tenant=tenant, network="web")
    host.settle()
    made = {(item.tenant_id, item.vnic_id): item for item in host.agent.node.topology().vnics}
    guests = {
        id: host.fabric.attach(host.kernel, vnic, name="-".join(id)) for id, vnic in made.items()
    }
    reached = {
        tenant: host.fabric.ping(guests[tenant, "v2"], made[tenant, "v1"].ip) for tenant in rules
    }
    assert reached == {"a": True, "b": False}
    ids: list[GroupId] = [group.id for group in host.agent.node.topology().groups]
    assert sorted(ids) == [("a", "web"), ("b", "web")]


@pytest.mark.usefixtures("quick")
def test_a_guest_whose_group_cannot_be_had_gets_no_link(registry: Registry) -> None:
    """It would be open to all.  Others are not affected, and it comes once the group does."""
    host = FakeHost(registry)
    host.agent.close()
    config = NetworkConfig(topology="local")

    def open_agent(firewall: str) -> Agent:
        return Agent(
            host.node,
            config,
            registry=registry,
            backend=host.kernel,
            firewall=firewall,
            dhcp="fake",
        )

    cluster = host.cluster
    cluster.create_network("web", subnet="10.1.0.0/24")
    cluster.set_group("default", "web", rules=["out"])
    for name, groups in {"v1": ["web"], "v2": []}.items():
        cluster.create_vnic(name, network="web", groups=groups, node=host.node)
    host.agent = open_agent("none")
    for _ in range(50):
        host.agent.step(0.03)
        if cluster.get_vnic("default", "v2").state == "ready":
            break
    assert [vnic.vnic_id for vnic in host.agent.node.topology().vnics] == ["v2"]
    group = cluster.get_group("default", "web")
    assert (group.state, group.status.node) == ("failed", host.node)
    assert "firewall 'none' sets no rules" in str(group.error)
    assert cluster.get_vnic("default", "v1").state == "failed"
    assert cluster.get_vnic("default", "v2").state == "ready"
    host.agent.close()
    host.agent = open_agent("fake")
    host.settle()
    assert set(host.states().values()) == {"ready"}
    host.agent.close()
