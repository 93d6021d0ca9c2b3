"""The nouns of the tests: ordinary ones, extreme ones, and what they depend on."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from snnet import contract
from snnet.contract import (
    Address,
    Bridge,
    BridgeFdb,
    Fdb,
    Gre,
    Gretap,
    Ifb,
    Link,
    Macvtap,
    Neighbour,
    Noun,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    Tap,
    Tunnel,
    Veth,
    Vxlan,
)
from snnet.contract.links import Settings
from snnet.contract.shaping import RATE_MAX, RATE_MIN

from .place import UPLINK

LONG = "uplink-0.100_ab"
"""A link name of the greatest length: 15 bytes."""

ALIAS = "snnet1 o=cn:kit k=vm \"quoted\" 'twice' \\ $HOME * ü".ljust(254, "-")
"""An alias of the greatest length, 255 bytes, with everything that a shell would misread."""

V4: dict[str, Any] = {"local": ip_address("192.0.2.11"), "remote": ip_address("192.0.2.10")}
V6: dict[str, Any] = {"local": ip_address("2001:db8::11"), "remote": ip_address("2001:db8::10")}
PORT: dict[str, Any] = {
    "mac": "fe:00:00:00:00:07",
    "mtu": 1400,
    "master": "br",
    "alias": "a port",
}
MAC = "02:00:00:00:00:0b"

# -- what others depend on -----------------------------------------------------------

BRIDGE = Bridge(name="br", mac="02:00:00:00:00:01", mtu=1450)
MESH = Vxlan(name="mesh", local=V4["local"], remote=None, vni=9, port=4789, mtu=1450)
MESH6 = replace(MESH, name="mesh6", local=V6["local"], vni=10)
MULTIPOINT = Gre(name="multi", local=V4["local"], tunnel_key=9)
PAIR = Veth(name="low", peer="low-far")
SUPPRESSING: Settings = (("bridge_slave learning", 0), ("bridge_slave neigh_suppress", 1))
MEMBER = replace(MESH, name="member", vni=11, master="br", settings=SUPPRESSING)
BLOCK = Ifb(name="block")
_GROUND: dict[str, Link] = {
    noun.name: noun for noun in (BRIDGE, MESH, MESH6, MULTIPOINT, PAIR, MEMBER, BLOCK)
}


def ground(noun: Noun) -> list[Noun]:
    """Return the links that the noun names, and what they name: the host must have them first."""
    names = [getattr(noun, name, None) for name in ("master", "lower", "link", "to")]
    links = [_GROUND[name] for name in names if name in _GROUND]
    return [below for link in links for below in (*ground(link), link)]


# -- links ---------------------------------------------------------------------------

TAP = Tap(name="tap", alias="a tap")
VETH = Veth(name="near", peer="far", alias="a veth")
IFB = Ifb(name="ifb", alias="an ifb")
MACVTAP = Macvtap(name="mv", lower=UPLINK, mac=MAC, alias="a macvtap")


def tunnel(kind: type[Tunnel], ends: dict[str, Any], key: int, **values: Any) -> Tunnel:
    """A tunnel of any kind: of the ends and values those that the kind has."""
    fit = {item.name for item in fields(kind)}
    given = {kind.key_field: key, **ends, **values}
    return kind(**{name: value for name, value in given.items() if name in fit})


def with_key(noun: Tunnel, key: int) -> Tunnel:
    """The tunnel with another key, whatever the field is called."""
    fields: dict[str, Any] = {noun.key_field: key}
    return replace(noun, **fields)


def with_port(noun: Tunnel, port: int) -> Tunnel:
    """The tunnel on another UDP port."""
    fields: dict[str, Any] = {"port": port}
    return replace(noun, **fields)


TUNNELS: tuple[Tunnel, ...] = tuple(
    tunnel(kind, V4, 7, name=f"t-{kind.protocol}", port=16384, alias="a tunnel")
    for kind in contract.TUNNELS
)
"""One of each kind that joins bridges."""

VXLAN = Vxlan(name="vx", vni=7, port=16384, alias="a tunnel", **V4)
GRETAP = Gretap(name="gt", tunnel_key=7, alias="a tunnel", **V4)
GRETAP6 = Gretap(name="gt6", tunnel_key=7, alias="a tunnel", **V6)
GRE = Gre(name="gre", local=V4["local"], tunnel_key=7, alias="a tunnel")

LINKS: tuple[Link, ...] = (
    replace(BRIDGE, name="b", alias="a bridge"),
    TAP,
    VETH,
    IFB,
    MACVTAP,
    *TUNNELS,
    GRETAP6,
    GRE,
)
"""One of each kind."""

EXTREME_LINKS: tuple[Link, ...] = (
    Bridge(name="plain"),
    Bridge(name="local", mtu=1500, link_local=True),
    Bridge(name=LONG, alias=ALIAS, mtu=65535, up=False),
    Bridge(name="small", mac="fe:ff:ff:ff:ff:fe", mtu=68),
    Tap(name="plain"),
    Tap(name=LONG, **{**PORT, "alias": ALIAS, "mtu": 65521}),
    Tap(name="down", up=False, group=77),
    Veth(name=LONG, peer=LONG.upper(), peer_mac=MAC, peer_mtu=1300, **PORT),
    Veth(name="down", peer="down-far", up=False, mtu=68),
    Ifb(name="down", up=False, group=77),
    Ifb(name=LONG, mac=MAC, mtu=9000, alias=ALIAS),
    Macvtap(name=LONG, lower="low", mode="vepa", mtu=1400, alias=ALIAS),
    Macvtap(name="private", lower="br", mode="private", index=1 << 21, link_local=True),
    Macvtap(name="filtered", lower="low", all_multicast=False),
    *(
        tunnel(kind, ends, 2**kind.key_bits - 1, name=LONG, port=65535, ttl=255, **PORT)
        for kind in contract.TUNNELS
        for ends in (V4, V6)
    ),
    Vxlan(name="many", vni=0, port=1, local=V4["local"], remote=None, ttl=1),
    replace(MEMBER, name=LONG, alias=ALIAS, port=65535),
    Tap(name="hairpin", settings=(("bridge_slave hairpin", 1),), **PORT),
    Gretap(name="zero", tunnel_key=0, **V4),
    Gre(name=LONG, local=V4["local"], tunnel_key=0xFFFFFFFF, mtu=1400, ttl=255, alias=ALIAS),
)
"""Values at their limits, and values left to the kernel."""

# -- other nouns ---------------------------------------------------------------------


def address(text: str, name: str = UPLINK) -> Address:
    return Address(link=name, address=ip_interface(text))


def route(text: str, via: str | None = None, name: str = UPLINK, **values: Any) -> Route:
    gateway = None if via is None else ip_address(via)
    return Route(destination=ip_network(text), link=name, gateway=gateway, **values)


def neighbour(text: str, lladdr: str = MAC, name: str = UPLINK) -> Neighbour:
    return Neighbour(link=name, address=ip_address(text), lladdr=lladdr)


def proxy(text: str, name: str = UPLINK, **values: Any) -> ProxyNeighbour:
    return ProxyNeighbour(link=name, address=ip_address(text), **values)


def fdb(mac: str, remote: str, name: str = "mesh") -> Fdb:
    return Fdb(link=name, mac=mac, remote=ip_address(remote))


def bridge_fdb(mac: str, name: str = "member") -> BridgeFdb:
    return BridgeFdb(link=name, mac=mac)


NON_LINKS: tuple[Noun, ...] = (
    address("10.1.0.1/24"),
    address("2001:db8:1::1/64"),
    route("10.2.0.0/24"),
    route("10.3.0.0/24", "192.0.2.9"),
    route("2001:db8:2::/64"),
    route("2001:db8:3::/64", "2001:db8::9"),
    neighbour("192.0.2.9"),
    neighbour("2001:db8::9"),
    neighbour("10.9.0.2", "192.0.2.2", "multi"),
    proxy("10.4.0.9"),
    proxy("2001:db8:4::9"),
    fdb(MAC, "192.0.2.9"),
    fdb(MAC, "2001:db8::9", "mesh6"),
    bridge_fdb(MAC),
    Shaper(link="low", rate=50_000_000),
    Redirect(link="low", to="block"),
)
"""One of each kind and family."""

EXTREME_NON_LINKS: tuple[Noun, ...] = (
    address("10.1.0.1/32"),
    address("10.1.0.0/31"),
    address("192.0.2.11/25"),
    address("127.0.0.5/8", "lo"),
    address("10.9.9.9/32", "lo"),
    address("10.1.0.1/24", "br"),
    address("2001:db8:1::1/128"),
    address("fd01::1/64", "br"),
    replace(address("2001:db8:1::1/128"), deprecated=True),
    replace(address("10.1.0.1/24"), deprecated=True),
    route("0.0.0.0/0", "192.0.2.9"),
    route("0.0.0.0/0"),
    route("::/0", "2001:db8::9"),
    route("10.2.0.1/32", "172.16.0.1", onlink=True),
    route("2001:db8:2::1/128", "2001:db8:9::1", onlink=True),
    route("2001:db8:2::/64", "fe80::1"),
    route("10.2.0.0/24", protocol=115),
    route("2001:db8:2::/64", protocol=115),
    route("10.2.0.0/24", name="br"),
    neighbour("10.9.9.9", "fe:ff:ff:ff:ff:ff"),
    neighbour("10.9.9.9", name="br"),
    proxy("10.4.0.9", "br", protocol=4),
    fdb("00:00:00:00:00:00", "192.0.2.9"),
    fdb("00:00:00:00:00:00", "2001:db8::9", "mesh6"),
    bridge_fdb("fe:ff:ff:ff:ff:ff"),
    bridge_fdb("33:33:00:00:00:01"),
    Shaper(link="block", rate=RATE_MIN),
    Shaper(link="br", rate=RATE_MAX),
    Redirect(link="low-far", to="low"),
)


def described(noun: Noun) -> str:
    """Return class and words of the noun, as part of a test's name."""
    text = "".join(letter if letter.isalnum() or letter in ".:-" else "-" for letter in str(noun))
    return f"{type(noun).__name__}:{text[:50]}"
