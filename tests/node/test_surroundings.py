"""What enters a host is checked against what is there: a Conflict that names the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import Any

import pytest

import snnet
from snnet.contract import (
    Add,
    Address,
    Driver,
    Key,
    Noun,
    Remove,
    Route,
    Vxlan,
)  # fmt: skip
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
    named = f"^subnet {network} (?:overlaps|holds) {match}"
    refused(world, cnci, lambda: cnci.add_remote_subnet(network, 7, "192.0.2.251"), named)
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
        ("192.0.2.64/26", "172.16.0.30", "192.0.2.64/26 of a peer .* 192.0.2.11/24 on link eth0"),
        ("198.51.100.0/24", "172.16.0.30", "198.51.100.1, a gateway"),
        ("10.30.0.0/24", "192.0.2.30", "tunnel address 192.0.2.30 .* 192.0.2.11/24 on link eth0"),
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
    [
        ("192.0.2.77", "link eth0 has 192.0.2.77/24"),
        ("198.51.100.1", "public address 198.51.100.1 is a gateway"),
        ("203.0.113.9", "this host reaches it by link eth0"),
    ],
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
    named = f"{end} is a public address of concentrator c2 on this host"
    refused(fake, node, lambda: publish("203.0.113.9", end), named)
    if hub:
        node.destroy_vnic(vm(9))
    else:
        node.set_peers("t1", "s1", [])
    publish("203.0.113.9", end)
    refused(fake, node, join, named)


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
