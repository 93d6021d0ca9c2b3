"""What guests send does not fill the host's table of connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from snnet.conformance.real import frames
from snnet.system.netns import in_netns, open_netns
from tests.conftest import ip
from tests.node.conftest import make_world
from tests.node.world import RealWorld, container
from tests.ports import wait_for_ports

FLOWS = 300

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["netlink-vxlan-nftables", "netlink-vxlan-iptables"])
def real(request: pytest.FixtureRequest) -> Iterator[RealWorld]:
    made = make_world(request, request.param)
    assert isinstance(made, RealWorld)
    yield made
    made.close()


def entries(netns: int) -> int:
    """How many connections the namespace tracks."""
    path = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return int(in_netns(netns, path.read_text))


@pytest.mark.parametrize("shown", ["0", "1"])
def test_flows_of_a_guest_make_no_entries_for_their_tunnel(
    real: RealWorld, make_netns: Callable[[], str], shown: str
) -> None:
    """Each flow has its own source port in the tunnel's packets (RFC 7348, 5)."""
    real.run("sysctl", "-w", f"net.bridge.bridge-nf-call-iptables={shown}")
    # Somebody tracks connections there, as every host with a stateful firewall does.
    real.run("nft", "add table inet others")
    real.run("nft", "add chain inet others o { type filter hook output priority 0; }")
    real.run("nft", "add rule inet others o ct state invalid drop")
    node, guest = real.node(), make_netns()
    vnic = node.create_vnic(container(9)).vnic
    assert vnic.peer_name is not None
    assert isinstance(vnic.ip, IPv4Address)
    mac, address = vnic.mac, vnic.ip
    ip("link", "set", vnic.peer_name, "netns", guest, "name", "eth0", netns=real.netns)
    ip("link", "set", "eth0", "up", netns=guest)
    wait_for_ports(real.netns)
    here, there = real.kernel.host.netns.fd, open_netns(guest)
    before = entries(here)

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for port in range(FLOWS):
                sock.send(
                    frames.udp_frame(
                        mac, "02:00:00:00:00:77", address, address + 90, (port + 1024, 9), b""
                    )
                )

    in_netns(there, send)
    assert entries(here) - before < 10
