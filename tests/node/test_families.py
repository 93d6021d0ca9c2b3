"""Subnets of IPv4, IPv6 and both: the records, the names, and what contradicts them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Address, Change, Noun, ProxyNeighbour, Route, Sysctl
from snnet.contract.addresses import mac_of
from snnet.contract.network import FORWARDING
from snnet.system.netns import in_netns
from tests.conftest import ip
from tests.node.conftest import make_world
from tests.node.world import FakeWorld, RealWorld, World, vm
from tests.ports import wait_for_link_local

SUBNETS: dict[str, tuple[str, ...]] = {
    "ipv4": ("10.1.0.0/24",),
    "ipv6": ("fd00:1::/64",),
    "both": ("10.1.0.0/24", "fd00:1::/64"),
}


@pytest.fixture(
    params=[
        "fake-gre",
        pytest.param("netlink-vxlan", marks=[pytest.mark.kernel]),
        pytest.param("netlink-gre", marks=[pytest.mark.kernel, pytest.mark.needs("gretap")]),
        pytest.param("iproute_shell-vxlan", marks=[pytest.mark.kernel, pytest.mark.sampled]),
    ]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One host."""
    made = make_world(request, request.param)
    yield made
    made.close()


FAMILIES = pytest.mark.parametrize("family", SUBNETS)


def guest(family: str, number: int = 9, **changes: Any) -> snnet.VnicConfig:
    """A VNIC with an address in each network of the family."""
    subnets = SUBNETS[family]
    ips = tuple(str(ip_network(subnet)[number]) for subnet in subnets)
    return replace(vm(number), **{"subnet": subnets, "ip": ips, **changes})


@FAMILIES
def test_a_vnic_has_an_address_gateway_and_network_of_each_family(
    world: World, family: str
) -> None:
    made = world.node().create_vnic(guest(family))
    subnets = tuple(map(ip_network, SUBNETS[family]))
    vnic = made.vnic
    assert vnic.ips == tuple(subnet[9] for subnet in subnets)
    assert vnic.subnets == subnets
    assert vnic.gateways == tuple(subnet[1] for subnet in subnets)
    assert (vnic.ip, vnic.subnet, vnic.gateway) == (vnic.ips[0], subnets[0], vnic.gateways[0])
    assert vnic.mac == snnet.mac_for(vnic.ip)
    assert made.tunnel_event is not None
    assert (made.tunnel_event.subnet, made.tunnel_event.subnets) == (subnets[0], subnets)
    data = made.to_dict()["vnic"]
    assert data["ips"] == [str(ip) for ip in vnic.ips]
    assert data["gateways"] == [str(ip) for ip in vnic.gateways]
    assert data["subnets"] == list(SUBNETS[family])
    assert [entry.address for entry in vnic.dhcp_entries] == [
        ip for ip in vnic.ips if ip.version == 6
    ]


@FAMILIES
def test_a_restarted_node_knows_the_same(world: World, family: str) -> None:
    first = world.node()
    first.create_vnic(guest(family))
    first.create_vnic(guest(family, 10, mac="02:00:00:00:00:77"))
    before, text = first.topology().to_dict(), world.text()
    first.close()
    second = world.node()
    assert second.topology().to_dict() == before
    assert world.text() == text
    assert second.verify() == []
    for number in (9, 10):
        second.destroy_vnic(guest(family, number))
    assert world.links() == []


@FAMILIES
def test_the_order_of_families_makes_no_difference(world: World, family: str) -> None:
    node, cfg = world.node(), guest(family)
    made = node.create_vnic(cfg)
    again = replace(cfg, subnet=SUBNETS[family][::-1], ip=tuple(map(str, made.vnic.ips[::-1])))
    assert again == cfg
    assert node.create_vnic(again).vnic == made.vnic
    assert snnet.VnicConfig(**cfg.to_dict()) == cfg


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("both", {"ip": ("10.1.0.9", "fd00:1::a")}, "fd00:1::a"),
        ("both", {"ip": "10.1.0.9"}, "10.1.0.9"),
        ("both", {"subnet": "10.1.0.0/24", "ip": "10.1.0.9"}, "subnet"),
        ("ipv4", {"subnet": SUBNETS["both"], "ip": "10.1.0.9"}, "subnet"),
        ("ipv6", {"subnet": "fd00:2::/64", "ip": "fd00:2::9"}, "subnet"),
    ],
)
def test_another_set_of_families_is_a_conflict(
    world: World, family: str, changes: dict[str, Any], said: str
) -> None:
    node = world.node()
    node.create_vnic(guest(family))
    with pytest.raises(snnet.Conflict, match=said):
        node.create_vnic(guest(family, **changes))


