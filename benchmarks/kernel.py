"""The netlink backend on the real kernel, compared with a floor in the same run.

The floor does only what the kernel requires: it sends the same messages, prepared
beforehand, over the same kind of socket, one tap at a time.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import snnet
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Link, Remove, Tap
from snnet.system.host import RealHost
from snnet.system.process import run as run_process

from .fake import config, vnics
from .timing import Result, each, median, seconds

ROUNDS, BURST = 15, 40

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_TUN_EXCL = 0x2, 0x1000, 0x8000
IFREQ = struct.Struct("=16sH22x")

# linux/netlink.h
NLMSG_HDRLEN, ERROR = 16, struct.Struct("=i")


def run() -> Iterator[Result]:
    """Run the benchmarks in the network namespace of the process, which must be a new one."""
    for words in (
        "link add eth0 type veth peer name far0",
        "address add 192.0.2.11/24 dev eth0",
        "link set eth0 up",
        "link set far0 up",
    ):
        run_process(["ip", *words.split()])
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
    taps = [
        Tap(
            name=f"floor{number}",
            group=0,
            mac=f"fe:00:00:00:01:{number:02x}",
            mtu=1450,
            master=bridge,
            alias=f"snnet1 o=cn:cn-1 k=vm t=t1 s=s1 v=v{number} i=i{number} a=10.1.0.{number}",
        )
        for number in range(BURST)
    ]
    messages = [(tap.name.encode(), bytes(backend.links.tap_message(tap))) for tap in taps]
    floor = Floor()
    ratios, creates, floors, destroys = [], [], [], []
    for _ in range(ROUNDS):
        settle()
        floors.append(each(floor.make, messages))
        backend.apply([Remove(tap) for tap in taps])
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


def settle() -> None:
    """Wait until the kernel has finished its work after a delete."""
    time.sleep(0.1)


class Floor:
    """Creates taps with the smallest number of system calls, over one plain socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.connect((0, 0))
        self._answer = bytearray(4096)

    def make(self, item: object) -> None:
        """Create one persistent tap with all its attributes."""
        name, message = item  # type: ignore[misc]
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name, IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL))
        self._socket.send(message)
        self._socket.recv_into(self._answer)
        if ERROR.unpack_from(self._answer, NLMSG_HDRLEN)[0]:
            raise OSError(-ERROR.unpack_from(self._answer, NLMSG_HDRLEN)[0], "floor")
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
        os.close(fd)

    def close(self) -> None:
        self._socket.close()


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
