"""The judge: the same operations on the real kernel end the same way.

Operations drawn at random, some of them nonsense, run on a fake kernel and in
a fresh namespace; the class of the error and the whole state are compared
after each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from snnet.backends.fake import FakeKernel
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import (
    Add,
    Bridge,
    Change,
    Driver,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Link,
    Macvtap,
    Noun,
    Operation,
    ProxyNeighbour,
    Remove,
    Tap,
    Veth,
    Vxlan,
)
from snnet.system.host import SystemHost

from .steps import address, neighbour, route

pytestmark = pytest.mark.kernel

KINDS = ("bridge", "tap", "veth", "macvtap", "vxlan")
TUNNELS = ("vxlan", "gretap", "ip6gretap", "gre", "geneve")
LOCAL, REMOTE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.77")
LOCAL6 = IPv6Address("2001:db8::1")
LINKS = ("b0", "b1", "t0", "t1", "v0", "w0", "m0", "m1", "x0", "x1")
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 7)]
MTUS = [None, 68, 1279, 1280, 1400, 1458, 1500, 9000, 65521]
LOCALS = ["192.0.2.1/24", "192.0.2.2/24", "192.0.2.1/25", "198.51.100.1/32", "2001:db8::1/64"]
LOCALS += ["2001:db8::1/80", "203.0.113.1/24", "2001:db8:1::1/128"]
GATEWAYS = [None, "192.0.2.9", "192.0.2.255", "192.0.2.1", "203.0.113.9", "198.51.100.1"]
GATEWAYS6 = [None, "2001:db8::9", "2001:db8:9::9", "fe80::9", "2001:db8::1"]
DESTINATIONS = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "198.51.100.1/32", "0.0.0.0/0"]
DESTINATIONS6 = ["2001:db8:a::/48", "2001:db8::/64", "::/0"]


class Draw:
    """Operations by chance, on few names so that they meet."""

    def __init__(self, seed: int, kinds: Sequence[str]) -> None:
        self._dice = random.Random(seed)
        self._kinds = kinds

    def operation(self, found: list[Noun]) -> Operation:
        """The next operation on a host where this is found."""
        roll = self._dice.random()
        links = [noun for noun in found if isinstance(noun, Link) and noun.name != "lo"]
        others = [noun for noun in found if not isinstance(noun, Link) and self._removable(noun)]
        if roll < 0.30 or not links:
            return Add(self._new_link())
        if roll < 0.50:
            old = self._dice.choice(links)
            return Change(self._changed(old), old)
        if roll < 0.56:
            return Remove(self._dice.choice(links))
        if roll < 0.62 and others:
            return Remove(self._dice.choice(others))
        noun = self._beside()
        gone = self._dice.random() < 0.1 and not isinstance(noun, Fdb)
        return Remove(noun) if gone else Add(noun)

    @staticmethod
    def _removable(noun: Noun) -> bool:
        kinds = ("address", "route", "neighbour", "proxy", "fdb")
        return noun.key[0] in kinds and noun.key[1] != "lo"

    def _new_link(self) -> Link:
        pick = self._dice.choice
        mac, mtu, up = pick(MACS), pick(MTUS), pick([True, True, False])
        master = pick([None, None, "b0", "b1", "t0", "nowhere"])
        values = {"mac": mac, "mtu": mtu, "up": up, "alias": pick(["", "mine"])}
        match pick(self._kinds):
            case "bridge":
                return Bridge(name=pick(["b0", "b1"]), master=pick([None] * 5 + ["b0"]), **values)
            case "tap":
                return Tap(name=pick(["t0", "t1"]), master=master, **values)
            case "veth":
                far = {"peer": "w0", "peer_mac": pick(MACS), "peer_mtu": pick(MTUS)}
                return Veth(name="v0", master=master, **far, **values)
            case "macvtap":
                lower = pick(["v0", "w0", "t0", "b0", "nowhere", "lo"])
                name = pick(["m0", "m1"])
                return Macvtap(name=name, lower=lower, mode=pick(["bridge", "vepa"]), **values)
            case kind:
                return self._new_tunnel(kind, {**values, "master": master})

    def _new_tunnel(self, kind: str, values: dict[str, Any]) -> Link:
        pick = self._dice.choice
        key, remote = pick([7, 8]), pick([REMOTE, IPv4Address("192.0.2.78")])
        values["name"] = pick(["x0", "x1"])
        match kind:
            case "gretap":
                return Gretap(local=LOCAL, remote=remote, tunnel_key=key, **values)
            case "ip6gretap":
                remote6 = pick([IPv6Address("2001:db8::77"), IPv6Address("2001:db8::78")])
                return Gretap(local=LOCAL6, remote=remote6, tunnel_key=key, **values)
            case "gre":
                return Gre(local=LOCAL, tunnel_key=key, **{**values, "mac": None})
            case "geneve":
                return Geneve(remote=remote, vni=key, port=pick([6081, 6082]), **values)
            case _:
                remote, port = pick([None, remote]), pick([4789, 4790])
                return Vxlan(vni=key, port=port, local=LOCAL, remote=remote, **values)

    def _changed(self, old: Link) -> Link:
        pick = self._dice.choice
        match pick(["mac", "mtu", "up", "up", "master", "alias", "group"]):
            case "mac" if not isinstance(old, Gre):
                return replace(old, mac=pick(MACS))
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

    def _beside(self) -> Noun:
        pick = self._dice.choice
        link = pick([*LINKS, "v0", "b0"])
        match pick(["address", "address", "route", "route", "neighbour", "proxy", "fdb"]):
            case "address":
                return address(pick(LOCALS), link)
            case "route":
                six = self._dice.random() < 0.3
                via = pick(GATEWAYS6 if six else GATEWAYS)
                onlink = via is not None and pick([True, False])
                return route(pick(DESTINATIONS6 if six else DESTINATIONS), link, via, onlink)
            case "neighbour":
                link = pick(["b0", "t0", "v0", "x0"])
                return neighbour(pick(["192.0.2.9", "10.9.9.9", "2001:db8::9"]), pick(MACS), link)
            case "proxy":
                ip = pick(["192.0.2.9", "10.9.9.9", "2001:db8::9"])
                return ProxyNeighbour(link=pick(["b0", "t0", "v0", "x0"]), address=ip_address(ip))
            case _:
                remote = ip_address(pick(["192.0.2.50", "192.0.2.51", "2001:db8::50"]))
                return Fdb(link=pick(["x0", "x1", "x1", "t0"]), mac=pick(MACS), remote=remote)


@contextmanager
def both(netns: str) -> Iterator[tuple[FakeKernel, NetlinkBackend]]:
    with ExitStack() as opened:
        host = SystemHost("cn:judge", netns)
        opened.callback(host.close)
        real = NetlinkBackend(host)
        opened.callback(real.close)
        yield FakeKernel(), real


def state(driver: Driver) -> list[str]:
    """What the operations led to; a namespace has more links where gre is loaded."""
    found = driver.snapshot().values()
    return sorted(str(noun) for noun in found if not set(LINKS).isdisjoint(noun.key))


def end(driver: Driver, operation: Operation) -> str:
    """How it ended: the class of its error, if any."""
    error = driver.apply([operation]).error
    return type(error).__name__ if error else "done"


@pytest.mark.parametrize("seed", range(10))
def test_random_operations(seed: int, netns: str):
    run(Draw(seed, KINDS), netns)


@pytest.mark.needs("gretap")
@pytest.mark.needs("ip6gretap")
@pytest.mark.needs("gre")
@pytest.mark.needs("geneve")
@pytest.mark.parametrize("seed", range(2))
def test_random_operations_on_all_tunnels(seed: int, netns: str):
    run(Draw(seed, ["bridge", "tap", "veth", *TUNNELS, *TUNNELS]), netns)


def run(draw: Draw, netns: str) -> None:
    """Have both kernels do the same; the first difference is told with all that led to it."""
    with both(netns) as (fake, real):
        said: list[str] = []
        for _ in range(80):
            operation = draw.operation(list(fake.snapshot().values()))
            ends = end(fake, operation), end(real, operation)
            said.append(f"{operation}: {ends[0]}")
            assert ends[0] == ends[1], "\n".join(said)
            assert state(fake) == state(real), "\n".join(said)