@pytest.mark.parametrize("address", ["10.1.0.9", "fd00:1::9"])
def test_each_address_belongs_to_one_vnic(world: World, address: str) -> None:
    node = world.node()
    node.create_vnic(guest("both"))
    other = ("10.1.0.10", address) if ":" in address else (address, "fd00:1::a")
    with pytest.raises(snnet.Conflict, match=f"{address} of subnet .* belongs to VNIC"):
        node.create_vnic(guest("both", 10, ip=other))
    with pytest.raises(snnet.Conflict, match="is asked for by VNIC"):
        node.create_vnics(
            [guest("both", 11), guest("both", 12, ip=guest("both", 11).ip)], atomic=True
        )
    node.destroy_vnic(guest("both"))
    node.create_vnic(guest("both", 10, ip=other))


def test_the_default_mac_of_an_ipv6_address_is_a_hash_and_must_be_alone(world: World) -> None:
    node = world.node()
    mac = mac_of(ip_address("fd00:1::9"))
    node.create_vnic(guest("ipv6", 10, mac=mac))
    with pytest.raises(snnet.Conflict, match="mac="):
        node.create_vnic(guest("ipv6", 9))
    assert node.create_vnic(guest("ipv6", 9, mac="02:00:00:00:00:99")).vnic.mac[-2:] == "99"


def test_nor_is_a_concentrator_plugged_into_less(fake: FakeWorld) -> None:
    """A path that carries 1279 bytes is refused for IPv6, also where no guest is yet."""
    node = fake.node(config=fake.config(topology="local", mtu=1279))

    def served(*subnet: str) -> snnet.ConcentratorConfig:
        one = snnet.LocalSubnet(subnet_id="s1", subnet=subnet, subnet_key=7)
        return snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1", subnets=[one])

    before = fake.text()
    with pytest.raises(snnet.InvalidRequest, match="1280") as caught:
        node.set_concentrator(served("10.1.0.0/24", "fd00:1::/64"))
    assert caught.value.field == "subnets[0].subnet"
    assert fake.text() == before
    node.set_concentrator(served("10.1.0.0/24"))


@pytest.mark.parametrize("mtu", [1279, 1280])
def test_ipv6_needs_an_mtu_of_1280(world: World, mtu: int) -> None:
    node = world.node(config=world.config(mtu=mtu))
    cnci = world.cnci(config=world.config(mtu=mtu))
    node.create_vnic(guest("ipv4", subnet_id="s4", subnet_key=4))
    cnci.add_remote_subnet("10.3.0.0/24", 4, "192.0.2.21")
    if mtu < 1280:
        with pytest.raises(snnet.InvalidRequest, match="1280") as caught:
            node.create_vnic(guest("ipv6"))
        assert caught.value.field == "subnet"
        with pytest.raises(snnet.InvalidRequest, match="1280"):
            cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
        with pytest.raises(snnet.InvalidRequest, match="1280"):
            cnci.reconcile(subnets=[snnet.Subnet(SUBNETS["both"], 7)])
    else:
        node.create_vnic(guest("ipv6"))
        cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")


# -- the concentrator -------------------------------------------------------------------


@FAMILIES
def test_a_concentrator_has_the_gateways_of_a_subnet(world: World, family: str) -> None:
    before = world.text()
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(SUBNETS[family], 7, "192.0.2.21")
    assert cnci.add_remote_subnet(SUBNETS[family][::-1], 7, "192.0.2.22") == bridge
    subnet = cnci.topology()["subnets"][SUBNETS[family][0]]
    gateways = [str(ip_network(one)[1]) for one in SUBNETS[family]]
    assert subnet["subnets"] == list(SUBNETS[family])
    assert (subnet["gateway"], subnet["gateways"]) == (gateways[0], gateways)
    text = world.text()
    for one, gateway in zip(SUBNETS[family], gateways, strict=True):
        assert f"address {gateway}/{ip_network(one).prefixlen}" in text
    cnci.close()
    again = world.cnci()
    assert again.topology()["subnets"][SUBNETS[family][0]] == subnet
    assert again.verify() == []
    assert world.text() == text
    again.shutdown()
    assert world.text() == before


