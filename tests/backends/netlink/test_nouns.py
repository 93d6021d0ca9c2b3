"""Every noun the backend carries: added, found, listed, changed, removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Exists,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Link,
    Macvtap,
    Missing,
    Neighbour,
    Noun,
    Other,
    Remove,
    Route,
    Sysctl,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
)
from tests.conftest import ip

from .conftest import KERNELS_OWN, is_there

pytestmark = pytest.mark.kernel

BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450, alias="a bridge")
UPLINK = Veth(name="up", peer="up-peer", mac="02:00:00:00:00:02", mtu=1500)
ADDRESS = Address(link="br", address=ip_interface("10.1.0.1/24"))
ADDRESS6 = Address(link="br", address=ip_interface("fd01::1/64"))
MESH = Vxlan(name="mesh", local=ip_address("192.0.2.1"), remote=None, vni=9, port=4789, mtu=1450)

V4 = {"local": ip_address("192.0.2.1"), "remote": ip_address("192.0.2.2")}
V6 = {"local": ip_address("2001:db8::1"), "remote": ip_address("2001:db8::2")}
PORT = {"mac": "fe:00:00:00:00:07", "mtu": 1400, "master": "br", "alias": "a port"}

LINKS: list[Any] = [
    dataclasses.replace(BRIDGE, name="br2"),
    Bridge(name="plain"),
    Bridge(name="big", mtu=65535, up=False),
    Bridge(name="ll", mtu=1500, link_local=True),
    Bridge(name="small", mtu=68),
    Tap(name="tap", **PORT),
    Tap(name="tap-plain"),
    Tap(name="a-name-of-15-by", up=False, alias="x" * 255),
    Veth(name="ve", peer="ve-peer", peer_mac="02:00:00:00:00:08", peer_mtu=1300, **PORT),
    Veth(name="ve2", peer="p"),
    Macvtap(name="mv", lower="up", mac="02:00:00:00:00:09", mtu=1400, alias="a port"),
    Macvtap(name="mv", lower="up", mode="vepa", index=1 << 21, link_local=True),
    Vxlan(name="vx", vni=7, port=16384, **V4, **PORT),
    Vxlan(name="vx6", vni=0xFFFFFF, port=65535, **V6, **PORT),
    dataclasses.replace(MESH, name="mesh2", vni=10),
    dataclasses.replace(MESH, name="mesh6", vni=11, local=V6["local"], alias="mesh"),
    pytest.param(Gretap(name="gt", tunnel_key=7, **V4, **PORT), marks=pytest.mark.needs("gretap")),
    pytest.param(
        Gretap(name="gt6", tunnel_key=0xFFFFFFFF, **V6, **PORT),
        marks=pytest.mark.needs("ip6gretap"),
    ),
    pytest.param(
        Gre(name="gre", local=V4["local"], tunnel_key=7, mtu=1400, alias="mesh"),
        marks=pytest.mark.needs("gre"),
    ),
    pytest.param(
        Geneve(name="gn", remote=V4["remote"], vni=7, **PORT), marks=pytest.mark.needs("geneve")
    ),
    pytest.param(
        Geneve(name="gn6", remote=V6["remote"], vni=8, port=7000, **PORT),
        marks=pytest.mark.needs("geneve"),
    ),
]

NETWORK: list[Noun] = [
    ADDRESS,
    ADDRESS6,
    Address(link="br", address=ip_interface("10.1.0.2/32")),
    Route(destination=ip_network("10.2.0.0/24"), link="br"),
    Route(destination=ip_network("10.3.0.0/24"), link="br", gateway=ip_address("10.1.0.9")),
    Route(
        destination=ip_network("10.4.0.0/24"),
        link="br",
        gateway=ip_address("172.16.0.1"),
        onlink=True,
    ),
    Route(destination=ip_network("0.0.0.0/0"), link="br", gateway=ip_address("10.1.0.9")),
    Route(destination=ip_network("fd02::/64"), link="br"),
    Route(destination=ip_network("fd03::/64"), link="br", gateway=ip_address("fd01::9")),
    Route(destination=ip_network("::/0"), link="br", gateway=ip_address("fd01::9")),
    Neighbour(link="br", address=ip_address("10.1.0.9"), lladdr="02:00:00:00:00:0b"),
    Neighbour(link="br", address=ip_address("fd01::9"), lladdr="02:00:00:00:00:0b"),
    Fdb(link="mesh", mac="02:00:00:00:00:0c", remote=ip_address("192.0.2.9")),
    Fdb(link="mesh", mac="00:00:00:00:00:00", remote=ip_address("192.0.2.9")),
]


@pytest.fixture(autouse=True)
def surroundings(done: Callable[..., Any]) -> None:
    """A bridge with addresses, a link for macvtaps, a vxlan for forwarding entries."""
    done(Add(dataclasses.replace(BRIDGE, alias="")), Add(ADDRESS), Add(ADDRESS6))
    done(Add(UPLINK), Add(MESH))


@pytest.mark.parametrize("noun", LINKS, ids=str)
def test_links(backend: NetlinkBackend, done: Callable[..., Any], noun: Link) -> None:
    assert backend.missing(noun) is None
    assert backend.find(noun) is None
    done(Add(noun))
    assert is_there(backend, noun)
    again = backend.apply([Add(noun)]).error
    assert isinstance(again, Exists)
    done(Remove(noun))
    assert backend.find(noun) is None
    assert noun.key not in backend.snapshot()
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)


@pytest.mark.parametrize("noun", NETWORK, ids=str)
def test_what_stands_beside_links(
    backend: NetlinkBackend, done: Callable[..., Any], noun: Noun
) -> None:
    if noun in (ADDRESS, ADDRESS6):
        done(Remove(noun))
    assert backend.missing(noun) is None
    assert backend.find(noun) is None
    done(Add(noun))
    assert is_there(backend, noun)
    assert isinstance(backend.apply([Add(noun)]).error, Exists)
    done(Remove(noun))
    assert backend.find(noun) is None
    assert noun.key not in backend.snapshot()
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)


CHANGES = [
    (PORTS := Tap(name="t", **PORT), {"mac": "fe:00:00:00:00:ff"}),
    (PORTS, {"mtu": 1300}),
    (PORTS, {"master": None}),
    (PORTS, {"up": False}),
    (PORTS, {"alias": "another"}),
    (PORTS, {"alias": ""}),
    (PORTS, {"group": 77}),
    (PORTS, {"alias": "all", "mtu": 1200, "up": False, "master": None, "group": 3}),
    (Bridge(name="b", mtu=1400), {"mtu": 1300, "alias": "new"}),
    (NETWORK[4], {"gateway": ip_address("10.1.0.8")}),
    (NETWORK[4], {"gateway": ip_address("172.16.0.9"), "onlink": True}),
    (NETWORK[8], {"gateway": ip_address("fd01::8")}),
    (NETWORK[10], {"lladdr": "02:00:00:00:00:dd"}),
    (NETWORK[12], {"remote": ip_address("192.0.2.99")}),
]


@pytest.mark.parametrize(("old", "fields"), CHANGES, ids=str)
def test_changes_and_back(
    backend: NetlinkBackend, done: Callable[..., Any], old: Noun, fields: dict[str, Any]
) -> None:
    new = dataclasses.replace(old, **fields)
    assert isinstance(backend.apply([Change(new, old)]).error, Missing)
    done(Add(old))
    change = Change(new, old)
    done(change)
    assert is_there(backend, new)
    done(change.inverse())
    assert is_there(backend, old)


def test_what_cannot_change_in_place(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    old = Vxlan(name="vx", vni=7, port=16384, **V4)
    done(Add(old))
    error = backend.apply([Change(dataclasses.replace(old, vni=8), old)]).error
    assert isinstance(error, Unsupported)
    assert "vni" in str(error)


def test_a_sysctl(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    wanted = Sysctl(name="net.ipv4.ip_forward")
    old = backend.find(wanted)
    assert isinstance(old, Sysctl)
    new = dataclasses.replace(old, value="1" if old.value == "0" else "0")
    done(Change(new, old))
    assert backend.find(wanted) == new
    assert backend.snapshot([Sysctl])[wanted.key] == new
    done(Change(old, new))
    assert backend.find(wanted) == old


def test_sysctls_of_links_with_dots_in_their_names(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    done(Add(Bridge(name="br.7")))
    old = backend.find(Sysctl(name="net.ipv4.conf.br/7.proxy_arp"))
    assert isinstance(old, Sysctl)
    assert old.value == "0"
    done(Change(dataclasses.replace(old, value="1"), old))


@pytest.mark.parametrize("name", ["kernel.hostname", "net.../..kernel.x", "net", "net.no.such"])
def test_what_is_no_sysctl_of_a_namespace(backend: NetlinkBackend, name: str) -> None:
    assert backend.find(Sysctl(name=name)) is None
    noun = Sysctl(name=name, value="1")
    assert backend.apply([Change(noun, noun)]).error is not None
    assert isinstance(backend.apply([Add(noun)]).error, Unsupported)


# What the kernel does by itself, and what must be prevented


def test_a_bridge_is_pinned(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    bridge = Bridge(name="pin", mac="02:00:00:00:00:31", mtu=1500)
    port = Tap(name="low", mac="00:00:00:00:00:01", mtu=1000, master="pin")
    done(Add(bridge), Add(port))
    assert is_there(backend, bridge)
    done(Remove(port))
    assert is_there(backend, bridge)


@pytest.mark.parametrize(
    "noun", [Bridge(name="b"), Macvtap(name="m", lower="up"), Bridge(name="b", mtu=1280)], ids=str
)
def test_no_link_local_address(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str, noun: Link
) -> None:
    done(Add(noun))
    if isinstance(noun, Bridge):  # a carrier, without which the kernel would wait
        done(Add(Tap(name="p", master="b")))
    assert "inet6" not in ip("-6", "address", "show", "dev", noun.name, netns=netns)
    assert "addrgenmode none" in ip("-d", "link", "show", noun.name, netns=netns)


def test_a_macvtap_has_an_index_out_of_everybodys_way(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    done(Add(Macvtap(name="m", lower="up")))
    found = backend.find(Link(name="m"))
    assert isinstance(found, Macvtap)
    assert found.index >= 1 << 20


def test_the_kernels_own_objects_are_left_out(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    done(Add(Vxlan(name="vx", vni=7, port=16384, **V4)))
    found = backend.snapshot().values()
    assert not [n for n in found if isinstance(n, Address) and n.address.ip.is_link_local]
    assert not [n for n in found if isinstance(n, (Route, Fdb, Neighbour))]


def test_a_learned_neighbour_gives_way(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str
) -> None:
    words = ["10.1.0.9", "lladdr", "02:00:00:00:00:aa", "dev", "br", "nud", "stale"]
    ip("neigh", "add", *words, netns=netns)
    noun = Neighbour(link="br", address=ip_address("10.1.0.9"), lladdr="02:00:00:00:00:0b")
    assert backend.find(noun) is None
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)
    done(Add(noun))
    assert is_there(backend, noun)


def test_a_route_of_another_metric_is_a_strangers(backend: NetlinkBackend, netns: str) -> None:
    ip("route", "add", "10.5.0.0/24", "dev", "br", "metric", "50", netns=netns)
    noun = Route(destination=ip_network("10.5.0.0/24"), link="br")
    assert backend.find(noun) is None
    assert isinstance(backend.apply([Remove(noun)]).error, Missing)
    assert "10.5.0.0/24" in ip("route", netns=netns)


@pytest.mark.needs("gre")
def test_the_neighbours_of_a_multipoint_gre(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    gre = Gre(name="gre", local=V4["local"], tunnel_key=7)
    done(Add(gre))
    noun = Neighbour(link="gre", address=ip_address("10.9.0.2"), lladdr="192.0.2.2")
    done(Add(noun))
    assert is_there(backend, noun)
    done(Remove(noun))
    assert backend.find(noun) is None


@pytest.mark.needs("gretap")
def test_details_of_gretap(done: Callable[..., Any], netns: str) -> None:
    done(Add(Gretap(name="gt", tunnel_key=7, **V4)))
    text = ip("-d", "link", "show", "gt", netns=netns)
    assert "ttl 64" in text
    assert "nopmtudisc" not in text


@pytest.mark.needs("ip6gretap")
def test_details_of_ip6gretap(done: Callable[..., Any], netns: str) -> None:
    done(Add(Gretap(name="gt6", tunnel_key=7, **V6)))
    text = ip("-d", "link", "show", "gt6", netns=netns)
    assert "encaplimit none" in text or "encaplimit" not in text
    assert "hoplimit 64" in text


def test_details_of_vxlan(done: Callable[..., Any], netns: str) -> None:
    done(Add(Vxlan(name="vx", vni=7, port=16384, **V4)))
    text = ip("-d", "link", "show", "vx", netns=netns)
    assert "nolearning" in text
    assert "ttl 64" in text


def test_foreign_links_are_others(backend: NetlinkBackend, netns: str) -> None:
    ip("link", "add", "ifb9", "type", "ifb", netns=netns)
    ip("tuntap", "add", "tun9", "mode", "tun", netns=netns)
    ip("link", "add", "mv9", "link", "up", "type", "macvlan", netns=netns)
    ip("link", "add", "vx9", "type", "vxlan", "external", "dstport", "4790", netns=netns)
    kinds = {name: backend.find(Link(name=name)) for name in ("lo", "ifb9", "tun9", "mv9", "vx9")}
    assert {name: noun and noun.kind for name, noun in kinds.items()} == {
        "lo": "loopback",
        "ifb9": "ifb",
        "tun9": "tun",
        "mv9": "macvlan",
        "vx9": "vxlan",
    }
    assert all(isinstance(noun, Other) for noun in kinds.values())
    listed = backend.snapshot([Other])
    assert {key[1] for key in listed} - KERNELS_OWN == set(kinds) - KERNELS_OWN
    for noun in kinds.values():
        assert noun is not None
        assert isinstance(backend.apply([Add(noun)]).error, Unsupported)
    loopback = kinds["lo"]
    assert loopback is not None
    assert isinstance(backend.apply([Remove(loopback)]).error, Unsupported)
    tap = Tap(name="tun9", group=0)
    assert isinstance(backend.apply([Remove(tap)]).error, Missing)


def test_a_veth_whose_peer_has_moved(
    backend: NetlinkBackend, done: Callable[..., Any], make_netns: Callable[[], str], netns: str
) -> None:
    veth = Veth(name="v", peer="p", mtu=1400)
    done(Add(veth))
    found = backend.find(veth)
    assert isinstance(found, Veth)
    assert found.peer == "p"
    ip("link", "set", "p", "netns", make_netns(), netns=netns)
    found = backend.find(veth)
    assert isinstance(found, Veth)
    assert found.peer is None
    assert is_there(backend, veth)
    done(Remove(veth))


def test_an_alternative_name_is_not_the_name(backend: NetlinkBackend, netns: str) -> None:
    ip("link", "property", "add", "dev", "br", "altname", "other", netns=netns)
    assert backend.find(Link(name="other")) is None
