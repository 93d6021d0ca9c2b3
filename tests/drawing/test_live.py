"""Pictures of all hosts from what their agents answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from snnet.contract import Remove
from snnet.drawing import live
from snnet.drawing.picture import MESH, Picture
from snnet.drawing.svg import to_html, to_svg
from snnet.explain.gathering import gather
from tests.agent.cloud import CONFIG, Cloud
from tests.agent.conftest import blind, quick
from tests.explain.asked import answered

__all__ = ["blind", "quick"]


@pytest.fixture
def cloud(quick: None, blind: None) -> Iterator[Cloud]:
    """Two compute hosts, each with a VNIC, and a network host."""
    cloud = Cloud()
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", roles=["compute"])
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24", key=7)
    for number in (1, 2):
        cloud.cluster.create_vnic(f"v{number}", tenant="acme", network="web", node=f"cn-{number}")
    cloud.settle()
    yield cloud
    cloud.close()


def drawn(cloud: Cloud) -> Picture:
    hosts = answered(cloud, lambda: gather(cloud.registry, None, 5))
    return live.picture(cloud.cluster, hosts)


def test_what_the_hosts_have(cloud: Cloud) -> None:
    picture = drawn(cloud)
    titles = [card.id for card in picture.hosts]
    assert titles == ["concentrator acme", "node cn-1", "node cn-2", "node net-1"]
    served, first, second, _ = picture.hosts
    node, address = cloud.places()["acme"]
    assert served.facts[:2] == (f"on {node}", address)
    assert [item.id for item in served.bridges] == ["concentrator acme/web"]
    assert first.facts[0] == "192.0.4.3"
    assert first.facts[1].endswith("s old")
    made = cloud.agents["cn-1"].node.topology()
    (box,) = first.bridges
    assert made.subnets[0].bridge is not None
    assert box.facts == ("10.1.0.0/24", "key 7", made.subnets[0].bridge.name)
    assert [(nic.name, nic.addresses, nic.notes) for nic in box.nics] == [
        ("v1", ("10.1.0.2",), (made.vnics[0].link_name,))
    ]
    ends = {frozenset(line.ends) for line in picture.tunnels}
    assert ends == {
        frozenset({card.bridges[0].id, "concentrator acme/web"}) for card in (first, second)
    }
    assert {line.label for line in picture.tunnels} == {"vxlan"}
    assert picture.counts == "3 hosts, 1 concentrator, 1 tenant, 2 VNICs"
    for page in (to_svg(picture), to_html(picture)):
        assert "10.1.0.2" in page
        assert "s old" in page


def test_what_is_lost_or_down_and_who_gave_no_answer(cloud: Cloud) -> None:
    """A VNIC that is not there is said to be missing; a silent host is as the registry says."""
    kernel = cloud.host("cn-1")
    link = cloud.agents["cn-1"].node.topology().vnics[0].link
    kernel.perform(Remove(kernel.state.nouns[link.key]))
    cloud.stop("cn-2")
    picture = drawn(cloud)
    cards = {card.title: card for card in picture.hosts}
    (nic,) = cards["cn-1"].bridges[0].nics
    assert (nic.name, nic.notes[-1]) == ("v1", live.MISSING)
    assert "no answer from host cn-2" in cards["cn-2"].facts[-1]
    assert [nic.name for nic in cards["cn-2"].bridges[0].nics] == ["v2"]
    ends = [line.ends for line in picture.tunnels]
    assert ("concentrator acme/web", "node cn-2 acme/web") in ends or (
        "node cn-2 acme/web",
        "concentrator acme/web",
    ) in ends
    assert {card.kind for card in picture.hosts} == {"host", "concentrator"}, "nothing elsewhere"


@pytest.mark.parametrize("topology", ["hub", "mesh", "local"])
def test_each_tenant_has_its_own_concentrator(quick: None, blind: None, topology: str) -> None:
    """Also where tenants have equal addresses."""
    pool = CONFIG.concentrator_pool if topology == "hub" else ()
    with closing(Cloud(replace(CONFIG, topology=topology, concentrator_pool=pool))) as cloud:
        cloud.add("net-1", roles=["network", "compute"])
        cloud.settle()
        for tenant in ("acme", "globex", "initech"):
            cloud.cluster.create_network("web", tenant=tenant, subnet="10.1.0.0/24")
            cloud.cluster.create_vnic("v1", tenant=tenant, network="web", node="net-1")
        cloud.settle()
        picture = drawn(cloud)
        places = cloud.places()
    assert {line.tenant: set(line.ends) for line in picture.tunnels} == {
        tenant: {f"concentrator {tenant}/web", f"node net-1 {tenant}/web"}
        for tenant in ("acme", "globex", "initech")
    }
    for card in picture.hosts[:3]:
        _, *address, netns = card.facts
        assert netns.startswith("snn-")
        assert address == [where for where in (places[card.title][1],) if where]


def test_direct_paths_lead_to_the_concentrators_host_too(quick: None, blind: None) -> None:
    """Also for a network of one host; one that is silent is drawn as the registry says."""
    with closing(Cloud(replace(CONFIG, topology="mesh", concentrator_pool=()))) as cloud:
        cloud.add("net-1", roles=["network"])
        cloud.add("cn-1", "cn-2", roles=["compute"])
        cloud.settle()
        for name, subnet, nodes in (("web", "10.1.0.0/24", (1, 2)), ("db", "10.2.0.0/24", (1,))):
            cloud.cluster.create_network(name, tenant="acme", subnet=subnet)
            for number in nodes:
                cloud.cluster.create_vnic(
                    f"{name}-{number}", tenant="acme", network=name, node=f"cn-{number}"
                )
        cloud.settle()
        wanted = {
            "web": {"node cn-1 acme/web", "node cn-2 acme/web", "node net-1 acme/web"},
            "db": {"node cn-1 acme/db", "node net-1 acme/db"},
        }
        assert paths(drawn(cloud)) == wanted
        cloud.stop("cn-2")
        assert paths(drawn(cloud)) == wanted


def paths(picture: Picture) -> dict[str, set[str]]:
    """The ends of direct paths by network."""
    return {line.network: set(line.ends) for line in picture.tunnels if line.label == MESH}