def test_two_ipv6_subnets_are_as_wanted(world: World) -> None:
    """Both bridges have the router's link-local address."""
    cnci = world.cnci()
    cnci.add_remote_subnet("fd00:1::/64", 7, "192.0.2.21")
    cnci.add_remote_subnet("fd00:2::/64", 8, "192.0.2.21")
    assert cnci.verify() == []


@FAMILIES
@pytest.mark.parametrize("part", [0, -1])
def test_a_subnet_is_named_by_one_of_its_networks(world: World, family: str, part: int) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet(SUBNETS[family], 7, "192.0.2.21")
    name = SUBNETS[family][part]
    assert cnci.dhcp(name).running
    cnci.del_remote_subnet(name, 7, "192.0.2.21")
    assert cnci.topology()["subnets"][SUBNETS[family][0]]["tunnels"] == {}
    cnci.remove_subnet(name)
    assert cnci.topology()["subnets"] == {}
    assert world.links() == []


@pytest.mark.parametrize(
    ("subnet", "key", "said"),
    [
        ("10.1.0.0/24", 7, "remove_subnet"),
        ("fd00:1::/64", 7, "remove_subnet"),
        (("10.1.0.0/24", "fd00:2::/64"), 7, "remove_subnet"),
        (("10.2.0.0/24", "fd00:1::/64"), 8, "overlaps"),
        ("fd00:1::/80", 8, "overlaps"),
        ("10.1.0.0/16", 8, "overlaps"),
        (("10.1.0.0/24", "fd00:1::/64"), 8, "has the key 7"),
        (("10.2.0.0/24", "fd00:2::/64"), 7, "key 7 belongs"),
    ],
)
def test_a_subnet_that_contradicts_one_of_both_families(
    world: World, subnet: Any, key: int, said: str
) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
    before = world.text()
    with pytest.raises(snnet.Conflict, match=said):
        cnci.add_remote_subnet(subnet, key, "192.0.2.22")
    assert world.text() == before


@FAMILIES
def test_a_concentrator_follows_the_events_of_both_families(world: World, family: str) -> None:
    node, cnci = world.node(), world.cnci()
    event = node.create_vnic(guest(family, concentrator_ip="192.0.2.12")).tunnel_event
    assert event is not None
    cnci.follow(replace(event, cn_ip=ip_address("192.0.2.21"), port=None))
    assert cnci.topology()["subnets"][SUBNETS[family][0]]["subnets"] == list(SUBNETS[family])


def test_entries_of_both_families_for_one_guest(world: World) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
    scope = cnci.dhcp("fd00:1::/64")
    vnic = world.node().create_vnic(guest("both", mac="02:00:00:00:00:99")).vnic
    assert scope.add_entry(vnic.ips, vnic.mac, "web").address == vnic.ip
    scope.add_entries([replace(entry, hostname="web") for entry in vnic.dhcp_entries])
    assert [entry.address for entry in scope.added] == list(vnic.ips)
    with pytest.raises(snnet.Conflict):
        scope.add_entry("fd00:1::10", vnic.mac)
    with pytest.raises(snnet.Conflict):
        scope.add_entry("fd00:1::9", "02:00:00:00:00:98")
    scope.remove_entry("10.1.0.9")
    assert [entry.address for entry in scope.added] == [ip_address("fd00:1::9")]
    assert scope.add_entry(("10.1.0.10", "fd00:1::a")).mac == "02:00:0a:01:00:0a"
    assert scope.add_entry("fd00:1::b").mac == snnet.mac_for("fd00:1::b")


