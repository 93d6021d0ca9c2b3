"""Every noun, in all its shapes, and what they stand on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet.contract import (
    Address,
    Bridge,
    BridgeFdb,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Ifb,
    Macvtap,
    Neighbour,
    Noun,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    Tap,
    Veth,
    Vxlan,
)

V4: dict[str, Any] = {"local": ip_address("192.0.2.1"), "remote": ip_address("192.0.2.2")}
V6: dict[str, Any] = {"local": ip_address("2001:db8::1"), "remote": ip_address("2001:db8::2")}
PORT: dict[str, Any] = {
    "mac": "fe:00:00:00:00:07",
    "mtu": 1400,
    "master": "br",
    "alias": "a 'port' of #1",
}

BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450)
UPLINK = Veth(name="up", peer="up-peer", mac="02:00:00:00:00:02", mtu=1500)
MESH = Vxlan(name="mesh", local=V4["local"], remote=None, vni=9, port=4789, mtu=1450)
ADDRESS = Address(link="br", address=ip_interface("10.1.0.1/24"))
ADDRESS6 = Address(link="br", address=ip_interface("fd01::1/64"))
MEMBER = replace(MESH, name="member", vni=12, master="br")
BLOCK = Ifb(name="block", mac="02:00:00:00:00:03")
GROUND: list[Noun] = [BRIDGE, ADDRESS, ADDRESS6, UPLINK, MESH, MEMBER, BLOCK]
"""A bridge with addresses, a link for macvtaps, a vxlan for forwarding entries, an ifb."""

TAP = Tap(name="tap", **PORT)


def needs(kind: str, noun: Noun) -> Any:
    return pytest.param(noun, marks=pytest.mark.needs(kind))


LINKS: list[Any] = [
    replace(BRIDGE, name="br2", alias="a bridge"),
    Bridge(name="plain"),
    Bridge(name="big", mtu=65535, up=False),
    Bridge(name="usual", mtu=1500, link_local=True),
    Bridge(name="small", mtu=68),
    TAP,
    Tap(name="tap-plain", group=0),
    Tap(name="a-name-of-15-by", up=False, alias="x" * 255),
    Tap(name="routed.7", proxy_arp=True, alias="a routed tap", mac="fe:00:00:00:00:08"),
    Tap(name="many", multi_queue=True, alias="opened by somebody else"),
    Tap(name="if99", alias="called as an index is"),
    Veth(name="ve", peer="ve-peer", peer_mac="02:00:00:00:00:08", peer_mtu=1300, **PORT),
    Veth(name="ve2"),
    Veth(name="ve3", peer="p3", proxy_arp=True, alias="\"'\\"),
    Ifb(name="ifb", mtu=1400, alias="a port's"),
    Macvtap(name="mv", lower="up", mac="02:00:00:00:00:09", mtu=1400, alias="a port"),
    Macvtap(name="mv", lower="up", mode="vepa", index=1 << 21, link_local=True),
    Vxlan(name="vx", vni=7, port=16384, **V4, **PORT),
    Vxlan(name="vx6", vni=0xFFFFFF, port=65535, **V6, **PORT),
    replace(MESH, name="mesh2", vni=10),
    replace(MESH, name="mesh6", vni=11, ttl=0, local=V6["local"], alias="mesh\n2"),
    needs("gretap", Gretap(name="gt", tunnel_key=7, **V4, **PORT)),
    needs("ip6gretap", Gretap(name="gt6", tunnel_key=0xFFFFFFFF, **V6, **PORT)),
    needs("gre", Gre(name="gre", local=V4["local"], tunnel_key=7, mtu=1400, alias="mesh")),
    needs("geneve", Geneve(name="gn", remote=V4["remote"], vni=7, **PORT)),
    needs("geneve", Geneve(name="gn6", remote=V6["remote"], vni=8, port=7000, **PORT)),
]


def _route(destination: str, gateway: str | None = None, **values: Any) -> Route:
    via = ip_address(gateway) if gateway else None
    return Route(destination=ip_network(destination), link="br", gateway=via, **values)


NON_LINKS: list[Noun] = [
    Address(link="br", address=ip_interface("10.1.0.2/32")),
    Address(link="lo", address=ip_interface("127.0.0.2/8")),
    Address(link="br", address=ip_interface("fd01::2/128")),
    _route("10.2.0.0/24"),
    _route("10.3.0.0/24", "10.1.0.9"),
    _route("10.4.0.0/24", "172.16.0.1", onlink=True),
    _route("10.5.0.7/32", protocol=115),
    _route("0.0.0.0/0", "10.1.0.9", protocol=3),
    _route("fd02::/64"),
    _route("fd03::/64", "fd01::9", protocol=115),
    _route("::/0", "fd01::9"),
    Neighbour(link="br", address=ip_address("10.1.0.9"), lladdr="02:00:00:00:00:0b"),
    Neighbour(link="br", address=ip_address("fd01::9"), lladdr="02:00:00:00:00:0b"),
    ProxyNeighbour(link="br", address=ip_address("10.9.0.9")),
    ProxyNeighbour(link="br", address=ip_address("fd09::9"), protocol=0),
    Fdb(link="mesh", mac="02:00:00:00:00:0c", remote=ip_address("192.0.2.9")),
    Fdb(link="mesh", mac="00:00:00:00:00:00", remote=ip_address("192.0.2.9")),
    BridgeFdb(link="member", mac="02:00:00:00:00:0c"),
    Shaper(link="up", rate=50_000_000),
    Shaper(link="block", rate=8_000),
    Shaper(link="br", rate=100_000_000_000),
    Redirect(link="up", to="block"),
]

PORT_OF_BR = replace(MEMBER, name="port", vni=13)

CHANGES: list[tuple[Any, dict[str, Any]]] = [
    (TAP, {"mac": "fe:00:00:00:00:ff"}),
    (TAP, {"mtu": 1300}),
    (TAP, {"master": None}),
    (TAP, {"up": False}),
    (TAP, {"alias": "another # one"}),
    (TAP, {"alias": ""}),
    (TAP, {"group": 77}),
    (TAP, {"alias": "all", "mtu": 1200, "up": False, "master": None, "group": 3}),
    (Bridge(name="b", mtu=1400), {"mtu": 1300, "alias": "new"}),
    (NON_LINKS[4], {"gateway": ip_address("10.1.0.8")}),
    (NON_LINKS[4], {"gateway": ip_address("172.16.0.9"), "onlink": True}),
    (NON_LINKS[9], {"gateway": ip_address("fd01::8")}),
    (NON_LINKS[11], {"lladdr": "02:00:00:00:00:dd"}),
    (NON_LINKS[15], {"remote": ip_address("192.0.2.99")}),
    (NON_LINKS[18], {"rate": 100_000_000_000}),
    (PORT_OF_BR, {"master": None, "settings": (("vxlan learning", 1),)}),
    (PORT_OF_BR, {"settings": (("bridge_slave isolated", 1), ("vxlan learning", 1))}),
]
