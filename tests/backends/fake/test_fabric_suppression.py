"""Through the fabric: subnets on vxlans with an entry for each MAC: one hop, no questions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address

import pytest

from snnet.backends.fake import Fabric, FakeKernel, Guest
from snnet.contract import Bridge, BridgeFdb, Change, Fdb, Link, Noun, Tap, Vxlan
from snnet.contract.addresses import NO_MAC

from .steps import add, do, neighbour, remove
from .topology import Vnic

PORT = (("bridge_slave learning", 0), ("bridge_slave neigh_suppress", 1))


@dataclass
class Mesh:
    """Three hosts with a guest each, 10.1.0.N and fd01::N, that know nothing of each other."""

    fabric: Fabric
    hosts: list[FakeKernel]
    guests: list[Guest]

    def know(self, number: int, *others: int) -> None:
        """Have host ``number`` know where the guests of other hosts are."""
        for other in others:
            add(self.hosts[number - 1], *entries(other))

    def members(self, number: int, *others: int) -> None:
        """Have host ``number`` send what is for all to other hosts."""
        for other in others:
            add(
                self.hosts[number - 1],
                Fdb(link="vx", mac=NO_MAC, remote=ip_address(f"192.0.2.{other}")),
            )


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def entries(other: int) -> list[Noun]:
    return [
        Fdb(link="vx", mac=mac(other), remote=ip_address(f"192.0.2.{other}")),
        BridgeFdb(link="vx", mac=mac(other)),
        neighbour(f"10.1.0.{other}", mac(other), "br"),
        neighbour(f"fd01::{other}", mac(other), "br"),
    ]


@pytest.fixture
def mesh() -> Mesh:
    fabric = Fabric()
    hosts, guests = [], []
    for number in (1, 2, 3):
        kernel = fabric.add_host(f"cn-{number}", f"192.0.2.{number}/24")
        vxlan = Vxlan(
            name="vx", vni=7, local=ip_address(f"192.0.2.{number}"), remote=None, port=8473,
            master="br", mtu=1450, settings=PORT,
        )  # fmt: skip
        bridge = Bridge(name="br", mac=f"06:00:00:00:00:{number:02x}", mtu=1450)
        add(kernel, bridge, vxlan, Tap(name="tap", master="br", mtu=1450))
        vnic = Vnic("tap", mac(number), mtu=1450, subnet=IPv4Network("10.1.0.0/24"))
        own = [f"10.1.0.{number}/24", f"fd01::{number}/64"]
        guests.append(fabric.attach(kernel, vnic, address=own, gateway=[]))
        hosts.append(kernel)
    return Mesh(fabric, hosts, guests)


@pytest.mark.parametrize("target", ["10.1.0.2", "fd01::2"])
def test_known_addresses_are_answered_on_the_spot(mesh: Mesh, target: str) -> None:
    """No host is sent what is for all, so that nobody else can have answered."""
    mesh.know(1, 2)
    mesh.know(2, 1)
    assert mesh.fabric.ping(mesh.guests[0], target)
    assert not mesh.fabric.ping(mesh.guests[0], "10.1.0.3")


def test_unknown_addresses_are_asked_for_at_all_members(mesh: Mesh) -> None:
    mesh.members(1, 2, 3)
    for number in (2, 3):
        mesh.members(number, 1)
        assert mesh.fabric.ping(mesh.guests[0], f"10.1.0.{number}")


def test_hosts_that_are_not_members_hear_nothing(mesh: Mesh) -> None:
    mesh.members(1, 3)
    assert not mesh.fabric.ping(mesh.guests[0], "10.1.0.2")
    assert "vx on cn-2" not in mesh.fabric.explain(mesh.guests[0], "10.1.0.2")


def test_a_guest_that_moves(mesh: Mesh) -> None:
    """Its entry is replaced in place: nothing else changes, and it is reached where it is."""
    mesh.know(1, 2)
    mesh.know(2, 1)
    mesh.know(3, 1)
    assert mesh.fabric.ping(mesh.guests[0], "10.1.0.2")
    third = mesh.hosts[2]
    mesh.fabric.detach(mesh.guests[1])
    vnic = Vnic("tap", mac(2), mtu=1450, subnet=IPv4Network("10.1.0.0/24"))
    mesh.fabric.detach(mesh.guests[2])
    mesh.fabric.attach(third, vnic, address="10.1.0.2/24")
    assert not mesh.fabric.ping(mesh.guests[0], "10.1.0.2")
    old = Fdb(link="vx", mac=mac(2), remote=ip_address("192.0.2.2"))
    do(mesh.hosts[0], Change(replace(old, remote=ip_address("192.0.2.3")), old))
    assert mesh.fabric.ping(mesh.guests[0], "10.1.0.2")


def test_without_suppression_the_others_must_answer(mesh: Mesh) -> None:
    """The settings of the port make the difference, not the neighbour entries."""
    mesh.know(1, 2)
    mesh.know(2, 1)
    kernel = mesh.hosts[0]
    found = kernel.find(Link(name="vx"))
    assert isinstance(found, Vxlan)
    do(kernel, Change(replace(found, settings=None), found))
    assert not mesh.fabric.ping(mesh.guests[0], "10.1.0.2")
    mesh.members(1, 2)
    assert mesh.fabric.ping(mesh.guests[0], "10.1.0.2")


def test_without_the_entry_of_the_bridge_nothing_is_answered(mesh: Mesh) -> None:
    mesh.know(1, 2)
    remove(mesh.hosts[0], BridgeFdb(link="vx", mac=mac(2)))
    assert not mesh.fabric.ping(mesh.guests[0], "10.1.0.2")