@FAMILIES
def test_reconcile_wants_subnets_of_each_family(world: World, family: str) -> None:
    cnci = world.cnci()
    wanted = snnet.Subnet(SUBNETS[family], 7, remotes=[snnet.Remote("192.0.2.21")])
    done = cnci.reconcile(subnets=[wanted])
    assert [(item.key, item.action) for item in done.items] == [
        (("subnet", ",".join(SUBNETS[family])), "created")
    ]
    assert [item.action for item in cnci.reconcile(subnets=[wanted]).items] == ["kept"]
    other = snnet.Subnet("fd00:9::/64", 7)
    assert [item.action for item in cnci.reconcile(subnets=[other]).items] == ["removed", "created"]
    assert list(cnci.topology()["subnets"]) == ["fd00:9::/64"]


# -- kernel parameters ------------------------------------------------------------------


def value(world: World, name: str) -> str:
    found = world.kernel.find(Sysctl(name=name))
    assert isinstance(found, Sysctl), name
    return found.value


@pytest.mark.parametrize("accepts", ["0", "1", "2"])
def test_a_host_forwards_ipv6_for_an_ipv6_subnet_alone(world: World, accepts: str) -> None:
    """Links that accept router advertisements go on to do so, and all is put back."""
    accept = "net.ipv6.conf.eth0.accept_ra"
    now = Sysctl(name=accept, value=value(world, accept))
    assert world.kernel.apply([Change(replace(now, value=accepts), now)]).error is None
    cnci = world.cnci()
    cnci.add_remote_subnet(SUBNETS["ipv4"], 7, "192.0.2.21")
    assert value(world, FORWARDING[6]) == "0"
    assert value(world, accept) == accepts
    cnci.add_remote_subnet("fd00:2::/64", 8, "192.0.2.21")
    assert value(world, FORWARDING[6]) == "1"
    assert value(world, accept) == ("0" if accepts == "0" else "2")
    assert cnci.verify() == []
    cnci.close()
    again = world.cnci()
    assert again.verify() == []
    again.shutdown()
    assert value(world, FORWARDING[6]) == "0"
    assert value(world, accept) == accepts


@FAMILIES
def test_a_concentrators_bridge_speaks_for_itself_alone(world: World, family: str) -> None:
    """It takes no router from its guests, and has an address to send advertisements from."""
    bridge = world.cnci().add_remote_subnet(SUBNETS[family], 7, "192.0.2.21")
    assert value(world, f"net.ipv6.conf.{bridge}.accept_ra") == "0"
    router = Address(link=bridge, address=ip_interface("fe80::1/64"))
    assert (world.kernel.find(router) is not None) == (family != "ipv4")


@pytest.mark.kernel
def test_a_default_route_by_advertisements_stays(request: pytest.FixtureRequest) -> None:
    """A host that starts to forward IPv6 keeps the router that it learned (accept_ra=2)."""
    real = make_world(request, "netlink-vxlan")
    assert isinstance(real, RealWorld)
    try:
        cnci = real.cnci()
        _advertise(real)
        shown = ("ip", "-6", "route", "show", "default", "dev", "eth0")
        assert "proto ra" in real.run(*shown)
        cnci.add_remote_subnet(SUBNETS["ipv6"], 7, "192.0.2.21")
        assert value(real, FORWARDING[6]) == "1"
        assert "proto ra" in real.run(*shown)
        _advertise(real, lifetime=0)
        assert "proto ra" not in real.run(*shown)
        _advertise(real)
        cnci.shutdown()
        assert "proto ra" in real.run(*shown)
    finally:
        real.close()


