"""Operations by chance, some of them nonsense, on few names so that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from snnet.contract import (
    Add,
    Bridge,
    BridgeFdb,
    Change,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Ifb,
    Link,
    Macvtap,
    Noun,
    Operation,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Remove,
    Shaper,
    Sysctl,
    Tap,
    Veth,
    Vxlan,
)
from snnet.contract.addresses import NO_MAC
from snnet.contract.network import OWN_TABLES
from tests.backends.fake.steps import address, neighbour, route

from .dice import Dice

KINDS = ("bridge", "tap", "veth", "macvtap", "vxlan", "ifb")
TUNNELS = ("vxlan", "gretap", "ip6gretap", "gre", "geneve")
LOCAL, REMOTE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.77")
LOCAL6 = IPv6Address("2001:db8::1")
LINKS = ("b0", "b1", "t0", "t1", "v0", "w0", "m0", "m1", "x0", "x1", "i0")
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 7)]
MTUS = [None, 68, 1279, 1280, 1400, 1458, 1500, 9000, 65521]
LOCALS = ["192.0.2.1/24", "192.0.2.2/24", "192.0.2.1/25", "198.51.100.1/32", "2001:db8::1/64"]
LOCALS += ["2001:db8::1/80", "203.0.113.1/24", "2001:db8:1::1/128"]
GATEWAYS = [None, "192.0.2.9", "192.0.2.255", "192.0.2.1", "203.0.113.9", "198.51.100.1"]
GATEWAYS6 = [None, "2001:db8::9", "2001:db8:9::9", "fe80::9", "2001:db8::1"]
DESTINATIONS = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "198.51.100.1/32", "0.0.0.0/0"]
DESTINATIONS6 = ["2001:db8:a::/48", "2001:db8::/64", "::/0"]


SYSCTLS = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.b0.proxy_arp",
    "net.ipv4.conf.v0.forwarding",
    "net.ipv4.conf.x9.proxy_arp",
    "net.ipv4.no_such",
    "kernel.hostname",
]
VALUES = ["0", "1", "1", "2", "x", ""]
RATES = [0, 8, 8_000, 50_000_000, 100_000_000_000, 100_000_000_008]


class Draw:
    """The next operation, by what is there."""

    def __init__(self, dice: Dice, kinds: Sequence[str]) -> None:
        self._dice = dice
        self._kinds = kinds

    def operation(self, found: list[Noun]) -> Operation:
        """The next operation on a host where this is found."""
        links = [noun for noun in found if isinstance(noun, Link) and noun.name != "lo"]
        others = [noun for noun in found if not isinstance(noun, Link) and self._removable(noun)]
        if not links or self._dice.percent(30):
            return Add(self._new_link())
        if self._dice.percent(28):
            old = self._dice.pick(links)
            return Change(self._changed(old), old)
        if self._dice.percent(12):
            return Remove(self._dice.pick(links))
        if others and self._dice.percent(14):
            return Remove(self._dice.pick(others))
        if self._dice.percent(6):
            return self._tuned()
        limits = [noun for noun in others if isinstance(noun, Shaper)]
        if limits and self._dice.percent(10):
            old_limit = self._dice.pick(limits)
            return Change(replace(old_limit, rate=self._dice.pick(RATES)), old_limit)
        noun = self._non_link()
        gone = self._dice.percent(10) and not isinstance(noun, Fdb)
        return Remove(noun) if gone else Add(noun)

    def _tuned(self) -> Operation:
        name = self._dice.pick(SYSCTLS)
        return Change(Sysctl(name=name, value=self._dice.pick(VALUES)), Sysctl(name=name, value=""))

    @staticmethod
    def _removable(noun: Noun) -> bool:
        kinds = (
            "address", "route", "neighbour", "proxy", "fdb", "bridge-fdb", "shaper", "redirect",
        )  # fmt: skip
        return noun.key[0] in kinds and noun.key[1] != "lo"

    def _new_link(self) -> Link:
        pick = self._dice.pick
        mac, mtu, up = pick(MACS), pick(MTUS), pick([True, True, False])
        master = pick([None, None, "b0", "b1", "t0", "nowhere"])
        values: dict[str, Any] = {"mac": mac, "mtu": mtu, "up": up, "alias": pick(["", "mine"])}
        match pick(self._kinds):
            case "bridge":
                return Bridge(name=pick(["b0", "b1"]), master=pick([None] * 5 + ["b0"]), **values)
            case "tap":
                values |= {
                    "multi_queue": pick([False, False, True]),
                    "proxy_arp": pick([False, True]),
                }
                return Tap(name=pick(["t0", "t1"]), master=master, **values)
            case "veth":
                far: dict[str, Any] = {"peer": "w0", "peer_mac": pick(MACS), "peer_mtu": pick(MTUS)}
                return Veth(name="v0", master=master, **far, **values)
            case "ifb":
                return Ifb(name="i0", master=master, **{**values, "mtu": pick(MTUS[2:])})
            case "macvtap":
                lower = pick(["v0", "w0", "t0", "b0", "nowhere", "lo"])
                name = pick(["m0", "m1"])
                return Macvtap(name=name, lower=lower, mode=pick(["bridge", "vepa"]), **values)
            case kind:
                return self._new_tunnel(kind, {**values, "master": master})

    def _new_tunnel(self, kind: str, values: dict[str, Any]) -> Link:
        pick = self._dice.pick
        key, remote = pick([7, 8]), pick([REMOTE, IPv4Address("192.0.2.78")])
        values["name"] = pick(["x0", "x1"])
        match kind:
            case "gretap":
                return Gretap(local=LOCAL, remote=remote, tunnel_key=key, **values)
            case "ip6gretap":
                remote6 = pick([IPv6Address("2001:db8::77"), IPv6Address("2001:db8::78")])
                if not values["up"] and (values["mtu"] or 1280) < 1280:
                    values["mtu"] = 1280  # below it the fake differs: see FakeKernel
                return Gretap(local=LOCAL6, remote=remote6, tunnel_key=key, **values)
            case "gre":
                return Gre(local=LOCAL, tunnel_key=key, **{**values, "mac": None})
            case "geneve":
                return Geneve(remote=remote, vni=key, port=pick([6081, 6082]), **values)
            case _:
                far, port = pick([None, remote]), pick([4789, 4790])
                return Vxlan(vni=key, port=port, local=LOCAL, remote=far, **values)

    def _changed(self, old: Link) -> Link:
        pick = self._dice.pick
        match pick(["mac", "mtu", "up", "up", "master", "alias", "group"]):
            case "mac" if not isinstance(old, Gre):
                return replace(old, mac=pick(MACS))
            case "mtu" if isinstance(old, Ifb):  # it takes any, and without IPv4 below 68
                return replace(old, mtu=pick(MTUS[2:]))
            case "mtu":
                return replace(old, mtu=pick([*MTUS[1:], 67, 65536]))
            case "up":
                return replace(old, up=not old.up)
            case "master":
                return replace(old, master=pick([None, "b0", "b1"]))
            case "alias":
                return replace(old, alias=pick(["", "yours", "x" * 256]))
            case _:
                return replace(old, group=pick([0, 7]))

    def _non_link(self) -> Noun:
        pick = self._dice.pick
        link = pick([*LINKS, "v0", "b0"])
        kinds = ["address", "address", "route", "route", "neighbour", "proxy", "fdb", "policy"]
        match pick([*kinds, "bridge-fdb", "shaper", "redirect"]):
            case "address":
                return address(pick(LOCALS), link)
            case "route":
                six = self._dice.percent(30)
                via = pick(GATEWAYS6 if six else GATEWAYS)
                onlink = via is not None and pick([True, False])
                made = route(pick(DESTINATIONS6 if six else DESTINATIONS), link, via, onlink)
                return replace(made, protocol=pick([4, 4, 115]))
            case "policy":
                source = pick(["10.1.0.9/32", "10.1.0.0/24", "2001:db8:1::/64"])
                table, priority = pick([254, OWN_TABLES[0]]), pick([20000, 20001])
                return PolicyRule(
                    source=ip_network(source), table=table, priority=priority,
                    specific=table == 254,
                )  # fmt: skip
            case "shaper":
                return Shaper(link=link, rate=pick(RATES))
            case "redirect":
                return Redirect(link=link, to=pick(["i0", "i0", "w0", "nowhere", ""]))
            case "neighbour":
                link = pick(["b0", "t0", "v0", "x0"])
                return neighbour(pick(["192.0.2.9", "10.9.9.9", "2001:db8::9"]), pick(MACS), link)
            case "proxy":
                ip = pick(["192.0.2.9", "10.9.9.9", "2001:db8::9"])
                return ProxyNeighbour(link=pick(["b0", "t0", "v0", "x0"]), address=ip_address(ip))
            case "bridge-fdb":
                return BridgeFdb(link=pick(["x0", "x1", "t0"]), mac=pick(MACS))
            case _:
                remote = ip_address(pick(["192.0.2.50", "192.0.2.51", "2001:db8::50"]))
                mac = pick([*MACS, NO_MAC])
                return Fdb(link=pick(["x0", "x1", "x1", "t0"]), mac=mac, remote=remote)
