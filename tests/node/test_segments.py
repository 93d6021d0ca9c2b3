"""Guests that keep an MTU of 1500 behind tunnels: TCP gets segments that fit, on real kernels.

Ports of masqueraded connections are chosen at random, so that two new ones never collide.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

import snnet
from snnet.contract import MssClamp
from snnet.system.netns import in_netns, open_netns
from tests.conftest import ip
from tests.node.world import FakeWorld, World, vm

GUEST_MTU = 1500


def test_every_tunnel_and_every_bridge_of_a_concentrator_has_a_clamp(walled: World) -> None:
    node, cnci = walled.node(), walled.cnci()
    node.create_vnic(vm())
    bridge = cnci.add_remote_subnet("10.2.0.0/24", 7, "192.0.2.21")
    firewall = node.drivers.firewall
    found = {noun for noun in firewall.snapshot({MssClamp}).values() if isinstance(noun, MssClamp)}
    tunnel = node.topology().subnets[0].tunnel
    assert tunnel is not None
    mtu = node.site.mtu
    assert found == {
        MssClamp(owner="cn:cn-1", link=tunnel.name, mtu=mtu),
        MssClamp(owner="cnci:cnci-1", link=bridge, mtu=mtu, bridged=False),
    }
    node.destroy_vnic(vm())
    cnci.shutdown()
    assert not firewall.snapshot({MssClamp})


def test_the_mesh_has_a_clamp_too(fake: FakeWorld) -> None:
    from tests.node.test_cnci import neighbors

    cnci = fake.cnci()
    cnci.update_neighbors(neighbors(11, 30))
    mesh = cnci.topology().mesh
    assert mesh is not None
    clamps = cnci.drivers.firewall.snapshot({MssClamp}).values()
    assert [(clamp.link, clamp.mtu) for clamp in clamps if isinstance(clamp, MssClamp)] == [
        (mesh.link.name, mesh.link.mtu)
    ]


# -- packets ---------------------------------------------------------------------------


class Ends:
    """Two namespaces with interfaces of MTU 1500, and what joins them in a third."""

    def __init__(self, netns: str) -> None:
        self.netns = netns
        self.names = [f"{netns[:40]}-{end}" for end in "ab"]
        for name in self.names:
            ip("netns", "add", name)
            ip("link", "set", "lo", "up", netns=name)

    def plug(self, number: int, address: str, *, gateway: str | None = None) -> str:
        """Give an end an interface with this address; returns its other end's name."""
        name, near = self.names[number], f"p{number}"
        words = ["link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name]
        ip(*words, netns=self.netns)
        ip("address", "add", address, "dev", "eth0", netns=name)
        ip("link", "set", "eth0", "mtu", str(GUEST_MTU), "up", netns=name)
        ip("link", "set", near, "mtu", str(GUEST_MTU), "up", netns=self.netns)
        if gateway:
            ip("route", "add", "default", "via", gateway, netns=name)
        return near

    def segment(self, address: str) -> tuple[int, int]:
        """The MSS that each end of a connection from the first to the second one has."""
        fds = [open_netns(name) for name in self.names]
        client, server = (in_netns(fd, socket.socket) for fd in fds)
        for fd in fds:
            os.close(fd)
        with client, server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", 5000))
            server.listen()
            client.settimeout(5)
            client.connect((address, 5000))
            accepted, _ = server.accept()
            with accepted:
                return tuple(  # type: ignore[return-value]
                    end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + 12  # timestamps
                    for end in (client, accepted)
                )

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def ends(netns: str) -> Iterator[Ends]:
    made = Ends(netns)
    yield made
    made.close()


_FIREWALLS = pytest.mark.parametrize("firewall", ["nftables", "iptables"])


@pytest.mark.kernel
@_FIREWALLS
def test_bridged_connections_get_segments_that_fit_the_tunnel(
    netns: str, ends: Ends, firewall: str
) -> None:
    """The "tunnel" of the clamp is a plain port here, so that both ends are in reach."""
    from snnet import plugins
    from snnet.contract import Add, Remove
    from snnet.system.host import RealHost

    ip("link", "add", "br0", "type", "bridge", netns=netns)
    ip("link", "set", "br0", "up", netns=netns)
    for number, address in enumerate(("10.5.0.1/24", "10.5.0.2/24")):
        ip("link", "set", ends.plug(number, address), "master", "br0", netns=netns)
    host = RealHost(netns, owner="cn:tester")
    driver = plugins.open_driver(plugins.FIREWALLS, firewall, host)
    try:
        assert ends.segment("10.5.0.2") == (1460, 1460)
        clamp = MssClamp(owner="cn:tester", link="p1", mtu=1450)
        assert driver.apply([Add(clamp)]).error is None
        assert ends.segment("10.5.0.2") == (1410, 1410)
        larger = MssClamp(owner="cn:tester", link="p0", mtu=9000)
        assert driver.apply([Add(larger)]).error is None
        assert ends.segment("10.5.0.2") == (1410, 1410), "never raised"
        assert driver.apply([Remove(clamp), Remove(larger)]).error is None
        assert ends.segment("10.5.0.2") == (1460, 1460)
    finally:
        driver.close()
        host.close()


@pytest.mark.kernel
@_FIREWALLS
def test_routed_connections_get_segments_that_fit(netns: str, ends: Ends, firewall: str) -> None:
    """A guest behind a concentrator's bridge, and a server beyond its uplink."""
    ends.plug(1, "192.0.2.99/24")
    ip("link", "set", "p1", "name", "eth0", netns=netns)
    ip("address", "add", "192.0.2.10/24", "dev", "eth0", netns=netns)
    config = snnet.NetworkConfig(
        compute_nets=["192.0.2.0/24"], tunnel="vxlan", dns=False, allow_to_nets=["192.0.2.99/32"]
    )
    with snnet.Cnci(
        "cnci-1", config, tenant_id="t1", firewall=firewall, netns=netns, api_timeout=60
    ) as cnci:
        cnci.init()
        bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
        near = ends.plug(0, "10.1.0.9/24", gateway="10.1.0.1")
        ip("link", "set", near, "master", bridge, netns=netns)
        cnci.enable_nat(["eth0"])
        cnci.allow_external("eth0", bridge)
        assert ends.segment("192.0.2.99") == (1410, 1410)
        rules = subprocess.run(
            ["ip", "netns", "exec", netns, *_LISTING[firewall]], capture_output=True, text=True
        ).stdout
        (masquerade,) = [line for line in rules.splitlines() if _MARK[firewall] in line]
        assert "fully-random" in masquerade or "--random-fully" in masquerade
        cnci.shutdown()


_LISTING = {
    "nftables": ["nft", "list", "chain", "inet", "snnet-cnci-cnci-1", "postrouting"],
    "iptables": ["iptables-save", "-t", "nat"],
}
_MARK = {"nftables": "@masquerades", "iptables": "-o eth0"}
