"""Links that guests hold are never replaced by init(), a rebuild or a repeated create."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from itertools import count

import pytest

import snnet
from snnet.contract import Add, Address, Change, Link, Macvtap, Tap
from tests.node.world import UPLINKS, FakeWorld, RealWorld, World, container, port, vm


def index(world: World, name: str) -> int:
    link = world.link(name)
    assert isinstance(link, Link)
    return link.index


def test_a_tap_that_another_version_made_is_reported_and_stays(world: World) -> None:
    node = world.node()
    name = node.create_vnic(vm(9)).vnic.link_name
    made = world.link(name)
    assert isinstance(made, Tap)
    world.delete(name)
    assert not world.kernel.apply([Add(replace(made, user=None, master=None, index=0))]).errors
    there = index(world, name)
    node.close()
    node = world.node(init=False)
    report = node.init()
    (line,) = report.orphans
    assert re.search(rf"user everybody.*, should be: tap {name} .*; repair\(\) replaces it$", line)
    (line,) = node.rebuild_topology().orphans
    assert line.endswith("repair() replaces it")
    node.create_vnic(vm(9))
    assert index(world, name) == there
    found = world.link(name)
    assert found is not None
    assert found.master == made.master  # what can be changed in place is repaired
    assert any("user everybody" in line for line in node.verify())
    node.repair()
    assert index(world, name) != there
    assert node.verify() == []
    node.reset_network()


def test_a_concentrators_nic_of_another_mode_is_reported_and_stays(world: World) -> None:
    node = world.node()
    made = node.create_cnci_vnic(port())
    node.close()
    node = world.node(config=world.config(macvtap_mode="vepa"), init=False)
    (line,) = node.init().orphans
    assert "mode bridge" in line
    assert index(world, made.link_name) == made.index
    assert node.create_cnci_vnic(port()).index == made.index
    assert index(world, made.link_name) == made.index
    assert node.verify() != []
    node.repair()
    assert node.verify() == []
    found = world.link(made.link_name)
    assert isinstance(found, Macvtap)
    assert found.mode == "vepa"
    node.reset_network()


def test_a_link_whose_alias_was_taken_stays(walled: World) -> None:
    """Nobody knows what it is for until it is asked for again; its rules stay as well."""

    def ask(node: snnet.ComputeNode) -> None:
        node.create_vnics([vm(9), container(8, rate_from_guest="10mbit")])
        node.create_cnci_vnic(port())

    node = walled.node()
    ask(node)
    for link in walled.links():
        if not link.alias:
            continue
        node.close()
        walled.kernel.apply([Change(replace(link, alias=""), link)])
        left = walled.text()
        node = walled.node(init=False)
        whole = node.init()
        assert any(link.name in line for line in whole.orphans + whole.healed), link
        assert whole.healed or any(link.name in line for line in node.verify()), link
        node.repair()
        found = walled.link(link.name)
        assert found is not None, link
        assert found.index == link.index, link
        if not whole.healed:
            assert walled.text() == left, link
        ask(node)
        assert walled.link(link.name) == link
        assert node.verify() == []
    node.reset_network()
    assert not walled.links()


def test_a_subnet_stays_with_its_only_port_whose_alias_was_removed(world: World) -> None:
    node = world.node()
    link = world.link(node.create_vnic(vm(9)).vnic.link_name)
    assert link is not None
    node.close()
    world.kernel.apply([Change(replace(link, alias=""), link)])
    left = world.text()
    node = world.node()
    node.repair()
    assert world.text() == left
    node.reconcile(vnics=[])
    assert world.text() == left
    node.create_vnic(vm(9))
    assert world.link(link.name) == link
    node.destroy_vnic(vm(9))
    assert not world.links()


@pytest.mark.parametrize("lost", [True, False], ids=["one of two", "one more"])
@pytest.mark.parametrize("again", [True, False], ids=["created", "destroyed"])
def test_a_subnet_stays_until_that_port_is_asked_for_again(
    world: World, lost: bool, again: bool
) -> None:
    """Another VNIC of the subnet may come and go meanwhile."""
    node = world.node()
    names = [node.create_vnic(vm(number)).vnic.link_name for number in (8, 9)]
    if not lost:
        node.destroy_vnic(vm(9))
        del names[1]
    node.close()
    for name in names:
        link = world.link(name)
        assert link is not None
        world.kernel.apply([Change(replace(link, alias=""), link)])
    node = world.node()
    before = world.link(names[0])
    assert before is not None
    assert before.master is not None
    node.create_vnic(vm(9))
    node.destroy_vnic(vm(9))
    assert world.link(names[0]) == before
    if again:
        node.create_vnic(vm(8))
    node.destroy_vnic(vm(8))
    assert not world.links()


def test_a_subnet_stays_with_such_a_port_that_could_not_be_removed() -> None:
    """And goes with its last VNIC after that."""
    kept = False
    for at in count(1):
        world = FakeWorld("gre")
        with world.node() as node:
            node.create_vnics([vm(8), vm(9)])
            link = world.link(node.topology().vnics[0].link_name)
        assert link is not None
        world.kernel.apply([Change(replace(link, alias=""), link)])
        node = world.node()
        world.kernel.fail(at, "EBUSY")
        with suppress(snnet.Incomplete):
            node.destroy_vnic(vm(8))
        if world.kernel.pending_failures:
            break
        there = world.link(link.name)
        node.destroy_vnic(vm(9))
        assert world.link(link.name) == there
        kept = kept or there is not None
        node.destroy_vnic(vm(8))
        node.create_vnic(vm(9))
        node.destroy_vnic(vm(9))
        assert not world.links()
    assert kept


def put_uplink_on_macvlan(world: World) -> None:
    """Move the address of eth0 to a macvlan of it, ens3."""
    if isinstance(world, FakeWorld):
        world.kernel = snnet.FakeKernel()
        world.kernel.add_uplink("eth0", None)
        world.kernel.add_uplink("ens3", UPLINKS[4], kind="macvlan", lower="eth0")
        return
    assert isinstance(world, RealWorld)
    world.run(
        "ip", "link", "add", "link", "eth0", "name", "ens3", "type", "macvlan", "mode", "bridge"
    )
    world.run("ip", "address", "flush", "dev", "eth0")
    world.run("ip", "link", "set", "ens3", "up")
    address = Address(link="ens3", address=ip_interface(UPLINKS[4]))
    assert world.kernel.apply([Add(address)]).error is None


def test_a_macvtap_on_a_macvlan_is_where_it_was_made(world: World) -> None:
    put_uplink_on_macvlan(world)
    node = world.node()
    made = node.create_cnci_vnic(port())
    assert made.link.lower == "ens3"
    assert node.verify() == []
    node.close()
    node = world.node(init=False)
    report = node.init()
    assert (report.healed, report.orphans) == ([], [])
    assert node.verify() == []
    assert node.create_cnci_vnic(port()).index == made.index
    node.destroy_cnci_vnic(port())
    node.reset_network()
