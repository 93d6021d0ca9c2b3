"""The netlink backend on the real kernel, compared with a floor in the same run.

See ``benchmarks.floor`` for what the floor does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import snnet
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Link, Remove, Tap
from snnet.system.host import RealHost
from snnet.system.process import run as run_process

from .fake import config, vnics
from .floor import BURST, Floor, settle, taps
from .timing import Result, each, median, seconds

ROUNDS = 15


def make_uplink() -> None:
    """Make the uplink in the network namespace of the process, which must be a new one."""
    for words in (
        "link add eth0 type veth peer name far0",
        "address add 192.0.2.11/24 dev eth0",
        "link set eth0 up",
        "link set far0 up",
    ):
        run_process(["ip", *words.split()])


def run() -> Iterator[Result]:
    """Run the benchmarks in the network namespace of the process, which must be a new one."""
    make_uplink()
    with ExitStack() as stack:
        host = RealHost(owner="cn:bench")
        stack.callback(host.close)
        backend = NetlinkBackend(host)
        stack.callback(backend.close)
        node = stack.enter_context(
            snnet.ComputeNode("cn-1", config(tunnel="vxlan"), backend="netlink", firewall="none")
        )
        node.init()
        yield from against_the_floor(node, backend)
        yield from a_thousand_links(node, backend)


def against_the_floor(node: snnet.ComputeNode, backend: NetlinkBackend) -> Iterator[Result]:
    configs = vnics()[: BURST + 1]
    # The bridge and the tunnel of the subnet exist before the timing starts.
    keeper, configs = configs[0], configs[1:]
    bridge = node.create_vnic(keeper).vnic.bridge
    links = taps(bridge)
    floor = Floor()
    prepared = [floor.prepare(backend, tap) for tap in links]
    ratios, creates, floors, destroys = [], [], [], []
    for _ in range(ROUNDS):
        settle()
        floors.append(each(floor.make, prepared))  # type: ignore[arg-type]
        backend.apply([Remove(tap) for tap in links])
        settle()
        creates.append(each(node.create_vnic, configs))  # type: ignore[arg-type]
        destroys.append(each(node.destroy_vnic, configs[:4]))  # type: ignore[arg-type]
        clear(node, backend, keeper)
        ratios.append(creates[-1] / floors[-1])
    floor.close()
    yield Result("netlink: floor, a tap by prepared messages", median(floors) * 1e6, "us")
    yield Result("netlink: create_vnic of a tap", median(creates) * 1e6, "us")
    yield Result("netlink: create_vnic of a tap / floor", median(ratios), "times", 2.0)
    yield Result("netlink: destroy_vnic of a tap", median(destroys) * 1e6, "us")


def clear(node: snnet.ComputeNode, backend: NetlinkBackend, keeper: snnet.VnicConfig) -> None:
    """Remove all VNICs except the keeper's, in one request."""
    (kept,) = [vnic for vnic in node.topology().vnics if vnic.vnic_id == keeper.vnic_id]
    links = backend.snapshot({Tap}).values()
    backend.apply(
        [Remove(link) for link in links if isinstance(link, Link) and link.name != kept.link_name]
    )
    node.rebuild_topology()


def a_thousand_links(node: snnet.ComputeNode, backend: NetlinkBackend) -> Iterator[Result]:
    configs = vnics()
    for cfg in configs:
        node.create_vnic(cfg)
    dumps = [seconds(lambda: backend.snapshot({Link})) for _ in range(ROUNDS)]
    rebuilds = [seconds(node.rebuild_topology) for _ in range(ROUNDS)]
    resets = seconds(node.reset_network)
    yield Result("netlink: dump of 1,000 links", median(dumps) * 1000, "ms")
    yield Result("netlink: rebuild of 1,000 VNICs", median(rebuilds) * 1000, "ms", 100)
    yield Result("netlink: reset of 1,000 VNICs", resets * 1000, "ms")
