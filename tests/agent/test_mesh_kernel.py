"""Topology "mesh" on the kernel: hosts as namespaces on one wire, their agents in this process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from snnet import Agent, Cluster, NetworkConfig, open_registry
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.netns import in_netns
from snnet.system.process import run
from tests.pings import pings

pytestmark = pytest.mark.kernel

OUTSIDE = "192.0.2.99"
CONFIG = NetworkConfig(
    topology="mesh", compute_nets=["192.0.2.0/24"], allow_to_nets=[f"{OUTSIDE}/32"]
)
ROLES = {"net-1": "network", "net-2": "network", "cn-1": "compute", "cn-2": "compute"}


class Site:
    """Two network hosts and two compute hosts on a bridge in a namespace of its own."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.inner: set[str] = set()
        """The namespaces of concentrators, which outlive agents and hosts."""
        self.open.callback(self._remove_inner)
        self.registry = self.open.enter_context(open_registry("memory:"))
        self.cluster = Cluster(self.registry)
        self.wire = self.space("wire")
        self.wire.ip(["link add wire up type bridge"])
        self.hosts: dict[str, Namespace] = {}
        self.agents: dict[str, Agent] = {}
        self.outside = self.host("outside", OUTSIDE)
        for number, (name, role) in enumerate(ROLES.items(), 11):
            space = self.host(name, f"192.0.2.{number}")
            agent = Agent(name, CONFIG, registry=self.registry, roles=[role], netns=space.fd)
            self.agents[name] = self.open.enter_context(agent)

    def space(self, name: str) -> Namespace:
        space = Namespace(name)
        self.open.callback(space.close)
        self.open.callback(end_processes, [space])
        return space

    def host(self, name: str, address: str) -> Namespace:
        space = self.hosts[name] = self.space(name)
        peer = f"peer name eth0 netns {space.path}"
        self.wire.ip([f"link add {name} up master wire type veth {peer}"])
        space.ip(["link set lo up", "link set eth0 up", f"address add {address}/24 dev eth0"])
        return space

    def settle(self, patience: float = 30.0) -> None:
        """Step the agents until none has anything to do."""
        end = time.monotonic() + patience
        while True in [agent.step(0) for agent in self.agents.values()]:
            for agent in self.agents.values():
                self.inner |= {one.netns for one in agent.node.topology().concentrators}
            assert time.monotonic() < end, [agent.status() for agent in self.agents.values()]

    def _remove_inner(self) -> None:
        for name in self.inner:
            for pid in run(["ip", "netns", "pids", name], check=False).stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "delete", name], check=False)

    def guest(self, name: str) -> Namespace:
        """A container on the VNIC, with its addresses and the gateways of its network."""
        vnic = self.cluster.get_vnic("acme", name)
        made = {one.vnic_id: one for one in self.agents[str(vnic.node)].node.topology().vnics}
        peer, space = made[name].peer_name, self.space(f"guest-{name}")
        self.hosts[str(vnic.node)].ip([f"link set {peer} netns {space.path} name eth0 up"])
        space.ip(["link set lo up", f"link set eth0 mtu {made[name].mtu} up"])
        known = made[name]
        for ip, subnet, gateway in zip(vnic.ips, known.subnets, known.gateways, strict=True):
            nodad = "nodad" if ip.version == 6 else ""
            space.ip([f"address add {ip}/{subnet.prefixlen} dev eth0 {nodad}".strip()])
            space.ip([f"route replace default via {gateway}"])  # by advertisement there is one
        return space

    def kill(self, name: str) -> None:
        """The host loses its power: nothing of it answers."""
        self.wire.ip([f"link set {name} down"])
        self.agents.pop(name).close()

    def place(self) -> str:
        entries = self.registry.read("v1/concentrators/acme/").entries
        return str(next(iter(entries.values())).document["node"])


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with site.open:
        site.settle()
        site.cluster.create_network("web", tenant="acme", subnet=("10.1.0.0/24", "fd00:1::/64"))
        for number in (1, 2):
            site.cluster.create_vnic(
                f"v{number}", tenant="acme", network="web", node=f"cn-{number}", role="container"
            )
        site.settle()
        yield site