def _advertise(world: RealWorld, lifetime: int = 1800) -> None:
    """Send a router advertisement to eth0 (RFC 4861, 4.2), and wait until it is heard."""
    source, target = (ip_address(text).packed for text in ("fe80::99", "ff02::1"))
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime, 0, 0)
    pseudo = source + target + struct.pack("!II", len(body), 58)
    total = sum(struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    body = body[:2] + struct.pack("!H", checksum) + body[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target + body
    frame = bytes.fromhex("333300000001020000000099") + b"\x86\xdd" + packet

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0-far", 0))
            sock.send(frame)

    in_netns(world.kernel.host.netns.fd, send)
    time.sleep(0.2)


# -- routed mode ------------------------------------------------------------------------


def routed(family: str, number: int = 9) -> snnet.VnicConfig:
    role = snnet.VnicRole.TENANT_CONTAINER
    return guest(family, number, role=role, concentrator_id=None, concentrator_ip=None)


@FAMILIES
def test_routed_guests_have_a_route_a_gateway_and_a_proxy_of_each_family(
    world: World, family: str
) -> None:
    before = world.text()
    config = world.config(mode="routed")
    node = world.node(config=config)
    vnic = node.create_vnic(routed(family)).vnic
    gateways = {"10.1.0.9": "169.254.1.1/32", "fd00:1::9": "fe80::1/64"}
    assert [f"{gateway}" for gateway in vnic.gateways] == [
        gateways[str(ip)].partition("/")[0] for ip in vnic.ips
    ]
    wanted: list[Noun] = []
    for address in vnic.ips:
        wanted += [
            Address(link=vnic.link_name, address=ip_interface(gateways[str(address)])),
            Route(destination=ip_network(address), link=vnic.link_name),
            ProxyNeighbour(link="eth0", address=address),
        ]
        assert value(world, FORWARDING[address.version]) == "1"
        if address.version == 6:
            assert value(world, "net.ipv6.conf.eth0.proxy_ndp") == "1"
    for noun in wanted:
        assert world.kernel.find(noun) is not None, str(noun)
    assert node.verify() == []
    node.close()
    again = world.node(config=config)
    assert again.topology().vnics == (vnic,)
    assert again.verify() == []
    again.destroy_vnic(routed(family))
    again.reset_network()
    assert world.text() == before


@pytest.mark.kernel
def test_routed_guests_are_reached_over_ipv6(
    request: pytest.FixtureRequest, make_netns: Callable[[], str]
) -> None:
    """The node answers neighbour solicitations for its guest on the uplink, and forwards."""
    real = make_world(request, "netlink-vxlan")
    assert isinstance(real, RealWorld)
    try:
        far, box = make_netns(), make_netns()
        ip("link", "set", "eth0-far", "netns", far, netns=real.netns)
        ip("link", "set", "eth0-far", "up", netns=far)
        ip("address", "add", "fd00:1::77/64", "dev", "eth0-far", "nodad", netns=far)
        node = real.node(config=real.config(mode="routed"))
        vnic = node.create_vnic(routed("both")).vnic
        assert vnic.peer_name is not None
        ip("link", "set", vnic.peer_name, "netns", box, "name", "eth0", netns=real.netns)
        ip("address", "add", "fd00:1::9/128", "dev", "eth0", "nodad", netns=box)
        ip("link", "set", "eth0", "up", netns=box)
        ip("route", "add", "default", "via", "fe80::1", "dev", "eth0", netns=box)
        wait_for_link_local(real.netns, far, box)
        for netns, target in ((far, "fd00:1::9"), (box, "fd00:1::77")):
            ip("netns", "exec", netns, "busybox", "ping", "-6", "-c1", "-W3", target)
    finally:
        real.close()


# -- the mesh ---------------------------------------------------------------------------


@FAMILIES
def test_a_mesh_leads_to_the_networks_of_each_family(world: World, family: str) -> None:
    before = world.text()
    cnci = world.cnci()
    peers = [
        snnet.Neighbor(
            physical_ip=f"192.0.2.{number}",
            subnet=subnet.replace(":1:", f":{number}:").replace(".1.", f".{number}."),
            tunnel_ip=f"10.255.0.{number}",
            tunnel_id=99,
        )
        for number in (11, 12)
        for subnet in SUBNETS[family]
    ]
    cnci.update_neighbors(peers)
    text = world.text()
    for peer in peers[len(SUBNETS[family]) :]:
        hop = "fe80::aff:c" if ":" in str(peer.subnet) else "10.255.0.12"
        assert f"route {peer.subnet} via {hop}" in text
        assert f"neighbour {hop} " in text
    assert cnci.verify() == []
    cnci.close()
    again = world.cnci()
    assert again.verify() == []
    assert world.text() == text
    again.update_neighbors(peers)
    assert world.text() == text
    again.shutdown()
    assert world.text() == before
