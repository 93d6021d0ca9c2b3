"""Two tenants with equal addresses stay apart at ports in groups, on the wire."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest

from snnet import Rule
from snnet.system.netns import in_netns, open_netns
from tests.conftest import fresh_namespaces, ip
from tests.node import corpus
from tests.node.world import RealWorld, container
from tests.ports import wait_for_ports

pytestmark = pytest.mark.kernel

PORT, CLIENT = 53, 40000
HALF = 1200
"""Bytes of data in each of the two fragments of a datagram."""
PATIENCE, AFTERWARDS = 5.0, 0.05
"""Seconds to wait for what must come, and for what must not."""
ASK, SERVE = [Rule("out", "udp", PORT)], [Rule("in", "udp", PORT)]


class Guest:
    """A container: a packet socket on its link, and UDP sockets that hear what arrives."""

    def __init__(self, vnic: Any, netns: str) -> None:
        self.mac: str = vnic.mac
        self.ip: IPv4Address = vnic.ip
        there = open_netns(netns)
        self._wire = in_netns(there, _wire)
        self._ears = {port: in_netns(there, partial(_ear, port)) for port in (PORT, CLIENT)}

    def send(self, to: Guest, packet: bytes) -> None:
        self._wire.send(corpus.ethernet(self.mac, to.mac, corpus.IP, packet))

    def says(self, to: Guest, ports: tuple[int, int], data: bytes) -> None:
        self.send(to, corpus.packet(self.ip, to.ip, corpus.UDP, corpus.udp(*ports, data)))

    def halves(self, to: Guest, data: bytes) -> tuple[bytes, bytes]:
        """A datagram in two fragments; all have the same IP id."""
        whole = corpus.udp(41000, PORT, data)
        first = corpus.packet(self.ip, to.ip, corpus.UDP, whole[:HALF], fragment=corpus.MORE)
        return first, corpus.packet(self.ip, to.ip, corpus.UDP, whole[HALF:], fragment=HALF // 8)

    def heard(self, port: int = PORT, *, count: int = 0) -> list[bytes]:
        """The datagrams for the port since the last time, of which ``count`` are waited for."""
        ear, found = self._ears[port], list[bytes]()
        try:
            while True:
                ear.settimeout(PATIENCE if len(found) < count else AFTERWARDS)
                found.append(ear.recv(65536))
        except TimeoutError:
            return found

    def close(self) -> None:
        for sock in (self._wire, *self._ears.values()):
            sock.close()


def _wire() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("eth0", 0))
    return sock


def _ear(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    return sock


Tenants = tuple[tuple[Guest, Guest], tuple[Guest, Guest]]


@pytest.fixture(
    scope="module",
    params=[("nftables", "0"), ("nftables", "1"), ("iptables", "1")],
    ids=lambda param: f"{param[0]}-bridge-nf-call-iptables-{param[1]}",
)
def tenants(request: pytest.FixtureRequest) -> Iterator[Tenants]:
    """A client and a server of two tenants, equal in all but the tenant, on one host."""
    firewall, shown = request.param
    with fresh_namespaces() as make_netns, ExitStack() as opened:
        world = RealWorld("vxlan", make_netns(), ip, firewall=firewall)
        opened.callback(world.close)
        world.run("sysctl", "-w", f"net.bridge.bridge-nf-call-iptables={shown}")
        # Somebody tracks connections there, as every host with a stateful firewall does.
        world.run("nft", "add table inet others")
        world.run("nft", "add chain inet others f { type filter hook forward priority 0; }")
        world.run("nft", "add rule inet others f ct state invalid drop")
        node, guests = world.node(), list[Guest]()
        for number in (1, 2):
            for name, rules in (("ask", ASK), ("serve", SERVE)):
                node.set_group(f"t{number}", name, rules=rules)
            for guest, name in ((9, "ask"), (10, "serve")):
                config = container(guest, tenant=number, groups=[name])
                vnic, netns = node.create_vnic(config).vnic, make_netns()
                assert vnic.peer_name is not None
                move = ("link", "set", vnic.peer_name, "netns", netns, "name", "eth0")
                ip(*move, netns=world.netns)
                ip("address", "add", f"{vnic.ip}/24", "dev", "eth0", netns=netns)
                ip("link", "set", "eth0", "up", netns=netns)
                guests.append(Guest(vnic, netns))
                opened.callback(guests[-1].close)
        wait_for_ports(world.netns)
        first, second, third, fourth = guests
        assert [first.ip, first.mac] == [third.ip, third.mac]
        yield (first, second), (third, fourth)


def test_interleaved_fragments_make_whole_datagrams(tenants: Tenants) -> None:
    """Of two tenants with equal addresses, ports and IP ids, in any order."""
    ways = [(0, 2, 1, 3), (0, 3, 1, 2), (2, 0, 3, 1), (3, 1, 0, 2)]
    for number, order in enumerate(ways):
        said, parts = [], []
        for tenant, (client, server) in enumerate(tenants):
            said.append(bytes([65 + 2 * number + tenant]) * (2 * HALF - 8))
            parts += [(client, server, half) for half in client.halves(server, said[-1])]
        for at in order:
            client, server, half = parts[at]
            client.send(server, half)
        assert [server.heard(count=1) for _, server in tenants] == [[data] for data in said]


def test_the_half_of_another_tenant_completes_nothing(tenants: Tenants) -> None:
    (client, server), (other, theirs) = tenants
    client.send(server, client.halves(server, b"a" * 2 * HALF)[0])
    last = other.halves(theirs, b"b" * 2 * HALF)[1]
    other.send(theirs, last)
    assert (server.heard(), theirs.heard()) == ([], [])
    client.send(server, last)  # nothing is left for the next test
    assert len(server.heard(count=1)) == 1


def test_a_question_of_one_tenant_opens_nothing_for_the_other(tenants: Tenants) -> None:
    """Of two connections with equal addresses and ports only one has an answer to expect."""
    (client, server), (other, theirs) = tenants
    client.says(server, (CLIENT, PORT), b"question")
    theirs.says(other, (PORT, CLIENT), b"answer")
    server.says(client, (PORT, CLIENT), b"answer")
    assert server.heard(count=1) == [b"question"]
    assert client.heard(CLIENT, count=1) == [b"answer"]
    assert other.heard(CLIENT) == []


def test_what_one_tenant_allows_stays_forbidden_to_the_other(tenants: Tenants) -> None:
    """Groups of one name have the rules of their tenant."""
    (client, server), (other, theirs) = tenants
    server.says(client, (CLIENT, PORT), b"server asks")
    theirs.says(other, (CLIENT, PORT), b"theirs asks")
    assert (client.heard(), other.heard()) == ([], [])
    first, last = client.halves(server, b"x" * 2 * HALF)
    theirs.send(other, first)
    theirs.send(other, last)
    assert (other.heard(), server.heard()) == ([], [])
