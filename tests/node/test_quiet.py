"""The host takes nothing from a tenant's link, and says nothing there by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

import snnet
from snnet.contract import Address, Change, Key, Link, Noun, Sysctl
from tests.node.world import UPLINKS, FakeWorld, World, container, vm

NET, NET6 = "10.1.0.0/24", "fd00:1::/64"


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


def set_value(world: World, link: str, parameter: str, new: str) -> None:
    name = f"net.ipv6.conf.{link}.{parameter}"
    old = value(world, link, parameter)
    assert old is not None
    change = Change(Sysctl(name=name, value=new), Sysctl(name=name, value=old))
    assert not world.kernel.apply([change]).errors


def addresses6(world: World, link: str) -> set[str]:
    found = world.kernel.snapshot({Address}).values()
    nouns = [noun for noun in found if isinstance(noun, Address) and noun.link == link]
    return {str(noun.address) for noun in nouns if noun.address.version == 6}


def both_families(world: World, role: str) -> tuple[snnet.ComputeNode | snnet.Cnci, str, str]:
    """A node, a link of its own on which the host needs IPv6, and the address there."""
    if role == "concentrator":
        cnci = world.cnci()
        return cnci, cnci.add_remote_subnet((NET, NET6), 7, "192.0.2.21"), "fd00:1::1/64"
    node = world.node(config=world.config(mode=snnet.NetworkMode.ROUTED))
    config = container(9, subnet=(NET, NET6), ip=("10.1.0.9", "fd00:1::9"))
    return node, node.create_vnic(config).vnic.link_name, "fe80::1/64"


@pytest.mark.parametrize("role", ["concentrator", "routed"])
def test_subnets_of_ipv6_work_where_the_host_disabled_it(world: World, role: str) -> None:
    """As hardening guides have it: ``disable_ipv6`` of all links there are, and of new ones."""
    set_value(world, "eth0", "disable_ipv6", "0")  # guests that are routed leave by it
    set_value(world, "default", "disable_ipv6", "1")
    node, link, address = both_families(world, role)
    assert address in addresses6(world, link)
    assert node.verify() == []
    node.reset_network() if isinstance(node, snnet.ComputeNode) else node.shutdown()


class Telling(snnet.FakeKernel):
    """One whose links say whether they have IPv6, as a list of the kernel does."""

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {key: self._telling(noun) for key, noun in super().snapshot(types).items()}

    def _telling(self, noun: Noun) -> Noun:
        if not isinstance(noun, Link):
            return noun
        found = self.find(Sysctl(name=f"net.ipv6.conf.{noun.name}.disable_ipv6"))
        return replace(noun, without_ipv6=isinstance(found, Sysctl) and found.value == "1")


def test_ipv6_that_somebody_enables_on_a_port_that_is_listed_goes(fake: FakeWorld) -> None:
    fake.kernel = Telling()
    fake.kernel.add_uplink("eth0", UPLINKS[4])
    test_ipv6_that_somebody_enables_on_a_port_goes(fake)


def test_ipv6_that_somebody_enables_on_a_port_goes(world: World) -> None:
    node = world.node()
    link = node.create_vnic(vm(9)).vnic.link_name
    for cure in (node.repair, node.rebuild_topology):
        set_value(world, link, "disable_ipv6", "0")
        (line,) = node.verify()
        assert f"net.ipv6.conf.{link}.disable_ipv6=0" in line
        cure()
        assert value(world, link, "disable_ipv6") == "1"
    assert node.verify() == []


@pytest.mark.parametrize("role", ["concentrator", "routed"])
def test_ipv6_that_somebody_disables_comes_back(world: World, role: str) -> None:
    node, link, address = both_families(world, role)
    set_value(world, link, "disable_ipv6", "1")
    said = f"net.ipv6.conf.{link}.disable_ipv6"
    assert [line for line in node.verify(quick=True) if said in line]
    node.repair()
    assert value(world, link, "disable_ipv6") == "0"
    assert address in addresses6(world, link)
    assert node.verify() == []
    node.reset_network() if isinstance(node, snnet.ComputeNode) else node.shutdown()
