"""What enters a host is checked against what is there: a Conflict that names the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import Any

import pytest

import snnet
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Driver,
    Key,
    Noun,
    Remove,
    Route,
    Sysctl,
    Vxlan,
)  # fmt: skip
from snnet.contract.network import FORWARDING, link_sysctl
from tests.conftest import ip as ip_
from tests.node import test_local
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, RealWorld, World, vm

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


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (("192.0.2.128/25", "fd00:9::/64"), "192.0.2.128/25 overlaps 192.0.2.11/24 on link eth0"),
        (("198.51.100.0/24",), "198.51.100.1, a gateway"),
        (("10.9.0.0/24", "fd00:1::/64"), "fd00:1::/64 overlaps fd00:1::7/64 on link eth0"),
    ],
)
def test_a_local_subnet_takes_nothing_from_its_host(
    fake: FakeWorld, network: tuple[str, ...], match: str
) -> None:
    """What came from there to a forward would be answered to a guest; a served one goes on."""
    cn = fake.node(config=test_local.CONFIG)
    put(fake, route("0.0.0.0/0", "198.51.100.1"))
    put(fake, Address(link="eth0", address=ip_interface("fd00:1::7/64")))
    bad = snnet.LocalSubnet(subnet_id="bad", subnet=network, subnet_key=8)
    one = test_local.config(subnets=[bad])
    refused(fake, cn, lambda: cn.set_concentrator(one), match)
    served = test_local.config()
    cn.set_concentrator(served)
    put(fake, Address(link="eth0", address=ip_interface("10.1.0.77/16")))
    cn.set_concentrator(served)
    both = test_local.config(subnets=[*served.subnets, bad])
    refused(fake, cn, lambda: cn.set_concentrator(both), match)
    cn.reset_network()


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


def test_no_rule_takes_packets_of_another_nodes_rule(walled: World) -> None:
    """Which of two nodes' rules is asked first is an accident: tenants would change places."""
    first, second = walled.cnci("cnci-a"), walled.cnci("cnci-b", tenant_id="t2")
    first.add_remote_subnet(NET, 7, "192.0.2.21")
    second.add_remote_subnet("10.200.0.0/24", 8, "192.0.2.21")
    own = str(second.compute_ip)

    def forward(node: Any, to: str, **more: Any) -> partial[None]:
        return partial(node.add_port_forward, protocol="tcp", device="eth0", port=80, to=to, **more)

    def public(node: Any, to: str) -> partial[None]:
        return partial(node.add_public_ip, "203.0.113.5", to=to, device="eth0")

    def any_address(call: partial[None]) -> bool:
        return "port" in call.keywords and "address" not in call.keywords

    forward_any, forward_own = (
        forward(first, "10.1.0.9"),
        forward(first, "10.1.0.9", address=own),
    )
    drop_any = partial(first.remove_port_forward, protocol="tcp", device="eth0", port=80)
    for there, drop, others in (
        (
            forward_any,
            drop_any,
            [forward(second, "10.200.0.9", address=own), public(second, "10.200.0.9")],
        ),
        (
            forward_own,
            partial(drop_any, address=own),
            [forward(second, "10.200.0.9"), forward(second, "10.200.0.9", address=own)],
        ),
        (
            public(first, "10.1.0.9"),
            partial(first.remove_public_ip, "203.0.113.5"),
            [forward(second, "10.200.0.9"), forward(second, "10.200.0.9", address="203.0.113.5")],
        ),
    ):
        there()
        for other in others:
            helps = "=" if any_address(there) or any_address(other) else "!"
            advice = f"(?{helps}.*: give each forward an address of its own$)"
            refused(walled, second, other, f"cnci:cnci-a has{advice}")
        drop()
        for other in others[:1]:
            other()
        second.reconcile(forwards=[], public_ips=[])
    # What does not touch the other's packets is no obstacle.
    forward_own()
    public(second, "10.200.0.9")()
    second.remove_public_ip("203.0.113.5")
    drop_any(address=own)
    public(first, "10.1.0.9")()
    forward(second, "10.200.0.9", address=own)()
    first.shutdown()
    second.shutdown()


def test_a_rule_of_a_node_that_lost_its_links_is_in_the_way(world: World) -> None:
    """It still acts: the other concentrator finds it again, or removes it."""
    first, second = world.cnci("cnci-a"), world.cnci("cnci-b", tenant_id="t2")
    first.add_remote_subnet(NET, 7, "192.0.2.21")
    second.add_remote_subnet("10.200.0.0/24", 8, "192.0.2.21")
    first.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9")
    subnet = first.topology().subnets[0]
    for link in (*subnet.tunnels.values(), subnet.bridge):
        assert world.kernel.apply([Remove(link)]).error is None
    refused(
        world,
        second,
        lambda: second.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.200.0.9"),
        "cnci:cnci-a has port tcp/80",
    )
    first.repair()
    second.shutdown()
    first.shutdown()


