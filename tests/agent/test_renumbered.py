"""Names, addresses, numbers and keys that are others' before anybody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from snnet import Agent, NetworkConfig
from snnet.contract import Tap

from .cloud import CONFIG, MESH, OUTSIDE, Cloud

pytestmark = pytest.mark.usefixtures("quick")

GENEVE = replace(CONFIG, tunnel="geneve")


@pytest.fixture(params=[CONFIG, GENEVE, MESH], ids=["hub", "geneve", "mesh"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    config: NetworkConfig = request.param
    cloud = Cloud.of_four(config)
    yield cloud
    cloud.close()


def check(cloud: Cloud) -> None:
    """All guests take their leases, and reach each other and the outside."""
    assert cloud.states() == {"ready"}
    assert cloud.faults() == []
    guests = [cloud.guest(vnic.name, vnic.tenant) for vnic in cloud.cluster.list_vnics()]
    for guest in guests:
        assert guest.lease is not None
        assert cloud.fabric.ping(guest, OUTSIDE)
        assert all(cloud.fabric.ping(guest, other) for other in guests)
    for guest in guests:
        cloud.fabric.detach(guest)


def boot(cloud: Cloud, **addresses: str) -> None:
    """Hosts that lost their power have these addresses when they are back."""
    roles = {name.replace("_", "-"): cloud.kill(name.replace("_", "-")) for name in addresses}
    for name in roles:
        cloud.fabric.leave(name)
    for name, address in addresses.items():
        cloud.fabric.add_host(name.replace("_", "-"), address)
    for name, had in roles.items():
        cloud.start(name, had)


def _new_address(cloud: Cloud) -> None:
    boot(cloud, cn_1="192.0.4.99/16")


def _exchanged_addresses(cloud: Cloud) -> None:
    boot(cloud, cn_1="192.0.4.5/16", cn_2="192.0.4.4/16")


def _address_of_a_network_host(cloud: Cloud) -> None:
    boot(cloud, net_1="192.0.4.4/16", cn_1="192.0.4.2/16")


def _new_number(cloud: Cloud) -> None:
    roles, config = cloud.stop("cn-1"), cloud.config
    cloud.config = replace(config, node_number=77)
    cloud.start("cn-1", roles)
    cloud.config = config


def _host_in_the_place_of_another(cloud: Cloud) -> None:
    """It has the other one's number and VNIC, and an address of its own."""
    number = cloud.cluster.get_node("cn-1").number
    cloud.kill("cn-1")
    cloud.cluster.forget_node("cn-1", force=True)
    config = cloud.config
    cloud.config = replace(config, node_number=number)
    cloud.add("cn-3", roles=["compute"])
    cloud.config = config
    agent = cloud.agents.pop("cn-3")
    cloud.cluster.create_vnic("v1", tenant="acme", network="web", node="cn-3")
    for _ in range(3):
        agent.step(0)  # it announces its tunnel before anybody else has looked
    cloud.agents["cn-3"] = agent


CHANGES = [
    _new_address,
    _exchanged_addresses,
    _address_of_a_network_host,
    _new_number,
    _host_in_the_place_of_another,
]


@pytest.mark.parametrize("change", CHANGES, ids=[change.__name__.strip("_") for change in CHANGES])
def test_a_host_that_has_another_address_or_number(
    cloud: Cloud, change: Callable[[Cloud], Any]
) -> None:
    """Tunnels follow, also where the new one has the place of the old one on the wire."""
    cloud.furnish()
    check(cloud)
    change(cloud)
    cloud.settle()
    check(cloud)


@pytest.mark.parametrize("name", ["web", "db"])
@pytest.mark.parametrize("subnet", ["10.1.0.0/24", "10.2.0.0/24"])
@pytest.mark.parametrize("away", ["", "net-1", "cn-1"])
def test_a_network_with_the_key_of_one_that_was_deleted(
    cloud: Cloud, name: str, subnet: str, away: str
) -> None:
    """Keys are used again at once, and no agent need have looked in between."""
    cloud.cluster.drain_node("net-2")
    cloud.cluster.create_network("other", tenant="acme", subnet="10.9.0.0/24", key=9)
    cloud.furnish()
    roles = cloud.stop(away) if away else ()
    cloud.cluster.delete_network("acme", "web", force=True)
    if away:
        cloud.settle()
    cloud.cluster.create_network(name, tenant="acme", subnet=subnet, key=1)
    for number in (1, 2):
        cloud.cluster.create_vnic(f"v{number}", tenant="acme", network=name, node=f"cn-{number}")
    if away:
        cloud.start(away, roles)
    cloud.settle()
    check(cloud)


@pytest.mark.parametrize("roles", [("vm", "container"), ("container", "vm")])
def test_a_vnic_with_the_name_of_one_of_another_role(cloud: Cloud, roles: tuple[str, str]) -> None:
    """Its link has another name, by which it is found again."""
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    for role in roles:
        cloud.cluster.delete_vnic("acme", "v1")
        cloud.cluster.create_vnic(
            "v1", tenant="acme", network="web", node="cn-1", role=role, rate_from_guest="10mbit"
        )
        cloud.settle()
        check(cloud)
        cloud.start("cn-1", cloud.stop("cn-1"))
        cloud.settle()
        check(cloud)
    (vnic,) = cloud.agents["cn-1"].node.topology().vnics
    assert cloud.host("cn-1").to_text().count("snv-") == cloud.host("cn-1").to_text().count(
        vnic.link_name
    ), "nothing of the other one is left"


def test_a_second_host_with_the_name_of_another(cloud: Cloud) -> None:
    """As those that are made from one image: it makes nothing, and says what to do."""
    cloud.furnish()
    first = cloud.agents["cn-1"]
    twin = cloud.fabric.add_host("clone", "192.0.9.9/16")
    before = cloud.registry.read().entries
    cloud.agents["clone"] = Agent(
        "cn-1", cloud.config, registry=cloud.registry, roles=["compute"], firewall="fake",
        backend=twin, session_ttl=cloud.ttl,
    )  # fmt: skip
    for _ in range(3):
        for agent in cloud.agents.values():
            agent.step(0)
    assert str(cloud.agents["clone"].status()["problem"]).startswith(
        f"an agent on another host ({first.node.compute_ip}) runs as node 'cn-1': give each host"
    )
    assert first.status()["problem"] is None
    assert cloud.registry.read().entries == before
    assert twin.snapshot({Tap}) == {}
    cloud.kill("cn-1")
    cloud.settle()
    assert cloud.agents["clone"].status()["problem"] is None, "a host that takes another's place"
    assert len(twin.snapshot({Tap})) == 1


def test_a_host_that_comes_back_to_a_name_that_another_has_by_now(cloud: Cloud) -> None:
    cloud.furnish()
    first = cloud.agents["cn-1"]
    first._membership.close()  # its session ran out while it could not renew it
    twin = cloud.fabric.add_host("clone", "192.0.9.9/16")
    with Agent(
        "cn-1", cloud.config, registry=cloud.registry, roles=["compute"], firewall="fake",
        backend=twin, session_ttl=cloud.ttl,
    ) as second:  # fmt: skip
        second.step(0)
        for _ in range(2):
            first.step(0)
        assert "(192.0.9.9) runs as node 'cn-1'" in str(first.status()["problem"])
        assert second.status()["problem"] is None
