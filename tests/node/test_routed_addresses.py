"""The addresses of guests without a bridge are checked against the host's and its neighbours'."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface

import pytest

import snnet
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Key,
    Noun,
    ProxyNeighbour,
    Remove,
    Route,
    Sysctl,
)
from snnet.contract.network import FORWARDING, link_sysctl
from tests.conftest import ip as ip_
from tests.node import test_local
from tests.node.test_surroundings import NET, put, refused, route
from tests.node.world import FakeWorld, World, vm


def _routed(world: World, node_id: str = "cn-1") -> snnet.ComputeNode:
    return world.node(node_id, config=world.config(mode=snnet.NetworkMode.ROUTED))


@pytest.mark.parametrize(
    ("subnet", "ip", "match"),
    [
        ("192.0.2.0/24", "192.0.2.77", "an address of this host"),
        ("192.0.2.0/24", "192.0.2.11", "an address of this host"),
        ("192.0.2.0/24", "192.0.2.254", r"ip 192\.0\.2\.254 is a gateway of this host"),
        ("198.51.100.0/24", "198.51.100.9", r"subnet 198\.51\.100\.0/24 holds 198\.51\.100\.1, a"),
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


def test_an_address_that_passes_from_guest_to_guest_is_not_asked_for() -> None:
    """Who has it is known: the guest that leaves.  What others removed of it is set again."""
    node, other = _with_neighbour_on_fabric()
    node.create_vnic(vm(40, subnet=DUAL, ip="192.0.2.40"))
    also = Address(link="eth0", address=ip_interface("192.0.2.40/24"))
    assert other.drivers.backend.apply([Add(also)]).error is None
    entry = ProxyNeighbour(link="eth0", address=IPv4Address("192.0.2.40"))
    assert node.drivers.backend.apply([Remove(entry)]).error is None
    done = node.reconcile(vnics=[vm(41, subnet=DUAL, ip="192.0.2.40")], atomic=True)
    assert done.failed == []
    assert node.verify() == []


def test_two_routed_nodes_of_one_host_do_not_share_addresses(world: World) -> None:
    first, second = _routed(world), _routed(world, "cn-2")
    first.create_vnic(vm(9))
    second.create_vnic(vm(8, subnet_number=2))
    refused(world, second, lambda: second.create_vnic(vm(9)), "another node|of cn:cn-1")
    first.reset_network()
    second.reset_network()


def test_nor_one_within_a_network_of_the_uplink(world: World) -> None:
    first, second = _routed(world), _routed(world, "cn-2")
    for node, number in ((first, 8), (second, 9)):
        node.create_vnic(vm(number, subnet=DUAL, ip=f"192.0.2.{number}"))
    taken = vm(10, subnet=DUAL, ip="192.0.2.8")
    refused(world, second, lambda: second.create_vnic(taken), "reached by link snv-.* of cn:cn-1")
    first.reset_network()
    second.reset_network()


def test_no_guest_has_the_last_address_of_a_network_of_the_uplink(world: World) -> None:
    """In a wider subnet it would be that of a guest."""
    node = _routed(world)
    with pytest.raises(snnet.InvalidRequest, match="the broadcast address of 192") as caught:
        node.create_vnic(vm(9, subnet="192.0.2.0/23", ip="192.0.2.255"))
    assert caught.value.field == "ip"


def test_a_subnet_that_is_there_goes_on_whatever_networks_its_host_gets(world: World) -> None:
    world.add(Bridge(name="others0", group=0))
    node = _routed(world)
    node.create_vnic(vm(8))
    put(world, Address(link="others0", address=ip_interface("10.1.0.77/16")))
    node.create_vnic(vm(9))
    assert node.verify() == []
    node.reset_network()


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


def _with_a_proxy_on_fabric(*ways: Route) -> snnet.ComputeNode:
    fabric = snnet.Fabric()
    proxy = fabric.add_host("proxy", "192.0.2.1/32")
    host = fabric.add_host("cn-1", "192.0.2.11/24")
    everywhere = Route(destination=IPv4Network("0.0.0.0/0"), link="others0")
    changes = [
        Change(Sysctl(name=name, value="1"), Sysctl(name=name, value="0"))
        for name in (FORWARDING[4], link_sysctl("ipv4.conf", "eth0", "proxy_arp"))
    ]
    others = [Add(Bridge(name="others0", group=0)), Add(everywhere), *map(Add, ways)]
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


def test_a_host_that_answers_for_all_but_what_is_behind_this_one_hinders_none_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = Route(destination=IPv4Network("192.0.2.128/25"), link="eth0")
    with _with_a_proxy_on_fabric(here) as node:
        behind = Address(link="others0", address=ip_interface("192.0.2.129/25"))
        others = [Add(Bridge(name="others0", group=0)), Add(behind)]
        assert node.drivers.backend.apply(others).error is None
        node.init()
        node.create_vnic(vm(41, subnet="192.0.2.0/25", ip="192.0.2.41"))
        assert "answers for every address" in caplog.text
