"""``python -m benchmarks.peers``: the same links by snnet, by pyroute2 and by ``ip``, in turn.

A tap and a veth pair on a bridge, with MAC, MTU, group, alias and no IPv6 on the host's end.  The
floor sends prepared messages (``benchmarks.floor``).  snnet also checks, plans and remembers, and
announces the guest's address; with nftables it makes the guest's rules, and so does its floor.
Processor time counts, that of programs included.  Last, a hundred VNICs are destroyed by 32
threads, by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from pyroute2 import IPRoute

import snnet
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import LINK_GROUP, Link, Remove, Tap, Veth
from snnet.system.host import RealHost
from snnet.system.process import run as run_process

from .__main__ import enter_namespace
from .fake import config
from .floor import BURST, RuledFloor, quieten, settle
from .kernel import make_uplink
from .timing import Result, each, median, seconds, with_programs

ROUNDS = 9
MANY, THREADS, DESTROYED = 1000, 32, 100
ROLES = {"tap": snnet.VnicRole.TENANT_VM, "veth pair": snnet.VnicRole.TENANT_CONTAINER}
MARKS = {
    ("tap", "none"): 1.25,
    ("tap", "nftables"): 1.4,
    ("veth pair", "none"): 1.25,
    ("veth pair", "nftables"): 1.5,
}
"""How many times its floor a create may take."""


def vnic(number: int, role: snnet.VnicRole = snnet.VnicRole.TENANT_VM) -> snnet.VnicConfig:
    return snnet.VnicConfig(
        role=role, tenant_id="t1", subnet_id="s1", vnic_id=f"v{number}", instance_id=f"i{number}",
        concentrator_id="c1", concentrator_ip="192.0.2.10", subnet="10.1.0.0/16", subnet_key=1,
        ip=f"10.1.{1 + number // 200}.{number % 200 + 2}",
    )  # fmt: skip


class Peers:
    """One subnet of a node, and the other ways to make its links."""

    def __init__(self, firewall: str, rounds: int, stack: ExitStack) -> None:
        self.firewall, self.rounds = firewall, rounds
        self.node = stack.enter_context(
            snnet.ComputeNode("cn-1", config(tunnel="vxlan"), firewall=firewall, api_timeout=600)
        )
        self.node.init()
        host = RealHost(owner="cn:bench")
        stack.callback(host.close)
        self.backend = NetlinkBackend(host)
        stack.callback(self.backend.close)
        self.floor = RuledFloor(host)
        stack.callback(self.floor.close)
        self.routes = stack.enter_context(IPRoute())
        self.bridge = self.node.create_vnic(vnic(0)).vnic.bridge

    def creates(self, kind: str) -> Iterator[Result]:
        """Links of a kind, one after the other, by everybody in turn."""
        configs = [vnic(number, ROLES[kind]) for number in range(1, BURST + 1)]
        prepared = [self.floor.prepare_vnic(self.node, self.backend, cfg) for cfg in configs]
        links = [one.link for one in prepared]
        floor, own = "prepared messages", f"snnet, firewall {self.firewall}"
        ways: dict[str, tuple[Callable[..., object], Sequence[object]]] = {
            floor: (self.floor.make_vnic, prepared),
            own: (self.node.create_vnic, configs),
        }
        if self.firewall == "none":
            ways |= {"pyroute2": (self.by_pyroute2, links), "ip": (by_ip, links)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.rounds):
            for name, (make, items) in ways.items():
                settle()
                times[name].append(each(make, items, with_programs))
                self.clear()
        base = times.pop(floor)
        what = f"peers: a {kind} by"
        yield Result(f"{what} {floor} ({self.firewall})", median(base) * 1e6, "CPU us")
        for name, spent in times.items():
            ratios = [one / other for one, other in zip(spent, base, strict=True)]
            mark = MARKS[kind, self.firewall] if name == own else None
            yield Result(f"{what} {name} / prepared", median(ratios), "times", mark)

    def many(self, count: int) -> Iterator[Result]:
        """Many taps at once: by ``create_vnics``, and by one program."""
        configs = [vnic(number) for number in range(1, count + 1)]
        prepared = [self.floor.prepare_vnic(self.node, self.backend, cfg) for cfg in configs]
        lines = [line for one in prepared for line in commands(one.link)]
        batch = "\n".join(" ".join(words) for words in lines)
        ways: dict[str, Callable[[], object]] = {
            "floor": lambda: [self.floor.make_vnic(one) for one in prepared],
            "create_vnics": lambda: self._made(configs),
        }
        if self.firewall == "none":
            ways["ip -batch"] = lambda: run_process(["ip", "-batch", "-"], input=batch, timeout=60)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(min(3, self.rounds)):
            for name, make in ways.items():
                settle()
                times[name].append(seconds(make, with_programs))
                self.clear()
        for name in [*ways][1:]:
            mark = 1.1 if name == "create_vnics" else None
            ratio = median(times[name]) / median(times["floor"])
            what = f"peers: a tap of {count:,} by {name} / prepared ({self.firewall})"
            yield Result(what, ratio, "times", mark)

    def destroys(self) -> Iterator[Result]:
        """A hundred VNICs by 32 threads, and their links alone by as many."""
        configs = [vnic(number) for number in range(1, DESTROYED + 1)]
        ratios = []
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(self.rounds):
                removals = [Remove(link) for link in self._made(configs)]
                settle()
                alone = _by_threads(pool, self._remove, removals)
                self.clear()
                self._made(configs)
                settle()
                ratios.append(_by_threads(pool, self.node.destroy_vnic, configs) / alone)
        what = f"peers: {DESTROYED} destroyed from {THREADS} threads / links alone"
        yield Result(f"{what} ({self.firewall})", median(ratios), "times", 1.0)

    def _made(self, configs: Sequence[snnet.VnicConfig]) -> list[Link]:
        made = self.node.create_vnics(configs)
        assert not any(one.error for one in made)
        return [one.vnic.link for one in made if one.vnic is not None]

    def _remove(self, operation: Remove) -> None:
        self.backend.apply([operation])

    def by_pyroute2(self, link: Tap | Veth) -> None:
        """The calls that its documentation shows."""
        link_of, routes = self.routes.link_lookup, self.routes
        if isinstance(link, Tap):
            routes.link("add", ifname=link.name, kind="tuntap", mode="tap")
        else:
            far = {"ifname": link.peer, "address": link.peer_mac}
            routes.link("add", ifname=link.name, kind="veth", peer=far)
        quieten(link.name)
        (index,), (bridge,) = link_of(ifname=link.name), link_of(ifname=link.master)
        routes.link(
            "set", index=index, address=link.mac, mtu=link.mtu, master=bridge, state="up",
            group=LINK_GROUP, ifalias=link.alias,
        )  # fmt: skip

    def clear(self) -> None:
        """Remove all VNICs but the first."""
        self.node.rebuild_topology()
        kept = vnic(0).vnic_id
        gone = [one for one in self.node.topology().vnics if one.vnic_id != kept]
        self.node.destroy_vnics(vnic(int(one.vnic_id.removeprefix("v")), one.role) for one in gone)


def _by_threads(
    pool: ThreadPoolExecutor, work: Callable[[Any], object], items: Sequence[object]
) -> float:
    return seconds(lambda: list(pool.map(work, items)))


def commands(link: Tap | Veth) -> list[list[str]]:
    """The commands of ip(8) that make a link; what they cannot say is left out."""
    made = ["tuntap", "add", "dev", link.name, "mode", "tap"]
    if isinstance(link, Veth):
        made = ["link", "add", link.name, "type", "veth", "peer", "name", str(link.peer)]
    return [
        made,
        [
            "link", "set", link.name, "address", str(link.mac), "mtu", str(link.mtu), "master",
            str(link.master), "group", str(LINK_GROUP), "alias", f'"{link.alias}"', "up",
        ],
    ]  # fmt: skip


def by_ip(link: Tap | Veth) -> None:
    """A program for each command."""
    first, second = commands(link)
    run_process(["ip", *first])
    quieten(link.name)
    run_process(["ip", *(word.strip('"') for word in second)])


def run(rounds: int = ROUNDS, many: int = MANY, *, by_clock: bool = True) -> Iterator[Result]:
    """Run in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    for firewall in ("none", "nftables"):
        with ExitStack() as stack:
            peers = Peers(firewall, rounds, stack)
            for kind in ROLES:
                yield from peers.creates(kind)
            yield from peers.many(many)
            if by_clock:
                yield from peers.destroys()
            peers.node.reset_network()


if __name__ == "__main__":
    enter_namespace()
    make_uplink()
    for result in run():
        print(result, flush=True)