class Ear:
    """Hears which addresses are asked for by ARP or neighbour discovery on a host's vxlan."""

    def __init__(self, site: Site, name: str) -> None:
        (subnet,) = site.agents[name].node.topology().subnets
        assert subnet.tunnel is not None
        self._socket = in_netns(site.hosts[name].fd, _packets)
        self._socket.bind((subnet.tunnel.name, _ALL))

    def asked(self) -> set[str]:
        found = set()
        with suppress(BlockingIOError):
            while True:
                frame = self._socket.recv(2000)
                if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1":
                    found.add(str(ip_address(frame[38:42])))
                elif frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135:
                    found.add(str(ip_address(frame[62:78])))
        return found

    def close(self) -> None:
        self._socket.close()


_ALL = 0x0003  # ETH_P_ALL, linux/if_ether.h


def _packets() -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    packets.setblocking(False)
    return packets


def test_one_hop_and_nothing_asked(site: Site) -> None:
    """Both families, with full-size packets; the concentrator's host hears nothing of it."""
    assert [vnic.error for vnic in site.cluster.list_vnics()] == [None, None]
    first, second = site.guest("v1"), site.guest("v2")
    mine, theirs = (site.cluster.get_vnic("acme", name).ips for name in ("v1", "v2"))
    with closing(Ear(site, site.place())) as ear:
        for address, other in zip(theirs, mine, strict=True):
            size = 1450 - (28 if address.version == 4 else 48)
            assert pings(first, address, size)
            assert not pings(first, address, size + 1, patience=1)
            assert pings(second, other, size)
        for space in (first, second):
            space.ip(["neigh flush dev eth0"])
        assert all(pings(first, address) for address in theirs)
        assert ear.asked().isdisjoint(map(str, (*mine, *theirs))), "nobody had to ask for them"
        assert not pings(first, "10.1.0.77", patience=1)
        assert "10.1.0.77" in ear.asked(), "what is unknown is asked for, at the subnet's hosts"
    assert pings(first, "10.1.0.1")
    assert pings(first, OUTSIDE)
    for agent in site.agents.values():
        assert agent.node.verify() == []


def test_a_network_host_is_killed_while_pings_run(site: Site) -> None:
    """Between the guests nothing is lost, and the way out is back by the other network host."""
    first, _ = site.guest("v1"), site.guest("v2")
    assert pings(first, OUTSIDE)
    place = site.place()
    count = 60
    argv = ["nsenter", f"--net={first.path}", "ping", "-i", "0.05", "-c", str(count), "10.1.0.3"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        time.sleep(0.3)
        site.kill(place)
        began = time.monotonic()
        site.settle()
        assert site.place() != place
        while not pings(first, OUTSIDE, patience=1):
            assert time.monotonic() - began < 20
        said, _ = running.communicate()
    assert f"{count} packets transmitted, {count} received, 0% packet loss" in said
    assert pings(first, "10.1.0.1")


def test_a_concentrator_whose_namespace_somebody_deletes(site: Site) -> None:
    """Its processes and the agent keep the old one alive, under no name."""
    first = site.guest("v1")
    assert pings(first, OUTSIDE)
    agent = site.agents[site.place()]
    (side,) = agent.node.topology().concentrators
    run(["ip", "netns", "delete", side.netns])
    agent._drift._complete = 0.0  # the kernel tells nobody: the next complete look finds it
    end = time.monotonic() + 30
    while agent.node.verify() or not pings(first, OUTSIDE, patience=1):
        agent.step(0.1)
        assert time.monotonic() < end, agent.node.verify()
    site.settle()
    assert pings(first, "10.1.0.1")
    (cnci,) = agent._network.running.values()
    assert cnci.verify() == []
    pids = run(["ip", "netns", "pids", side.netns]).stdout.split()
    assert [Path(f"/proc/{pid}/comm").read_text() for pid in pids] == ["dnsmasq\n"]
