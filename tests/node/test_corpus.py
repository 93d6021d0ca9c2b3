"""Corpora of frames on real links: what is hostile reaches nobody, what is honest passes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

import snnet
from snnet.system.netns import in_netns, open_netns
from tests.conftest import ip
from tests.node import corpus
from tests.node.conftest import make_world
from tests.node.world import RealWorld, container
from tests.ports import wait_for_ports

pytestmark = pytest.mark.kernel

_SETTLE = 0.5


class Site:
    """A node with three guests: the sender, its neighbour, and one of another tenant."""

    def __init__(self, world: RealWorld, make_netns: Callable[[], str], mode: str) -> None:
        self._world = world
        self._make_netns = make_netns
        self._open: list[socket.socket] = []
        self._host = world.kernel.host.netns.fd
        config = world.config(mode=snnet.NetworkMode(mode))
        self.node = world.node(config=config)
        self.bridged = mode == "gre_tunnel"
        self.sender, place = self._guest(9)
        self.neighbour, near = self._guest(10)
        # Bridged tenants may have equal addresses, routed ones may not.
        self.stranger, _ = self._guest(9, tenant=2, subnet_number=1 if self.bridged else 2)
        wait_for_ports(world.netns)
        bridges = [link for link in world.links() if link.kind == "bridge"]
        mine = next((link for link in bridges if link.name == place.bridge), None)
        host_mac = mine.mac if mine else self._host_end(place)
        for bridge in bridges:
            # A bridge that snoops gives reports to routers alone; here it is asked for guards.
            ip("link", "set", bridge.name, "type", "bridge", "mcast_snooping", "0",
               netns=world.netns)  # fmt: skip
        assert isinstance(place.ip, IPv4Address)
        assert isinstance(near.ip, IPv4Address)
        self.place = corpus.Place(
            mac=place.mac,
            ip=place.ip,
            neighbour_mac=near.mac,
            neighbour=near.ip,
            host_mac=str(host_mac),
            host=IPv4Address("192.0.2.11"),
            gateway=IPv4Address("10.1.0.1"),
        )
        self.host = [self._raw(protocol) for protocol in (1, 2, 6, 17, 47, 50, 132)]

    def _guest(self, number: int, **where: int) -> tuple[socket.socket, snnet.Vnic]:
        vnic = self.node.create_vnic(container(number, **where)).vnic
        space = self._make_netns()
        assert vnic.peer_name is not None
        ip("link", "set", vnic.peer_name, "netns", space, "name", "eth0", netns=self._world.netns)
        ip("link", "set", "eth0", "up", netns=space)
        fd = open_netns(space)
        self._open.append(in_netns(fd, lambda: corpus.raw_socket("eth0")))
        return self._open[-1], vnic

    def _host_end(self, vnic: snnet.Vnic) -> str:
        link = self._world.link(vnic.link_name)
        assert link is not None
        return str(link.mac)

    def _raw(self, protocol: int) -> socket.socket:
        """What the host's own stack takes: raw(7) sockets get it after the firewall."""

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            sock.setblocking(False)
            return sock

        self._open.append(in_netns(self._host, make))
        return self._open[-1]

    def send(self, frames: corpus.Frames) -> None:
        for sock in self._open:
            received(sock)
        for frame in frames.values():
            self.sender.send(frame)
        time.sleep(_SETTLE)

    def neighbours(self) -> str:
        return self._world.run("ip", "neighbour", "show")

    def close(self) -> None:
        for sock in self._open:
            sock.close()


def received(sock: socket.socket) -> bytes:
    """All that has arrived, without what the socket's own host sent."""
    found = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data, address = sock.recvfrom(65535)
            outgoing = isinstance(address, tuple) and address[2:3] == (socket.PACKET_OUTGOING,)
            found += b"" if outgoing else data
    return found


def arrived(sock: socket.socket, frames: corpus.Frames) -> list[str]:
    """The names of the frames that are in what has arrived."""
    data = received(sock)
    return [name for name in frames if corpus.token(name) in data]


@pytest.fixture(params=["nftables", "iptables"])
def world(request: pytest.FixtureRequest) -> Iterator[RealWorld]:
    made = make_world(request, f"netlink-vxlan-{request.param}")
    assert isinstance(made, RealWorld)
    yield made
    made.close()


@pytest.fixture(params=["gre_tunnel-0", "gre_tunnel-1", "routed-1"])
def site(
    request: pytest.FixtureRequest, world: RealWorld, make_netns: Callable[[], str]
) -> Iterator[Site]:
    """By mode, and by whether IP's hooks see bridged frames."""
    mode, _, shown = request.param.partition("-")
    world.run("sysctl", "-w", f"net.bridge.bridge-nf-call-iptables={shown}")
    made = Site(world, make_netns, mode)
    yield made
    made.close()


def test_hostile_frames_reach_nobody(site: Site) -> None:
    frames = corpus.hostile(site.place, bridged=site.bridged)
    assert len(frames) >= 150
    site.send(frames)
    assert arrived(site.neighbour, frames) == []
    assert arrived(site.stranger, frames) == []
    for sock in site.host:
        assert arrived(sock, frames) == []
    lies = {str(address) for address in site.place.lies.values()} - {str(site.place.neighbour)}
    assert not [line for line in site.neighbours().splitlines() if line.split()[0] in lies]


def test_nothing_reaches_the_host_or_another_tenant(site: Site) -> None:
    """Nor what a guest sends with its own addresses."""
    frames = corpus.to_the_host(site.place)
    site.send(frames)
    assert arrived(site.stranger, frames) == []
    for sock in site.host:
        assert arrived(sock, frames) == []


@pytest.mark.parametrize("site", ["gre_tunnel-0", "gre_tunnel-1"], indirect=True)
def test_honest_frames_pass(site: Site) -> None:
    frames = corpus.honest(site.place)
    assert len(frames) >= 50
    site.send(frames)
    here = arrived(site.neighbour, frames)
    assert [name for name in frames if name not in here] == []
    assert arrived(site.stranger, frames) == []
