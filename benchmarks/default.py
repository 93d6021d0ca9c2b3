"""What a node costs with its default drivers, netlink and nftables, on the real kernel.

The floor makes the same VNICs with their rules by prepared messages (``benchmarks.floor``).  What
does not wait in the kernel is compared by processor time, so that a shared machine does not
decide.  ``python -m benchmarks.default 1000`` measures many VNICs alone, that many.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import snnet
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import LINK_GROUP, Link, Remove
from snnet.system.host import RealHost

from .__main__ import enter_namespace
from .fake import config, vnics
from .floor import BURST, RuledFloor, settle
from .kernel import make_uplink
from .timing import Result, each, median, seconds

ROUNDS = 9
MANY, SUBNETS = 5000, 10
RESETS = 3
CARRIER = 1.5
"""Seconds until the kernel has noted of all new links that they have no carrier."""
DESTROYED = 5
CPU = time.process_time


def run() -> Iterator[Result]:
    """Run the benchmarks in the namespace of the process, which has an uplink in 192.0.2.0/24."""
    yield from _imports()
    yield Result("default: init on an empty host", median(_inits()) * 1000, "CPU ms")
    with _opened() as (node, backend, floor):
        yield from _one_by_one(node, backend, floor)
        yield from _many(node, backend, floor)


@contextmanager
def _opened() -> Iterator[tuple[snnet.ComputeNode, NetlinkBackend, RuledFloor]]:
    """A node, and beside it a backend and the floor of another owner."""
    with ExitStack() as stack:
        host = RealHost(owner="cn:bench")
        stack.callback(host.close)
        backend = NetlinkBackend(host)
        stack.callback(backend.close)
        node = stack.enter_context(_node())
        node.init()
        floor = RuledFloor(host)
        stack.callback(floor.close)
        yield node, backend, floor


def _node() -> snnet.ComputeNode:
    return snnet.ComputeNode("cn-1", config(tunnel="vxlan"), api_timeout=600)


def _imports() -> Iterator[Result]:
    nothing, package = "", "import snnet"
    opened = (
        "import snnet\n"
        "config = snnet.NetworkConfig(compute_nets=['192.0.2.0/24'], tunnel='vxlan')\n"
        "with snnet.ComputeNode('cn-1', config) as node: node.init()\n"
    )
    times: dict[str, list[float]] = {text: [] for text in (nothing, package, opened)}
    for _ in range(ROUNDS):  # in turn: the speed of a machine changes
        for text, found in times.items():
            command = [sys.executable, "-c", text]
            found.append(seconds(lambda command=command: subprocess.run(command, check=True)))  # type: ignore[misc]
    bare = median(times[nothing])
    for text, what in ((package, "import snnet"), (opened, "import, open, init")):
        yield Result(f"default: {what}, beyond Python", (median(times[text]) - bare) * 1000, "ms")
        yield Result(f"default: {what} / bare Python", median(times[text]) / bare, "times")


def _inits() -> Iterator[float]:
    for _ in range(ROUNDS):
        with _node() as node:
            yield seconds(node.init, CPU)


def _one_by_one(
    node: snnet.ComputeNode, backend: NetlinkBackend, floor: RuledFloor
) -> Iterator[Result]:
    keeper, *configs = vnics()[: BURST + 1]
    node.create_vnic(keeper)
    prepared = [floor.prepare_vnic(node, backend, cfg) for cfg in configs]
    created: list[float] = []
    destroyed: list[float] = []
    first: list[float] = []
    last: list[float] = []
    for _ in range(ROUNDS):
        settle()
        base = each(floor.make_vnic, prepared, CPU)  # type: ignore[arg-type]
        taps = [one.link for one in prepared[:DESTROYED]]
        gone = each(lambda tap: backend.apply([Remove(tap)]), taps)  # type: ignore[arg-type]
        node.rebuild_topology()
        node.destroy_vnics(configs)
        settle()
        created.append(each(node.create_vnic, configs, CPU) / base)  # type: ignore[arg-type]
        settle()
        destroyed.append(each(node.destroy_vnic, configs[:DESTROYED]) / gone)  # type: ignore[arg-type]
        node.destroy_vnics(configs)
        others = [_vnic(number, subnet) for number, subnet in enumerate(range(101, 105))]
        settle()
        first.append(each(node.create_vnic, others, CPU) / base)
        last.append(each(node.destroy_vnic, others) / gone)
    node.destroy_vnic(keeper)
    yield Result("default: create_vnic of a tap / floor", median(created), "times", 1.4)
    yield Result("default: destroy_vnic / removal of a link", median(destroyed), "times", 1.05)
    yield Result("default: first VNIC of a subnet / floor", median(first), "times")
    yield Result("default: last VNIC of a subnet / removal of a link", median(last), "times")


def _vnic(number: int, subnet: int) -> snnet.VnicConfig:
    return snnet.VnicConfig(
        tenant_id="t1", subnet_id=f"s{subnet}", vnic_id=f"v{number}", instance_id=f"i{number}",
        concentrator_id="c1", concentrator_ip="192.0.2.10", subnet=f"10.{subnet}.0.0/16",
        subnet_key=subnet, ip=f"10.{subnet}.{number // 200}.{number % 200 + 2}",
    )  # fmt: skip


def _many(
    node: snnet.ComputeNode, backend: NetlinkBackend, floor: RuledFloor, count: int = MANY
) -> Iterator[Result]:
    """Few VNICs, then many, each time a burst more: what a create costs beside them."""
    configs = [_vnic(number, 1 + number % SUBNETS) for number in range(count + BURST)]
    burst, rest = configs[:BURST], configs[BURST:]
    bulk = []
    for _ in range(3):
        bulk.append(seconds(lambda: _all(node, rest[:1000]), CPU) / 1000)
        node.destroy_vnics(rest[:1000])
    few = _beside(node, backend, floor, burst, rest[:SUBNETS])
    node.destroy_vnics(burst)
    many = _beside(node, backend, floor, burst, rest[SUBNETS:])
    base = few[1]
    yield Result(
        "default: a tap of create_vnics of 1,000 / floor", median(bulk) / base, "times", 1.1
    )
    yield Result(
        f"default: create_vnic with {count:,} / with {SUBNETS}", many[0] / few[0], "times", 1.1
    )
    yield Result(f"default: floor with {count:,} / with {SUBNETS}", many[1] / few[1], "times")
    dump = median([seconds(lambda: backend.snapshot({Link}), CPU) for _ in range(3)])
    again = _vnic(count + BURST, 1)
    verified, verify = _changed_or_not(node, again, node.verify)
    rebuilt, rebuild = _changed_or_not(node, again, node.rebuild_topology)
    yield Result(f"default: dump of {count:,} links", dump * 1000, "CPU ms")
    yield Result(f"default: verify of {count:,} VNICs / dump", verify / dump, "times", 3.2)
    yield Result(
        f"default: verify of {count:,} VNICs after a change of rules / dump",
        verified / dump,
        "times",
    )
    for time_, when in ((rebuild, ""), (rebuilt, ", after a change of rules")):
        yield Result(
            f"default: rebuild of {count:,}, a VNIC beyond the dump{when}",
            (time_ - dump) / count * 1e6,
            "CPU us",
        )
    yield Result(
        f"default: to_dict() of {count:,} VNICs",
        seconds(node.topology().to_dict, CPU) * 1000,
        "CPU ms",
    )
    yield from _resets(node, backend, configs[:count])


def _resets(
    node: snnet.ComputeNode, backend: NetlinkBackend, configs: list[snnet.VnicConfig]
) -> Iterator[Result]:
    """A reset, and one deletion of the group that the same links are in, by the clock."""

    def alone() -> None:
        backend.links.delete_group(LINK_GROUP)

    resets, deletions = [], []
    for _ in range(RESETS):
        for times, work in ((resets, node.reset_network), (deletions, alone)):
            _all(node, configs)
            time.sleep(CARRIER)
            node.rebuild_topology()
            times.append(seconds(work))
        node.rebuild_topology()
        node.reset_network()
    many = f"of {len(configs):,} VNICs"
    yield Result(f"default: reset {many}", median(resets), "s")
    yield Result(
        f"default: reset {many} / deletion of the links",
        median(resets) / median(deletions),
        "times",
        1.15,
    )


def _changed_or_not(
    node: snnet.ComputeNode, cfg: snnet.VnicConfig, call: Callable[[], object]
) -> tuple[float, float]:
    """Seconds of a call after a change of the node's rules, and when nothing has changed."""
    changed, unchanged = [], []
    for _ in range(3):
        node.create_vnic(cfg)
        node.destroy_vnic(cfg)
        changed.append(seconds(call, CPU))
        unchanged.append(seconds(call, CPU))
    return median(changed), median(unchanged)


def _beside(
    node: snnet.ComputeNode,
    backend: NetlinkBackend,
    floor: RuledFloor,
    burst: list[snnet.VnicConfig],
    others: list[snnet.VnicConfig],
) -> tuple[float, float]:
    """Seconds of a create and of the floor, with these others there."""
    _all(node, others)
    prepared = [floor.prepare_vnic(node, backend, cfg) for cfg in burst]
    settle()
    base = each(floor.make_vnic, prepared, CPU)  # type: ignore[arg-type]
    node.rebuild_topology()
    node.destroy_vnics(burst)
    settle()
    return each(node.create_vnic, burst, CPU), base  # type: ignore[arg-type]


def _all(node: snnet.ComputeNode, configs: list[snnet.VnicConfig]) -> None:
    for result in node.create_vnics(configs):
        if result.error:
            raise result.error


if __name__ == "__main__":
    enter_namespace()
    make_uplink()
    with _opened() as opened:
        for result in _many(*opened, *map(int, sys.argv[1:])):
            print(result, flush=True)
