"""Operations that every driver refuses, on a host with ``GROUND``, each with the error's class.

The classes are those that :func:`snnet.contract.error_for` has for the kernel's errno.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from snnet.contract import (
    Add,
    Bridge,
    Busy,
    Change,
    Exists,
    Missing,
    Noun,
    Operation,
    Redirect,
    Rejected,
    Remove,
    Shaper,
    Tap,
    Unsupported,
)
from snnet.contract.addresses import NO_MAC
from snnet.contract.shaping import RATE_MAX

from .nouns import (
    BRIDGE,
    GRE,
    GRETAP,
    GRETAP6,
    MAC,
    MACVTAP,
    MESH,
    TAP,
    TUNNELS,
    V6,
    VETH,
    VXLAN,
    address,
    bridge_fdb,
    fdb,
    neighbour,
    proxy,
    route,
    with_key,
    with_port,
)

_BRIDGE = replace(BRIDGE, alias="a bridge")
_VX = replace(VXLAN, name="v", vni=8)
_MULTICAST = "01:00:00:00:00:01"

GROUND: tuple[Noun, ...] = (
    _BRIDGE,
    MESH,
    VXLAN,
    Tap(name="port", master="br"),
    Tap(name="down", up=False),
    Tap(name="small", mtu=68),
    address("10.1.0.1/24", "br"),
    address("fd01::1/64", "br"),
)
"""What is on the host before each mistake, and unchanged after it."""

_LINKS: tuple[tuple[Operation, type[Exception]], ...] = (
    (Add(Bridge(name="b", mtu=70_000)), Rejected),
    (Add(Bridge(name="b", mtu=67)), Rejected),
    (Add(Bridge(name="b", mac="no mac")), Rejected),
    (Add(Bridge(name="b", alias="x" * 256)), Rejected),
    (Add(Bridge(name="b", master="br")), Rejected),  # ELOOP
    (Add(Bridge(name="x" * 16)), Rejected),
    (Add(Bridge(name="br%d")), Rejected),
    (Add(Bridge(name="")), Rejected),
    (Add(Bridge(name="a/b")), Rejected),
    (Add(Bridge(name="a b")), Rejected),
    (Add(Bridge(name="all")), Rejected),
    (Add(Bridge(name="lo")), Exists),
    (Add(Tap(name="br")), Exists),
    (Add(Tap(name="br", master="nowhere")), Missing),
    (Add(Tap(name="x" * 16)), Rejected),
    (Add(Tap(name="tap%d")), Rejected),
    (Add(Tap(name="")), Rejected),
    (Add(Tap(name="a\0b")), Rejected),
    (Add(Tap(name="default")), Rejected),
    (Add(replace(TAP, mtu=70_000)), Rejected),
    (Add(replace(TAP, mtu=65_522)), Rejected),
    (Add(replace(TAP, mtu=67)), Rejected),
    (Add(replace(TAP, mtu=1 << 40)), Rejected),
    (Add(replace(TAP, mac="no mac")), Rejected),
    (Add(replace(TAP, mac=_MULTICAST)), Missing),  # EADDRNOTAVAIL
    (Add(replace(TAP, alias="x" * 256)), Rejected),
    (Add(replace(TAP, master="nowhere")), Missing),
    (Add(replace(TAP, master="lo")), Unsupported),
    (Add(replace(TAP, queues=257, multi_queue=True)), Rejected),
    (Add(replace(VETH, mtu=65_536)), Rejected),
    (Add(replace(VETH, peer_mtu=67)), Rejected),
    (Add(replace(VETH, peer_mtu=1 << 40)), Rejected),
    (Add(replace(VETH, peer_mac="02:00")), Rejected),
    (Add(replace(VETH, peer="br")), Exists),
    (Add(replace(VETH, peer=VETH.name)), Exists),
    (Add(replace(VETH, peer="a/b")), Rejected),
    (Add(replace(VETH, peer="all")), Rejected),
    (Add(replace(VETH, master="nowhere")), Missing),
    (Add(replace(MACVTAP, lower="nowhere")), Missing),
    (Add(replace(MACVTAP, name="br", lower="nowhere")), Missing),
    (Add(replace(MACVTAP, name="br", lower="br")), Exists),
    (Add(replace(MACVTAP, lower="lo")), Rejected),
    (Add(replace(MACVTAP, lower="port")), Busy),
    (Add(replace(MACVTAP, mtu=1501)), Rejected),
    (Add(replace(MACVTAP, lower="br", mtu=1451)), Rejected),
    (Add(replace(MACVTAP, mode="odd")), Unsupported),
)

_TUNNELS: tuple[tuple[Operation, type[Exception]], ...] = (
    (Add(replace(VXLAN, name="v")), Exists),
    (Add(replace(VXLAN, name="v", local=ip_address("::1"))), Unsupported),
    (Add(replace(_VX, mtu=70_000)), Rejected),
    (Add(replace(_VX, mac=_MULTICAST)), Missing),
    (Add(replace(_VX, vni=1 << 24)), Rejected),
    (Add(replace(_VX, ttl=256)), Rejected),
    (Add(replace(_VX, port=1 << 16)), Rejected),
    (Add(replace(_VX, master="nowhere")), Missing),
    (Add(replace(_VX, remote=V6["remote"])), Unsupported),
    (Add(replace(_VX, remote=ip_address("239.1.1.1"))), Rejected),
    (Add(replace(GRETAP, tunnel_key=1 << 32)), Rejected),
    (Add(replace(GRETAP, tunnel_key=-1)), Rejected),
    (Add(replace(GRETAP, ttl=256)), Rejected),
    (Add(replace(GRETAP, master="nowhere")), Missing),
    (Add(replace(GRETAP, remote=V6["remote"])), Unsupported),
    (Add(replace(GRETAP6, tunnel_key=1 << 32)), Rejected),
    (Add(replace(GRETAP6, ttl=256)), Rejected),
    (Add(replace(GRE, tunnel_key=1 << 32)), Rejected),
    (Add(replace(GRE, master="br")), Rejected),
    *((Add(with_key(noun, 1 << noun.key_bits)), Rejected) for noun in TUNNELS),
    *((Add(replace(noun, ttl=256)), Rejected) for noun in TUNNELS),
    *((Add(with_port(noun, 1 << 16)), Rejected) for noun in TUNNELS if noun.over_udp),
    *((Add(replace(noun, mtu=70_000)), Rejected) for noun in TUNNELS if noun.over_udp),
    (Change(replace(VXLAN, vni=8), VXLAN), Unsupported),
    (Change(replace(VXLAN, name="vx2"), VXLAN), Unsupported),
)

_GONE_OR_FOREIGN: tuple[tuple[Operation, type[Exception]], ...] = (
    (Remove(Tap(name="br")), Missing),
    (Remove(Bridge(name="br")), Missing),
    (Remove(replace(_BRIDGE, group=0)), Missing),
    (Remove(Bridge(name="nowhere")), Missing),
    (Change(Bridge(name="br", mtu=70_000), Bridge(name="br")), Missing),
    (Change(replace(_BRIDGE, mtu=70_000), _BRIDGE), Rejected),
    (Change(replace(_BRIDGE, mtu=1), _BRIDGE), Rejected),
    (Change(replace(_BRIDGE, mac=_MULTICAST), _BRIDGE), Missing),
    (Change(replace(_BRIDGE, master="nowhere"), _BRIDGE), Missing),
    (Change(replace(_BRIDGE, alias="x" * 256), _BRIDGE), Rejected),
)

_NON_LINKS: tuple[tuple[Operation, type[Exception]], ...] = (
    (Add(address("10.1.0.1/24", "nowhere")), Missing),
    (Add(address("2001:db8:1::1/64", "nowhere")), Missing),
    (Add(address("10.1.0.1/24", "br")), Exists),
    (Add(address("fd01::1/64", "br")), Exists),
    (Add(address("ff02::1/128")), Missing),  # EADDRNOTAVAIL
    (Add(address("fd09::1/64", "small")), Rejected),
    (Remove(address("10.9.0.1/24", "br")), Missing),
    (Remove(address("10.9.0.1/24", "nowhere")), Missing),
    (Remove(address("fd01::9/64", "br")), Missing),
    (Remove(address("fd01::9/64", "small")), Missing),
    (Change(address("10.1.0.1/24", "br"), address("10.1.0.1/24", "br")), Unsupported),
    (Add(route("10.2.0.0/24", name="nowhere")), Missing),
    (Add(route("10.2.0.0/24", name="down")), Rejected),
    (Add(route("10.2.0.0/24", "172.16.0.1")), Rejected),
    (Add(route("10.2.0.0/24", "10.1.0.255", "br")), Rejected),
    (Add(route("10.2.0.0/24", "192.0.2.255")), Rejected),
    (Add(route("10.2.0.0/24", "2001:db8::9")), Unsupported),
    (Add(route("2001:db8:2::/64", "2001:db8:9::1")), Rejected),
    (Add(route("fd02::/64", name="small")), Missing),
    (Remove(route("10.2.0.0/24", name="br")), Missing),
    (Remove(route("10.2.0.0/24", name="nowhere")), Missing),
    (Add(neighbour("10.9.9.9", name="nowhere")), Missing),
    (Add(neighbour("10.9.9.9", "no mac")), Rejected),
    (Add(neighbour("10.9.9.9", "192.0.2.1", "br")), Rejected),
    (Add(neighbour("fd01::9", name="small")), Rejected),
    (Remove(neighbour("10.9.9.9", name="br")), Missing),
    (Change(neighbour("10.9.9.9", name="br"), neighbour("10.9.9.9", name="br")), Missing),
    (Add(proxy("10.4.0.9", "nowhere")), Missing),
    (Remove(proxy("10.4.0.9", "br")), Missing),
    (Add(Shaper(link="nowhere", rate=10**6)), Missing),
    (Add(Shaper(link="br", rate=0)), Rejected),
    (Add(Shaper(link="br", rate=RATE_MAX + 8)), Rejected),
    (Remove(Shaper(link="br", rate=10**6)), Missing),
    (Remove(Shaper(link="nowhere", rate=10**6)), Missing),
    (Change(Shaper(link="br", rate=10**6), Shaper(link="br", rate=2 * 10**6)), Missing),
    (Add(Redirect(link="nowhere", to="br")), Missing),
    (Add(Redirect(link="br", to="nowhere")), Missing),
    (Remove(Redirect(link="br", to="port")), Missing),
    (Add(fdb(MAC, "192.0.2.9", "nowhere")), Missing),
    (Add(fdb(MAC, "192.0.2.9", "br")), Unsupported),
    (Add(fdb(MAC, "2001:db8::9")), Unsupported),
    (Add(fdb("no mac", "192.0.2.9")), Rejected),
    (Remove(fdb(MAC, "192.0.2.9")), Missing),
    (Change(fdb(MAC, "192.0.2.9"), fdb(MAC, "192.0.2.9")), Missing),
    (Remove(fdb(NO_MAC, "192.0.2.9")), Missing),
    (Add(bridge_fdb(MAC, "nowhere")), Missing),
    (Add(bridge_fdb(MAC, "br")), Unsupported),
    (Add(bridge_fdb(MAC, "mesh")), Unsupported),
    (Remove(bridge_fdb(MAC, "mesh")), Missing),
)

MISTAKES = (*_LINKS, *_TUNNELS, *_GONE_OR_FOREIGN, *_NON_LINKS)
