"""What is said across the hosts of a mesh: one hop between guests, and what breaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet.contract import Change, Fdb, Remove, Vxlan
from tests.agent.cloud import MESH, OUTSIDE, Cloud

from .asked import ask


@pytest.fixture
def cloud(quick: None, blind: None) -> Iterator[Cloud]:
    """Two compute hosts and a network host, with a guest on each; nobody repairs anything."""
    cloud = Cloud(MESH)
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    for number in (1, 2):
        cloud.cluster.create_vnic(f"v{number}", tenant="acme", network="web", node=f"cn-{number}")
    cloud.settle()
    yield cloud
    cloud.close()


def vxlan(cloud: Cloud, node: str) -> Vxlan:
    (subnet,) = cloud.agents[node].node.topology().subnets
    assert isinstance(subnet.tunnel, Vxlan)
    return subnet.tunnel


def test_guests_reach_each_other_in_one_hop(cloud: Cloud) -> None:
    told = ask(cloud, "v1", "v2").explanation
    assert (told.outcome, told.why) == ("reached", "v2 of acme answers")
    passed = {hop.host.partition("/")[0] for hop in told.hops}
    assert passed == {"v1 of acme", "cn-1", "cn-2", "v2 of acme"}


def test_to_the_outside(cloud: Cloud) -> None:
    assert ask(cloud, "v1", OUTSIDE).explanation.outcome == "left"


def test_in_by_the_address_of_a_host(cloud: Cloud) -> None:
    """A forward is on the concentrator's node, and leads to a guest on another."""
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
    )
    cloud.settle()
    address = str(cloud.agents["net-1"].node.compute_ip)
    told = ask(cloud, OUTSIDE, address, protocol="tcp", port=8080)
    assert (told.explanation.outcome, told.explanation.why) == ("reached", "v1 of acme answers")
    assert sorted(told.hosts.ages) == ["cn-1", "net-1"]


def test_an_entry_that_leads_to_the_wrong_host(cloud: Cloud) -> None:
    kernel, second = cloud.host("cn-1"), cloud.cluster.get_vnic("acme", "v2")
    entries = kernel.snapshot({Fdb}).values()
    (old,) = [noun for noun in entries if isinstance(noun, Fdb) and noun.mac == second.guest_mac]
    wrong = Fdb(link=old.link, mac=old.mac, remote=cloud.agents["net-1"].node.compute_ip)
    assert kernel.apply([Change(wrong, old)]).errors == {}
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "net-1")
    assert f"{second.guest_mac} is on this port" in found.why
    assert found.fix.startswith("it came to the wrong host")


def test_without_any_entry(cloud: Cloud) -> None:
    kernel = cloud.host("cn-1")
    for noun in kernel.snapshot({Fdb}).values():
        assert kernel.apply([Remove(noun)]).errors == {}
        assert isinstance(noun, Fdb)
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-1")
    assert "no forwarding entry" in found.why


def test_a_vxlan_that_is_gone(cloud: Cloud) -> None:
    kernel = cloud.host("cn-2")
    kernel.perform(Remove(kernel.state.nouns[vxlan(cloud, "cn-2").key]))
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-2")
    assert "no tunnel here for vxlan" in found.why
