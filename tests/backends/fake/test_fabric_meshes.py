"""Through the fabric: meshes of concentrators, macvtaps, what Linux answers ARP for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

import pytest

from snnet.backends.fake import Fabric, FakeKernel
from snnet.contract import Change, Fdb, Gre, InvalidRequest, Macvtap, Sysctl, Vxlan

from .steps import add, address, bridge, do, link, neighbour, remove, route
from .topology import two_nodes


@dataclass(frozen=True)
class Port:
    """What the fabric reads of a CNCI VNIC."""

    link_name: str


# -- meshes ------------------------------------------------------------------------------


def three_concentrators(version: int = 4) -> tuple[Fabric, list[FakeKernel]]:
    """Three concentrators, each with a subnet of its own: 10.1.0.1/24, 10.2.0.1/24 ..."""
    fabric = Fabric()
    net = "192.0.2.{}/24" if version == 4 else "2001:db8::{}/64"
    hosts = [fabric.add_host(f"cnci-{number}", net.format(number)) for number in (1, 2, 3)]
    for number, kernel in enumerate(hosts, 1):
        add(kernel, bridge("br0"), address(f"10.{number}.0.1/24", "br0"))
    return fabric, hosts


def peers_of(number: int) -> list[int]:
    return [other for other in (1, 2, 3) if other != number]


def test_multipoint_gre_goes_by_its_neighbours() -> None:
    fabric, hosts = three_concentrators()
    for number, kernel in enumerate(hosts, 1):
        local = IPv4Address(f"192.0.2.{number}")
        add(kernel, Gre(name="mesh", local=local, tunnel_key=9, mtu=1472))
        add(kernel, address(f"10.255.0.{number}/32", "mesh"))
        for other in peers_of(number):
            via = f"10.255.0.{other}"
            add(kernel, neighbour(via, f"192.0.2.{other}", "mesh"), route(f"{via}/32", "mesh"))
            add(kernel, route(f"10.{other}.0.0/24", "mesh", via, onlink=True))
    for source in hosts:
        for number in (1, 2, 3):
            assert fabric.ping(source, f"10.{number}.0.1")
    assert fabric.ping(hosts[0], "10.2.0.1", size=1472 - 28)
    assert not fabric.ping(hosts[0], "10.2.0.1", size=1472 - 27)
    explanation = fabric.explain(hosts[0], "10.2.0.1")
    assert "mesh on cnci-1: gre key 9 to 192.0.2.2" in explanation
    remove(hosts[0], neighbour("10.255.0.2", "192.0.2.2", "mesh"))
    assert not fabric.ping(hosts[0], "10.2.0.1")
    assert "mesh on cnci-1: no neighbour entry for 10.255.0.2" in (
        fabric.explain(hosts[0], "10.2.0.1")
    )


@pytest.mark.parametrize("version", [4, 6])
def test_vxlan_goes_by_its_forwarding_entries(version: int) -> None:
    fabric, hosts = three_concentrators(version)
    underlay = "192.0.2.{}" if version == 4 else "2001:db8::{}"
    for number, kernel in enumerate(hosts, 1):
        local = ip_address(underlay.format(number))
        mac = f"02:00:0a:ff:00:{number:02x}"
        add(
            kernel,
            Vxlan(name="mesh", vni=9, local=local, remote=None, port=4789, mac=mac, mtu=1400),
            address(f"10.255.0.{number}/32", "mesh"),
        )
        for other in peers_of(number):
            far_mac, via = f"02:00:0a:ff:00:{other:02x}", f"10.255.0.{other}"
            far = ip_address(underlay.format(other))
            add(kernel, Fdb(link="mesh", mac=far_mac, remote=far))
            add(kernel, neighbour(via, far_mac, "mesh"), route(f"{via}/32", "mesh"))
            add(kernel, route(f"10.{other}.0.0/24", "mesh", via, onlink=True))
    for source in hosts:
        for number in (1, 2, 3):
            assert fabric.ping(source, f"10.{number}.0.1")
    remove(hosts[0], neighbour("10.255.0.2", "02:00:0a:ff:00:02", "mesh"))
    assert "mesh on cnci-1: no forwarding entry for ff:ff:ff:ff:ff:ff" in (
        fabric.explain(hosts[0], "10.2.0.1")
    )


# -- macvtaps --------------------------------------------------------------------------------


def network_node(mode: str) -> tuple[Fabric, FakeKernel, FakeKernel, list[FakeKernel]]:
    """A node with two concentrators on macvtaps, and another host on the wire."""
    fabric = Fabric()
    node, other = fabric.add_host("nn", "192.0.2.2/24"), fabric.add_host("cn", "192.0.2.11/24")
    behind = []
    for number in (1, 2):
        mac = f"02:00:00:00:00:{number:02x}"
        add(node, Macvtap(name=f"m{number}", lower="eth0", mac=mac, mode=mode))
        port = Port(f"m{number}")
        behind.append(fabric.add_host(f"cnci-{number}", f"192.0.2.10{number}/24", on=port))
        assert link(behind[-1], "eth0").mac == mac
    return fabric, node, other, behind


@pytest.mark.parametrize("mode", ["bridge", "vepa"])
def test_a_host_behind_a_macvtap_is_on_the_wire(mode: str) -> None:
    fabric, node, other, behind = network_node(mode)
    for guest in behind:
        assert fabric.ping(guest, other)
        assert fabric.ping(other, guest)
        assert not fabric.ping(guest, node)
        assert not fabric.ping(node, guest)


def test_macvtaps_of_one_uplink_reach_each_other_in_bridge_mode_alone() -> None:
    for mode, reached in (("bridge", True), ("vepa", False)):
        fabric, _, _, behind = network_node(mode)
        assert fabric.ping(*behind) is reached
        assert fabric.ping(behind[1], behind[0]) is reached


def test_which_macvtap_is_meant() -> None:
    fabric, node, other, _ = network_node("bridge")
    add(node, Macvtap(name="m9", lower="eth0"))
    add(other, Macvtap(name="m9", lower="eth0"))
    with pytest.raises(InvalidRequest, match="nn, cn have a macvtap m9: pass on="):
        fabric.add_host("new", "192.0.2.99/24", on=Port("m9"))
    new = fabric.add_host("new", "192.0.2.99/24", on=(other, Port("m9")))
    assert fabric.ping(new, node)
    assert not fabric.ping(new, other)
    with pytest.raises(InvalidRequest, match="already has a host"):
        fabric.add_host("newer", "192.0.2.98/24", on=Port("m1"))


def test_an_uplink_may_be_the_port_of_a_bridge() -> None:
    fabric = Fabric()
    a, b = fabric.add_host("a", None), fabric.add_host("b", "192.0.2.2/24")
    add(a, bridge("br0"), address("192.0.2.1/24", "br0"))
    nic = link(a, "eth0")
    do(a, Change(replace(nic, master="br0"), nic))
    assert fabric.ping(a, b)
    assert fabric.ping(b, a)


# -- ARP -----------------------------------------------------------------------------------------


def sysctl(kernel: FakeKernel, name: str, value: str) -> None:
    do(kernel, Change(Sysctl(name=name, value=value), Sysctl(name=name, value="0")))


def test_a_host_answers_for_any_of_its_addresses_on_any_link() -> None:
    """Also on a bridge that has none; ``arp_ignore`` ends that."""
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9")
    add(guest.kernel, route("192.0.2.11/32", "eth0"))
    add(one, route("10.1.0.0/24", "br7"))
    assert center.fabric.ping(guest, "192.0.2.11")
    sysctl(one, "net.ipv4.conf.br7.arp_ignore", "1")
    assert not center.fabric.ping(guest, "192.0.2.11")


def test_proxy_arp_answers_for_what_is_routed_elsewhere() -> None:
    center, one, two = two_nodes()
    add(one, route("198.51.100.7/32", "br7"))
    center.forward(one)
    vnic = center.vm(one, "10.1.0.9")
    guest = center.fabric.attach(one, vnic, address="198.51.100.7/32")
    add(guest.kernel, route("192.0.2.0/24", "eth0"))
    add(two, route("198.51.100.7/32", "eth0"))
    assert not center.fabric.ping(two, guest)
    sysctl(one, "net.ipv4.conf.all.proxy_arp", "1")
    assert center.fabric.ping(two, guest), center.fabric.explain(two, guest)