def test_so_is_the_rule_of_a_public_address_that_somebody_removed(fake: FakeWorld) -> None:
    first, second = fake.cnci("cnci-a"), fake.cnci("cnci-b", tenant_id="t2")
    first.add_remote_subnet(NET, 7, "192.0.2.21")
    second.add_remote_subnet("10.200.0.0/24", 8, "192.0.2.21")
    first.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    (address,) = (
        noun
        for noun in fake.kernel.snapshot({Address}).values()
        if isinstance(noun, Address) and str(noun.address.ip) == "203.0.113.5"
    )
    assert fake.kernel.apply([Remove(address)]).error is None
    refused(
        fake,
        second,
        lambda: second.add_public_ip("203.0.113.5", to="10.200.0.9", device="eth0"),
        r"cnci:cnci-a has .* which is for packets of .*10\.200\.0\.9$",
    )


@pytest.mark.kernel
def test_a_rule_lists_no_more_of_the_host_than_it_needs(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cost does not grow with the number of links."""
    cnci = real.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    backend, listed = type(cnci.drivers.backend), list[str]()
    original = backend.snapshot

    def spied(self: Driver, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        listed.extend(sorted(kind.__name__ for kind in types or ()))
        return original(self, types)

    monkeypatch.setattr(backend, "snapshot", spied)
    cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9")
    cnci.remove_port_forward(protocol="tcp", device="eth0", port=80)
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    cnci.remove_public_ip("203.0.113.5")
    cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")
    assert {*listed} == {"Address", "Route"}
    monkeypatch.undo()
    cnci.shutdown()


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


def test_nor_the_port_of_tunnels_without_an_address(fake: FakeWorld) -> None:
    """A geneve device has none, and takes packets for every address of its host."""
    cnci = fake.cnci(config=fake.config(tunnel="geneve"))
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    for address in (None, "192.0.2.11"):
        add = partial(cnci.add_port_forward, protocol="udp", device="eth0", to="10.1.0.9")
        refused(fake, cnci, partial(add, port=6081, address=address), "udp/6081")
        refused(fake, cnci, partial(add, port="6000-6100", address=address), "udp/6081")


def test_nor_does_a_forward_to_a_concentrator(fake: FakeWorld) -> None:
    here = IPv4Address("192.0.2.11")
    put(fake, Vxlan(name="vx0", vni=5, port=8472, remote=None, local=here, group=0))
    node = fake.node(config=fake.config(topology="local"))

    def forward(protocol: str) -> object:
        host = snnet.HostForward(protocol=protocol, port=8472)
        return node.set_concentrator(test_local.config("t1", forwards=[host]))

    refused(fake, node, lambda: forward("udp"), "udp/8472 on eth0 is that of the tunnel link vx0")
    forward("tcp")


@pytest.mark.parametrize("busy", [False, True])
def test_nor_the_port_of_a_mesh(fake: FakeWorld, busy: bool) -> None:
    """Whether the host has a subnet already or not: the next one would lose its packets."""
    node = fake.node(config=fake.config(topology="mesh", mesh_port=8500))
    if busy:
        node.create_vnic(vm(9, concentrator_ip=None))

    def forward(port: int | str, **how: str) -> object:
        host = snnet.HostForward(**{"protocol": "udp", "port": port, **how})  # type: ignore[arg-type]
        return node.set_concentrator(test_local.config("t1", subnets=[], forwards=[host]))

    refused(fake, node, lambda: forward(8500), "udp/8500.*mesh_port")
    refused(fake, node, lambda: forward(8500, address="192.0.2.11"), "udp/8500.*mesh_port")
    refused(fake, node, lambda: forward("8490-8510"), "udp/8500.*mesh_port")
    forward(8473)
    forward(8500, protocol="tcp")


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


@pytest.mark.parametrize("tunnel", ["gre", "vxlan"])
@pytest.mark.parametrize("end", ["192.0.2.21", "192.0.2.30", "192.168.0.30", "192.168.0.11"])
def test_a_public_address_is_not_how_another_node_is_reached(tunnel: str, end: str) -> None:
    """In either order: its packets would go to the guest, and the tunnel with them."""
    fake = FakeWorld(tunnel)
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.20")

    def join(last: int) -> Callable[[], object]:
        if last == 21:
            return lambda: cnci.add_remote_subnet(NET, 7, "192.0.2.21")
        return lambda: cnci.update_neighbors(neighbors(11, 30))

    last = int(end.rpartition(".")[2])
    join(last)()
    add = partial(cnci.add_public_ip, end, to="10.1.0.9", device="eth0")
    refused(fake, cnci, add, f"{end} is how another node is reached")
    if last == 21:
        cnci.del_remote_subnet(NET, 7, end)
    else:
        cnci.update_neighbors([])
    add()
    refused(fake, cnci, join(last), end)
    fake.close()


@pytest.mark.parametrize("topology", ["hub", "mesh"])
def test_nor_one_that_leads_to_a_concentrator_on_the_host(fake: FakeWorld, topology: str) -> None:
    hub, end = topology == "hub", "192.0.2.101"
    pool = ["192.0.2.200"] if hub else []
    node = fake.node(config=fake.config(topology=topology, concentrator_pool=pool))
    own = {"address": pool[0]} if hub else {}

    def publish(*publics: str) -> object:
        cfg = snnet.ConcentratorConfig(
            tenant_id="t2",
            concentrator_id="c2",
            public_ips=publics,
            **own,  # type: ignore[arg-type]
        )
        return node.set_concentrator(cfg)

    def join() -> None:
        if hub:
            node.create_vnic(vm(9, concentrator_ip=end))
        else:
            node.set_peers("t1", "s1", [snnet.Peer(end)])

    if not hub:
        node.create_vnic(vm(9, concentrator_ip=None))
    join()
    refused(fake, node, lambda: publish("203.0.113.9", end), f"{end} is a public address")
    if hub:
        node.destroy_vnic(vm(9))
    else:
        node.set_peers("t1", "s1", [])
    publish("203.0.113.9", end)
    refused(fake, node, join, f"{end} is a public address of concentrator c2")


def test_no_subnet_holds_an_address_of_the_mesh(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.update_neighbors(neighbors(11, 30))
    add = partial(cnci.add_remote_subnet, "192.168.0.0/24", 7, "192.0.2.20")
    refused(fake, cnci, add, "holds 192.168.0.11, the tunnel address")
    cnci.update_neighbors([])
    add()
    refused(fake, cnci, lambda: cnci.update_neighbors(neighbors(11, 30)), "holds 192.168.0.11")
    own, *_ = neighbors(11)
    wrong = snnet.Neighbor(
        physical_ip="192.0.2.30", subnet="172.20.0.0/24", tunnel_ip="172.20.0.7", tunnel_id=5
    )
    cnci.remove_subnet("192.168.0.0/24")
    refused(fake, cnci, lambda: cnci.update_neighbors([own, wrong]), "holds 172.20.0.7")


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


NET6, DUAL = "2001:db8:2::/64", "192.0.2.0/24"


def dual(number: int, ip6: str) -> snnet.VnicConfig:
    """A guest with an IPv4 address that nobody else has, and this one."""
    return vm(number, subnet=(DUAL, NET6), ip=(f"192.0.2.{number}", ip6), subnet_number=4)


def test_nor_an_ipv6_address_of_its_host(world: World) -> None:
    put(
        world,
        Address(link="eth0", address=ip_interface("2001:db8:2::11/64")),
        Address(link="lo", address=ip_interface("2001:db8:2::77/128")),
        Route(
            destination=IPv6Network("::/0"),
            link="eth0",
            gateway=IPv6Address("2001:db8:2::fffe"),
            onlink=True,
        ),
    )
    node = _routed(world)
    node.create_vnic(dual(8, "2001:db8:2::8"))
    for ip6, match in {
        "2001:db8:2::11": "an address of this host",
        "2001:db8:2::77": "an address of this host",
        "2001:db8:2::fffe": "a gateway of this host",
    }.items():
        refused(world, node, partial(node.create_vnic, dual(9, ip6)), match)
    node.reset_network()


def _with_neighbour_on_fabric() -> tuple[snnet.ComputeNode, snnet.ComputeNode]:
    fabric = snnet.Fabric()
    nodes = []
    for number in (11, 12):
        host = fabric.add_host(f"cn-{number}", f"192.0.2.{number}/24")
        own = Address(link="eth0", address=ip_interface(f"2001:db8:2::{number}/64"))
        assert host.apply([Add(own)]).error is None
        config = snnet.NetworkConfig(
            compute_nets=["192.0.2.0/24"], mode=snnet.NetworkMode.ROUTED, tunnel="gre"
        )
        node = snnet.ComputeNode(f"cn-{number}", config, backend=host, firewall="fake")
        node.init()
        nodes.append(node)
    return nodes[0], nodes[1]


def _with_neighbour_on_the_kernel(
    make_netns: Callable[[], str],
) -> tuple[snnet.ComputeNode, snnet.ComputeNode]:
    first, second = make_netns(), make_netns()
    ip_("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second, netns=first)
    nodes = []
    for number, netns in ((11, first), (12, second)):
        ip_("address", "add", f"192.0.2.{number}/24", "dev", "eth0", netns=netns)
        six = f"2001:db8:2::{number}/64"
        ip_("address", "add", six, "dev", "eth0", "nodad", netns=netns)
        ip_("link", "set", "eth0", "up", netns=netns)
        config = snnet.NetworkConfig(
            compute_nets=["192.0.2.0/24"], mode=snnet.NetworkMode.ROUTED, tunnel="vxlan"
        )
        nodes.append(snnet.ComputeNode(f"cn-{number}", config, netns=netns))
    for node in nodes:
        node.init()
    return nodes[0], nodes[1]


@pytest.mark.parametrize("where", ["fabric", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_a_routed_vnic_takes_no_address_of_another_host(
    where: str, request: pytest.FixtureRequest
) -> None:
    """Nor that of a guest there, for which its node answers."""
    if where == "fabric":
        node, other = _with_neighbour_on_fabric()
    else:
        node, other = _with_neighbour_on_the_kernel(request.getfixturevalue("make_netns"))
    other.create_vnic(dual(40, "2001:db8:2::40"))
    mine = dual(41, "2001:db8:2::41")
    node.create_vnic(mine)
    text = node.topology()
    for ip4, ip6 in (
        ("192.0.2.12", "2001:db8:2::50"),
        ("192.0.2.51", "2001:db8:2::12"),
        ("192.0.2.40", "2001:db8:2::52"),
        ("192.0.2.53", "2001:db8:2::40"),
    ):
        taken = ip4 if ip4.endswith(("12", "40")) else ip6
        with pytest.raises(snnet.Conflict, match=f"{taken} is that of another host"):
            node.create_vnic(vm(42, subnet=(DUAL, NET6), ip=(ip4, ip6), subnet_number=4))
    results = node.create_vnics([dual(43, "2001:db8:2::43"), dual(44, "2001:db8:2::12")])
    assert [result.error is None for result in results] == [True, False]
    assert node.create_vnic(mine).vnic in text.vnics  # asked again, nobody is asked
    other.destroy_vnic(dual(40, "2001:db8:2::40"))
    node.create_vnic(dual(40, "2001:db8:2::40"))
    assert node.verify() == []
    for one in (node, other):
        one.reset_network()
        one.close()


def test_two_routed_nodes_of_one_host_do_not_share_addresses(world: World) -> None:
    first, second = _routed(world), _routed(world, "cn-2")
    first.create_vnic(vm(9))
    second.create_vnic(vm(8, subnet_number=2))
    refused(world, second, lambda: second.create_vnic(vm(9)), "another node|of cn:cn-1")
    first.reset_network()
    second.reset_network()


def beside(world: World) -> None:
    """The uplink has two networks more, of each of which another link has a part."""
    world.add(Bridge(name="others0", group=0))
    put(
        world,
        Address(link="eth0", address=ip_interface("198.51.100.1/24")),
        Address(link="eth0", address=ip_interface("2001:db8:2::11/64")),
        Address(link="others0", address=ip_interface("192.0.2.201/29")),
        Address(link="others0", address=ip_interface("198.51.100.201/29")),
        Address(link="others0", address=ip_interface("2001:db8:2:0:1::1/80")),
        Address(link="lo", address=ip_interface("198.51.100.77/32")),
        route("203.0.113.0/24", "198.51.100.254"),
    )


@pytest.mark.parametrize(
    ("subnet", "ip", "match"),
    [
        ("198.51.100.0/24", "198.51.100.9", "198.51.100.201/29 on link others0"),
        ("198.51.100.192/27", "198.51.100.220", "198.51.100.201/29 on link others0"),
        ("2001:db8:2:0:1::/80", "2001:db8:2:0:1::9", "2001:db8:2:0:1::1/80 on link others0"),
        ("198.51.100.0/25", "198.51.100.77", "an address of this host"),
        ("198.51.100.240/28", "198.51.100.254", "a gateway of this host"),
        ("192.0.2.0/24", "192.0.2.202", "reached by link others0"),
    ],
)
def test_a_routed_subnet_of_the_uplinks_networks_takes_nothing_of_other_links(
    world: World, subnet: str, ip: str, match: str
) -> None:
    beside(world)
    node = _routed(world)
    node.create_vnic(vm(8, subnet="192.0.2.0/24", ip="192.0.2.8", subnet_number=4))
    number = 4 if subnet == "192.0.2.0/24" else 5
    cfg = vm(9, subnet=subnet, ip=ip, subnet_number=number)
    refused(world, node, lambda: node.create_vnic(cfg), match)
    node.create_vnic(vm(7, subnet="198.51.100.0/25", ip="198.51.100.7", subnet_number=6))
    node.reset_network()


def test_a_call_lists_its_host_once(fake: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses and networks it has to check."""
    beside(fake)
    cfgs = [
        vm(n, subnet=(DUAL, "2001:db8:2::/80"), ip=(f"192.0.2.{n}", f"2001:db8:2::{n}"))
        for n in (40, 41, 42)
    ]
    elsewhere = snnet.LocalSubnet(subnet_id="web", subnet="10.7.0.0/24", subnet_key=7)
    local = test_local.config(subnets=[elsewhere])
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    host = fake.node("cn-2", config=fake.config(topology="local"))
    calls: list[Callable[[], object]] = [
        lambda: routed.create_vnics(cfgs, atomic=True),
        lambda: host.set_concentrator(local),
        lambda: cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9"),
    ]
    listed: list[type[Noun]] = []
    snapshot = fake.kernel.snapshot

    def counted(kinds: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        listed.extend(kind for kind in (Address, Route) if kinds is None or kind in kinds)
        return snapshot(kinds)

    routed = _routed(fake)
    monkeypatch.setattr(fake.kernel, "snapshot", counted)
    for call in calls:
        listed.clear()
        call()
        assert listed in ([Address, Route], [Address])  # a forward has nothing to do with routes


def _with_a_proxy_on_fabric() -> snnet.ComputeNode:
    fabric = snnet.Fabric()
    proxy = fabric.add_host("proxy", "192.0.2.1/32")
    host = fabric.add_host("cn-1", "192.0.2.11/24")
    everywhere = Route(destination=IPv4Network("0.0.0.0/0"), link="others0")
    changes = [
        Change(Sysctl(name=name, value="1"), Sysctl(name=name, value="0"))
        for name in (FORWARDING[4], link_sysctl("ipv4.conf", "eth0", "proxy_arp"))
    ]
    others = [Add(Bridge(name="others0", group=0)), Add(everywhere)]
    assert proxy.apply([*others, *changes]).error is None
    config = snnet.NetworkConfig(
        compute_nets=["192.0.2.0/24"], mode=snnet.NetworkMode.ROUTED, tunnel="gre"
    )
    return snnet.ComputeNode("cn-1", config, backend=host, firewall="fake")


def _with_a_proxy_on_the_kernel(make_netns: Callable[[], str]) -> snnet.ComputeNode:
    proxy, mine = make_netns(), make_netns()
    ip_("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", mine, netns=proxy)
    ip_("address", "add", "192.0.2.1/32", "dev", "eth0", netns=proxy)
    ip_("link", "add", "others0", "type", "bridge", netns=proxy)
    ip_("address", "add", "192.0.2.11/24", "dev", "eth0", netns=mine)
    for netns, link in ((proxy, "others0"), (proxy, "eth0"), (mine, "eth0")):
        ip_("link", "set", link, "up", netns=netns)
    ip_("route", "add", "default", "dev", "others0", netns=proxy)
    for name in ("conf.eth0.proxy_arp=1", "neigh.eth0.proxy_delay=0", "conf.eth0.forwarding=1"):
        ip_("netns", "exec", proxy, "sysctl", "-qw", f"net.ipv4.{name}")
    config = snnet.NetworkConfig(
        compute_nets=["192.0.2.0/24"], mode=snnet.NetworkMode.ROUTED, tunnel="vxlan"
    )
    return snnet.ComputeNode("cn-1", config, netns=mine)


@pytest.mark.parametrize("where", ["fabric", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_a_host_that_answers_for_every_address_hinders_no_guest(
    where: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    if where == "fabric":
        node = _with_a_proxy_on_fabric()
    else:
        node = _with_a_proxy_on_the_kernel(request.getfixturevalue("make_netns"))
    with node:
        node.init()
        node.create_vnic(vm(41, subnet="192.0.2.0/24", ip="192.0.2.41"))
        assert "a host on eth0 answers for every address of 192.0.2.0/24" in caplog.text
        node.reset_network()
