"""Which address of the uplink is the node's, on the fake and on real kernels."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

import snnet
from snnet.contract import Add, Address, Remove, Tunnel
from tests.node.world import FakeWorld, World, vm


def put(world: World, *cidrs: str, link: str = "eth0") -> None:
    nouns = [Address(link=link, address=ip_interface(cidr)) for cidr in cidrs]
    outcome = world.kernel.apply([Add(noun) for noun in nouns])
    assert outcome.error is None, outcome.error


def take(world: World, cidr: str) -> None:
    outcome = world.kernel.apply([Remove(Address(link="eth0", address=ip_interface(cidr)))])
    assert outcome.error is None, outcome.error


def local_addresses(world: World) -> set[str]:
    return {str(link.wire_local) for link in world.links() if isinstance(link, Tunnel)}


@pytest.mark.parametrize("extra", ["192.0.2.2/24", "192.0.2.2/32"], ids=["secondary", "alone"])
def test_an_address_that_is_added_later_changes_no_tunnel(world: World, extra: str) -> None:
    with world.node() as node:
        node.create_vnic(vm())
    put(world, extra)
    before = world.text()
    with world.node() as node:
        assert str(node.compute_ip) == "192.0.2.11"
        assert node.verify() == []
        assert node.repair().healed == []
    assert world.text() == before


def test_the_primary_address_is_the_nodes_whatever_its_number(world: World) -> None:
    put(world, "192.0.2.2/24", "192.0.2.200/24", "192.0.2.1/32")
    node = world.node()
    assert str(node.compute_ip) == "192.0.2.11"
    assert [str(uplink.ip) for uplink in node.uplinks] == ["192.0.2.11"]


def test_the_tunnels_address_stays_the_nodes_when_another_becomes_primary(world: World) -> None:
    with world.node() as node:
        node.create_vnic(vm())
    take(world, "192.0.2.11/24")
    put(world, "192.0.2.2/24", "192.0.2.11/24")
    with world.node() as node:
        assert str(node.compute_ip) == "192.0.2.11"
        assert node.verify() == []
    assert local_addresses(world) == {"192.0.2.11"}


def test_another_address_is_the_nodes_once_that_of_the_tunnels_is_gone(world: World) -> None:
    with world.node() as node:
        node.create_vnic(vm())
    take(world, "192.0.2.11/24")
    put(world, "192.0.2.2/24")
    with world.node() as node:
        assert str(node.compute_ip) == "192.0.2.2"
        node.repair()
        assert node.verify() == []
    assert local_addresses(world) == {"192.0.2.2"}


def test_a_public_address_on_the_uplink_is_never_the_concentrators(walled: World) -> None:
    with walled.cnci() as cnci:
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12")
        cnci.add_public_ip("192.0.2.5", to="10.1.0.9", device="eth0")
    with walled.cnci() as cnci:
        assert str(cnci.compute_ip) == "192.0.2.11"
        assert cnci.verify() == []
    take(walled, "192.0.2.11/24")
    with pytest.raises(snnet.InvalidRequest, match=r"192\.0\.2\.5/32: a public address"):
        walled.cnci()


@pytest.mark.parametrize("topology", ["hub", "mesh"])
def test_without_its_address_a_node_opens_no_subnet_and_keeps_its_own(
    fake: FakeWorld, topology: str
) -> None:
    node = fake.node(config=fake.config(topology=topology))
    made = node.create_vnic(vm(9)).vnic
    take(fake, "192.0.2.11/24")
    before = fake.text()
    assert node.create_vnic(vm(9)).vnic == made
    with pytest.raises(snnet.Conflict, match="is not on eth0 any more"):
        node.create_vnic(vm(9, subnet_number=2))
    assert fake.text() == before


@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
def test_an_open_node_follows_its_uplink_to_another_address(world: World, mode: str) -> None:
    """As a process does that opens the node then; guests keep their links."""
    node = world.node(config=world.config(mode=mode))
    made = node.create_vnic(vm()).vnic
    before = world.text()
    assert not node.follow_uplink()
    put(world, "192.0.2.2/24")
    assert not node.follow_uplink(), "its own is there"
    take(world, "192.0.2.2/24")
    assert world.text() == before
    take(world, "192.0.2.11/24")
    without = world.text()
    with pytest.raises(snnet.Conflict, match=r"uplink eth0: has no address .*; compute_nets: no "):
        node.follow_uplink()
    assert world.text() == without
    put(world, "192.0.2.2/24")
    assert node.follow_uplink()
    assert str(node.compute_ip) == "192.0.2.2"
    assert node.verify() == []
    assert local_addresses(world) == ({"192.0.2.2"} if mode == "gre_tunnel" else set())
    assert node.create_vnic(vm()).vnic == made
    after = world.text()
    node.close()
    with world.node(config=world.config(mode=mode)) as node:
        assert node.repair().healed == []
    assert world.text() == after
