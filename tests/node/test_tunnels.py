"""Each tunnel protocol over each underlay: the device the kernel has, and its MTU."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Gre, Gretap, Link, Path, Tunnel, Vxlan
from tests.node.conftest import make_world
from tests.node.world import FakeWorld, World, container, vm

CASES = {
    ("gre", 4): ("gretap", "gretap", 1458),
    ("gre", 6): ("ip6gretap", "ip6gretap", 1438),
    ("vxlan", 4): ("vxlan", "vxlan", 1450),
    ("vxlan", 6): ("vxlan", "vxlan", 1430),
    ("geneve", 4): ("geneve", "geneve", 1450),
    ("geneve", 6): ("geneve", "geneve", 1430),
}
REMOTES = {4: "192.0.2.101", 6: "2001:db8::101"}


def _params() -> Iterator[Any]:
    for (tunnel, version), (needed, _, _) in CASES.items():
        yield pytest.param("fake", tunnel, version, id=f"fake-{tunnel}-ipv{version}")
        marks = [pytest.mark.kernel, pytest.mark.needs(needed)]
        yield pytest.param(
            "netlink", tunnel, version, marks=marks, id=f"netlink-{tunnel}-ipv{version}"
        )


@pytest.fixture
def host(
    request: pytest.FixtureRequest, backend: str, tunnel: str, version: int
) -> Iterator[World]:
    made = make_world(request, f"{backend}-{tunnel}", version)
    yield made
    made.close()


each = pytest.mark.parametrize(("backend", "tunnel", "version"), list(_params()))


@each
def test_the_tunnel_of_a_subnet(host: World) -> None:
    _, kind, mtu = CASES[host.tunnel, host.version]
    before = host.text()
    node = host.node()
    vnic = node.create_vnic(container(9, concentrator_ip=REMOTES[host.version])).vnic
    (link,) = _tunnels(host)
    assert (link.kind, link.mtu, vnic.mtu) == (kind, mtu, mtu)
    assert str(link.remote) == REMOTES[host.version]
    assert (link.ttl, link.master) == (64, vnic.bridge)
    assert node.verify() == []
    assert node.rebuild_topology().healed == []
    with pytest.raises(snnet.InvalidRequest, match="mtu"):
        node.create_vnic(vm(10, concentrator_ip=REMOTES[host.version], mtu=mtu + 1))
    node.reset_network()
    assert host.text() == before


@each
def test_hub_and_mesh_of_a_concentrator(host: World) -> None:
    before = host.text()
    cnci = host.cnci()
    for last in (21, 22):
        cnci.add_remote_subnet("10.1.0.0/24", 7, REMOTES[host.version].replace("101", str(last)))
    assert len(_tunnels(host)) == 2
    cnci.update_neighbors(
        snnet.Neighbor(
            physical_ip=physical,
            subnet=f"10.{number}.0.0/24",
            tunnel_ip=f"192.168.0.{number}",
            tunnel_id=5,
        )
        for number, physical in enumerate((str(cnci.compute_ip), REMOTES[host.version]), 2)
    )
    mesh = next(link for link in host.links() if isinstance(link, Tunnel) and link.master is None)
    multipoint = host.tunnel == "gre" and host.version == 4
    assert isinstance(mesh, Gre if multipoint else Vxlan)
    assert cnci.verify() == []
    assert cnci.rebuild_topology().healed == []
    cnci.shutdown()
    assert host.text() == before


PORT = 16384 + (11 ^ 21)
"""The port between 192.0.2.11 and 192.0.2.21."""


@pytest.mark.parametrize(
    ("remote", "port"),
    [
        # Differs from the first in bits above those that the port is made of.
        ("192.0.66.21", None),
        ("192.0.2.22", PORT),
    ],
)
def test_two_vxlan_tunnels_with_one_port_and_key_are_a_conflict(
    remote: str, port: int | None
) -> None:
    world = FakeWorld("vxlan")
    cnci = world.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    with pytest.raises(snnet.Conflict, match=rf"{remote}.*192\.0\.2\.21") as caught:
        cnci.add_remote_subnet("10.1.0.0/24", 7, remote, port)
    with pytest.raises(snnet.Conflict):
        cnci.plan_add_remote_subnet("10.1.0.0/24", 7, remote, port)
    assert caught.value.state is snnet.State.UNTOUCHED
    assert len(_tunnels(world)) == 1


def test_a_foreign_tunnel_with_our_key_is_a_conflict() -> None:
    world = FakeWorld("gre")
    world.add(
        Gretap(
            name="foreign",
            group=0,
            local=IPv4Address("192.0.2.11"),
            remote=IPv4Address("192.0.2.101"),
            tunnel_key=101,
        )
    )
    before = world.text()
    with pytest.raises(snnet.Conflict, match="gretap"):
        world.node().create_vnic(vm(9))
    assert world.text() == before


@pytest.mark.parametrize("backend", ["fake", pytest.param("netlink", marks=pytest.mark.kernel)])
def test_a_path_tells_link_and_source(backend: str, request: pytest.FixtureRequest) -> None:
    world = make_world(request, f"{backend}-vxlan")
    world.kernel.apply([Add(Address(link="eth0", address=IPv4Interface("198.51.100.1/24")))])
    remote = IPv4Address("198.51.100.9")
    path = world.kernel.find(Path(remote=remote))
    assert path == Path(remote=remote, link="eth0", source=IPv4Address("198.51.100.1"))
    assert world.kernel.find(Path(remote=IPv4Address("203.0.113.1"))) is None
    world.close()


def test_geneve_from_another_source_than_the_uplinks_is_unsupported() -> None:
    world = FakeWorld("geneve")
    world.kernel.apply([Add(Address(link="eth0", address=IPv4Interface("198.51.100.1/24")))])
    node, cnci = world.node(), world.cnci()
    before = world.text()
    with pytest.raises(snnet.Unsupported, match=r"198\.51\.100\.1.*vxlan"):
        node.create_vnic(vm(9, concentrator_ip="198.51.100.9"))
    with pytest.raises(snnet.Unsupported, match=r"198\.51\.100\.1.*vxlan"):
        cnci.add_remote_subnet("10.1.0.0/24", 7, "198.51.100.9")
    assert world.text() == before
    node.create_vnic(vm(9))


def _tunnels(host: World) -> list[Tunnel]:
    links: list[Link] = host.links()
    return [link for link in links if isinstance(link, Tunnel) and link.master is not None]
