"""The kernel tells of changes in a namespace."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator

import pytest

from snnet.backends.netlink.kernel import Kernel
from snnet.backends.netlink.shaping import Disciplines
from snnet.contract import Shaper
from snnet.system import changes
from snnet.system.changes import KernelChanges
from snnet.system.netns import open_netns
from snnet.system.process import run

pytestmark = pytest.mark.kernel

_SET_UP = (
    "ip link add br0 type bridge",
    "ip link add v0 type veth peer name v1",
    # Or else IPv6 makes changes of its own for seconds.
    "ip link set br0 addrgenmode none up",
    "ip link set v0 addrgenmode none up",
    "ip link set v1 addrgenmode none up",
    "ip address add 192.0.2.1/24 dev v0",
    "ip link set v0 master br0",
    "tc qdisc add dev v0 root handle 736e: tbf rate 20mbit burst 72kb latency 50ms",
    "tc qdisc add dev v0 clsact",
    "tc filter add dev v0 ingress pref 29550 u32 match u32 0 0 classid 1:1",
)

SETTLED = 0.15
"""Seconds without a message, after which none is on its way."""


class Place:
    """A namespace with a bridge and a veth pair, watched."""

    def __init__(self, netns: str) -> None:
        self.fd = open_netns(netns)
        for command in _SET_UP:
            self.do(command)
        self.changes = KernelChanges(self.fd)

    def do(self, command: str) -> None:
        run(command.split(), netns=self.fd)

    def is_told(self, seconds: float = 2.0) -> bool:
        """Whether a change is noticed in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.changes.noticed():
                return True
            time.sleep(0.01)
        return False

    def is_quiet_after(self, act: Callable[[], None]) -> bool:
        """Whether nothing is told after it, at least one time in five: others change things too."""
        for _ in range(5):
            act()
            if not self.is_told(0.3):
                return True
            while self.is_told(1.1):
                pass
        return False


@pytest.fixture
def place(netns: str) -> Iterator[Place]:
    place = Place(netns)
    # The state of new links is told of up to a second later (net/core/link_watch.c).
    while place.is_told(1.1):
        pass
    yield place
    place.changes.close()


CHANGES = (
    "ip link set v0 mtu 1400",
    "bridge link set dev v0 isolated on",
    "bridge link set dev v0 learning off",
    "ip address add 192.0.2.9/24 dev br0",
    "ip -6 address add fd00::1/64 dev br0 nodad",
    "ip route add 198.51.100.0/24 via 192.0.2.7 dev v0 onlink",
    "ip rule add from 192.0.2.0/24 table 77",
    "ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0 nud permanent",
    "bridge fdb add 02:00:00:00:00:07 dev v0 master static",
    "sysctl -qw net.ipv4.conf.v0.forwarding=1",
    "sysctl -qw net.ipv4.conf.v0.rp_filter=1",
    "nft add table inet other",
    "tc qdisc add dev v0 root handle 0: noqueue",  # libvirt does so whenever a guest starts
    "tc filter delete dev v0 ingress",
    "tc qdisc delete dev v0 clsact",
    "ip address delete 192.0.2.1/24 dev v0",
    "ip link set v0 nomaster",
    "ip link set v0 down",
    "ip link delete v0",
)


def test_changes_are_told(place: Place) -> None:
    untold = []
    for command in CHANGES:
        place.do(command)
        if not place.is_told():
            untold.append(command)
        # One change may be told of in several messages.
        while place.is_told(SETTLED):
            pass
    assert untold == []


def test_what_the_kernel_learns_is_not(place: Place) -> None:
    """A neighbour that answers, a multicast address, or a learned fdb entry is not a change."""

    def learn() -> None:
        place.do("ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0 nud reachable")
        place.do("ip neigh replace 224.0.0.22 lladdr 01:00:5e:00:00:16 dev v0 nud noarp")
        place.do("bridge fdb replace 02:00:00:00:00:08 dev v0 master dynamic")

    assert place.is_quiet_after(learn)


def test_reading_a_queue_is_not(place: Place) -> None:
    """The kernel tells everybody; an agent that heard its own looks would never rest."""

    def look() -> None:
        kernel = Kernel(place.fd)
        found = Disciplines(kernel).shapers.find(Shaper(link="v0", rate=20_000_000))
        kernel.close()
        assert found is not None

    assert place.is_quiet_after(look)


def test_it_is_not_opened_by_halves() -> None:
    """Whoever has it relies on it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    for spare in (0, 1):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                changes._open()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
