"""The host takes nothing from a tenant's link, and says nothing there by itself."""

from __future__ import annotations

from snnet.contract import Sysctl
from tests.node.world import World, container, vm

NET = "10.1.0.0/24"


def value(world: World, link: str, parameter: str) -> str | None:
    found = world.kernel.find(Sysctl(name=f"net.ipv6.conf.{link}.{parameter}"))
    return found.value if isinstance(found, Sysctl) else None


def check_bridge(world: World, bridge: str) -> None:
    assert value(world, bridge, "accept_ra") == "0"
    assert value(world, bridge, "accept_redirects") == "0"
    assert value(world, bridge, "addr_gen_mode") in ("1", "0")


def test_a_compute_nodes_ports_have_no_ipv6(world: World) -> None:
    node = world.node()
    made = [node.create_vnic(vm(9)).vnic, node.create_vnic(container(10)).vnic]
    (subnet,) = node.topology().subnets
    assert subnet.tunnel is not None
    for name in (subnet.tunnel.name, *(vnic.link_name for vnic in made)):
        assert value(world, name, "disable_ipv6") == "1", name
    check_bridge(world, made[0].bridge or "")
    node.reset_network()


def test_a_concentrators_tunnels_have_no_ipv6(world: World) -> None:
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    (subnet,) = cnci.topology().subnets
    for tunnel in subnet.tunnels.values():
        assert value(world, tunnel.name, "disable_ipv6") == "1"
    check_bridge(world, bridge)
    cnci.shutdown()
