"""What enters a host is checked against what is there: a Conflict that names the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

import snnet
from snnet.contract import Add, Address, Noun, Route
from tests.node.test_cnci import neighbors
from tests.node.world import World, vm

NET = "10.1.0.0/24"


def put(world: World, *nouns: Noun) -> None:
    """Make what an administrator has set on the host."""
    outcome = world.kernel.apply([Add(noun) for noun in nouns])
    assert outcome.error is None, outcome.error


def route(destination: str, gateway: str) -> Route:
    return Route(
        destination=IPv4Network(destination),
        link="eth0",
        gateway=IPv4Address(gateway),
        onlink=True,
    )


def refused(
    world: World, node: snnet.Cnci | snnet.ComputeNode, call: Callable[[], object], match: str
) -> None:
    """The call is a Conflict that names the other thing, and changes nothing."""
    before = world.text()
    with pytest.raises(snnet.Conflict, match=match):
        call()
    assert world.text() == before
    assert node.verify() == []


@pytest.mark.parametrize(
    ("network", "match"),
    [
        ("192.0.2.128/25", "192.0.2.11/24 on link eth0"),
        ("192.0.2.0/24", "192.0.2.11/24 on link eth0"),
        ("192.0.0.0/16", "192.0.2.11/24 on link eth0"),
        ("198.51.100.0/24", "198.51.100.1, a gateway"),
        ("203.0.112.0/23", "203.0.113.0/25, which this host reaches by link eth0"),
        ("203.0.113.0/25", "203.0.113.0/25, which this host reaches by link eth0"),
        ("172.20.0.0/16", "172.20.0.7/32 on link eth0"),
    ],
)
def test_a_subnet_takes_nothing_from_its_host(world: World, network: str, match: str) -> None:
    put(
        world,
        Address(link="eth0", address=ip_interface("172.20.0.7/32")),
        route("0.0.0.0/0", "198.51.100.1"),
        route("203.0.113.0/25", "198.51.100.1"),
        route("10.0.0.0/8", "198.51.100.1"),
    )
    cnci = world.cnci()
    refused(world, cnci, lambda: cnci.add_remote_subnet(network, 7, "192.0.2.251"), match)
    cnci.add_remote_subnet(NET, 8, "192.0.2.21")  # a wider static route is no obstacle
    cnci.shutdown()


def test_a_compute_node_is_not_inside_a_subnet(world: World) -> None:
    cnci = world.cnci()
    add = cnci.add_remote_subnet
    refused(world, cnci, lambda: add("10.9.0.0/24", 7, "10.9.0.5"), "10.9.0.5.*10.9.0.0/24")
    add(NET, 7, "192.0.2.21")
    refused(world, cnci, lambda: add("10.2.0.0/24", 8, "10.1.0.5"), "10.1.0.5.*10.1.0.0/24")
    cnci.shutdown()


def test_two_concentrators_of_one_host_do_not_overlap(walled: World) -> None:
    first, second = walled.cnci("cnci-a"), walled.cnci("cnci-b", tenant_id="t2")
    first.add_remote_subnet(NET, 7, "192.0.2.21")
    first.update_neighbors(neighbors(11, 30))
    for network in (NET, "10.1.0.128/25", "10.1.0.0/16"):
        refused(
            walled,
            second,
            partial(second.add_remote_subnet, network, 8, "192.0.2.21"),
            "of cnci:cnci-a",
        )
    behind = str(next(iter(first.topology().mesh.subnets())))  # type: ignore[union-attr]
    refused(
        walled, second, lambda: second.add_remote_subnet(behind, 8, "192.0.2.21"), "of cnci:cnci-a"
    )
    second.add_remote_subnet("10.200.0.0/24", 8, "192.0.2.21")
    entries = [
        snnet.Neighbor(
            physical_ip="192.0.2.11", subnet="10.200.0.0/24", tunnel_ip="172.17.0.11", tunnel_id=77
        ),
        snnet.Neighbor(physical_ip="192.0.2.40", subnet=NET, tunnel_ip="172.17.0.40", tunnel_id=77),
    ]
    refused(walled, second, lambda: second.update_neighbors(entries), "of cnci:cnci-a")
    first.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9")
    first.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    refused(
        walled,
        second,
        lambda: second.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.200.0.9"),
        "cnci:cnci-a has port tcp/80",
    )
    for public in ("203.0.113.5", "10.1.0.77"):
        refused(
            walled,
            second,
            partial(second.add_public_ip, public, to="10.200.0.9", device="eth0"),
            public,
        )
    first.shutdown()
    second.shutdown()


@pytest.mark.parametrize(
    ("subnet", "tunnel_ip", "match"),
    [
        ("192.0.2.64/26", "172.16.0.30", "192.0.2.11/24 on link eth0"),
        ("198.51.100.0/24", "172.16.0.30", "198.51.100.1, a gateway"),
        ("10.30.0.0/24", "192.0.2.30", "192.0.2.11/24 on link eth0"),
        ("10.30.0.0/24", "198.51.100.1", "a gateway"),
    ],
)
def test_a_mesh_takes_nothing_from_its_host(
    world: World, subnet: str, tunnel_ip: str, match: str
) -> None:
    put(world, route("0.0.0.0/0", "198.51.100.1"))
    cnci = world.cnci()
    ours, *_ = neighbors(11)
    peer = snnet.Neighbor(
        physical_ip="192.0.2.30", subnet=subnet, tunnel_ip=tunnel_ip, tunnel_id=ours.tunnel_id
    )
    refused(world, cnci, lambda: cnci.update_neighbors([ours, peer]), match)
    cnci.shutdown()


def test_a_forward_takes_no_tunnels_port(world: World) -> None:
    cnci = world.cnci(config=world.config(tunnel="vxlan"))
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    (tunnel,) = cnci.topology().subnets[0].tunnels.values()
    port = tunnel.port  # type: ignore[attr-defined]

    def forward(number: int, protocol: str = "udp") -> None:
        cnci.add_port_forward(protocol=protocol, device="eth0", port=number, to="10.1.0.9")

    refused(world, cnci, lambda: forward(port), tunnel.name)
    forward(port, "tcp")
    forward(4789)
    refused(world, cnci, lambda: cnci.update_neighbors(neighbors(11, 30)), "udp/4789")
    other = 16384 + ((11 ^ 22) & 0x3FFF)
    forward(other)
    refused(world, cnci, lambda: cnci.add_remote_subnet(NET, 7, "192.0.2.22"), f"udp/{other}")
    cnci.shutdown()
    node = world.node(config=world.config(tunnel="vxlan"))
    node.create_vnic(vm(9))
    (subnet,) = node.topology().subnets
    cnci.add_remote_subnet("10.77.0.0/24", 7, "192.0.2.21")
    assert subnet.tunnel is not None
    taken = subnet.tunnel.port  # type: ignore[attr-defined]
    refused(
        world,
        cnci,
        lambda: cnci.add_port_forward(protocol="udp", device="eth0", port=taken, to="10.77.0.9"),
        f"{subnet.tunnel.name} of cn:cn-1",
    )
    cnci.shutdown()
    node.reset_network()


@pytest.mark.parametrize(
    ("address", "match"),
    [("192.0.2.77", "192.0.2.77/24"), ("198.51.100.1", "a gateway"), ("203.0.113.9", "reaches")],
)
def test_a_public_address_is_nobody_elses(world: World, address: str, match: str) -> None:
    put(
        world,
        Address(link="eth0", address=ip_interface("192.0.2.77/24")),
        route("0.0.0.0/0", "198.51.100.1"),
        route("203.0.113.9/32", "198.51.100.1"),
    )
    cnci = world.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    refused(world, cnci, lambda: cnci.add_public_ip(address, to="10.1.0.9", device="eth0"), match)
    cnci.shutdown()


def _routed(world: World, node_id: str = "cn-1") -> snnet.ComputeNode:
    return world.node(node_id, config=world.config(mode=snnet.NetworkMode.ROUTED))


@pytest.mark.parametrize(
    ("subnet", "ip", "match"),
    [
        ("192.0.2.0/24", "192.0.2.77", "an address of this host"),
        ("192.0.2.0/24", "192.0.2.11", "an address of this host"),
        ("192.0.2.0/24", "192.0.2.254", "a gateway of this host"),
        ("198.51.100.0/24", "198.51.100.9", "198.51.100.1, a gateway"),
        ("172.20.0.0/16", "172.20.0.9", "172.20.0.7/32 on link lo"),
    ],
)
def test_a_routed_vnic_takes_no_address_of_its_host(
    world: World, subnet: str, ip: str, match: str
) -> None:
    put(
        world,
        Address(link="eth0", address=ip_interface("192.0.2.77/24")),
        Address(link="lo", address=ip_interface("172.20.0.7/32")),
        route("0.0.0.0/0", "192.0.2.254"),
        route("203.0.113.0/24", "198.51.100.1"),
    )
    node = _routed(world)
    node.create_vnic(vm(8, subnet="192.0.2.0/24", ip="192.0.2.8", subnet_number=4))
    number = 4 if subnet == "192.0.2.0/24" else 5
    cfg = vm(9, subnet=subnet, ip=ip, subnet_number=number)
    refused(world, node, lambda: node.create_vnic(cfg), match)
    node.reset_network()


def test_two_routed_nodes_of_one_host_do_not_share_addresses(world: World) -> None:
    first, second = _routed(world), _routed(world, "cn-2")
    first.create_vnic(vm(9))
    second.create_vnic(vm(8, subnet_number=2))
    refused(world, second, lambda: second.create_vnic(vm(9)), "another node|of cn:cn-1")
    first.reset_network()
    second.reset_network()
