"""Routed mode: on the fake, on nftables and on iptables."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Bridge, ProxyNeighbour, Route, Sysctl, Tunnel, Zone
from tests.killed import Killed
from tests.node.test_faults import Call
from tests.node.world import FakeWorld, World, vm

ROUTED = snnet.NetworkMode.ROUTED


def config(world: World, **changes: Any) -> snnet.NetworkConfig:
    return world.config(mode=ROUTED, **changes)


def node(world: World, node_id: str = "cn-1", **changes: Any) -> snnet.ComputeNode:
    return world.node(node_id, config=config(world), **changes)


def guest(number: int = 9, *, container: bool = False, **changes: Any) -> snnet.VnicConfig:
    """A VNIC without anything that only tunnels need."""
    role = snnet.VnicRole.TENANT_CONTAINER if container else snnet.VnicRole.TENANT_VM
    without = {"concentrator_id": None, "concentrator_ip": None, "subnet_key": None}
    return vm(number, **{"role": role, **without, **changes})


def test_a_vnic_is_a_port_with_a_route_of_its_own(walled: World) -> None:
    cn = node(walled)
    made = cn.create_vnic(guest(9))
    name = made.vnic.link_name
    assert made.tunnel_event is None
    assert made.vnic.bridge is None
    assert str(made.vnic.gateway) == "169.254.1.1"
    assert made.vnic.mtu == 1500
    assert not [link for link in walled.links() if isinstance(link, (Bridge, Tunnel))]
    for noun in (
        Route(destination=ip_network("10.1.0.9/32"), link=name),
        Address(link=name, address=ip_interface("169.254.1.1/32")),
        ProxyNeighbour(link="eth0", address=ip_address("10.1.0.9")),
        Route(destination=ip_network("10.1.0.0/24"), link="eth0"),
    ):
        assert walled.kernel.find(noun) is not None, noun
    found = walled.kernel.find(Sysctl(name=f"net.ipv4.conf.{name}.proxy_arp"))
    assert isinstance(found, Sysctl)
    assert found.value == "1"
    assert cn.verify() == []
    assert cn.create_vnic(guest(9)).vnic == made.vnic
    cn.reset_network()


def test_the_last_vnic_takes_everything_along(walled: World) -> None:
    before = walled.text()
    cn = node(walled)
    forwarding = walled.text()
    for number in (9, 10):
        cn.create_vnic(guest(number))
    cn.create_vnic(guest(9, subnet_number=2))
    cn.create_vnic(guest(9, tenant=2, subnet_number=3))
    for number in (9, 10, 10):
        gone = cn.destroy_vnic(guest(number))
        assert gone.tunnel_event is None
        assert cn.verify() == []
    cn.destroy_vnic(guest(9, subnet_number=2))
    cn.destroy_vnic(guest(9, tenant=2, subnet_number=3))
    assert walled.text() == forwarding
    cn.reset_network()
    assert walled.text() == before


def test_the_zone_follows_the_tenants_networks(walled: World) -> None:
    cn = node(walled)
    cn.create_vnic(guest(9))
    cn.create_vnic(guest(9, subnet_number=2))
    firewall = cn.drivers.firewall

    def networks() -> list[str]:
        found = firewall.find(Zone(owner="cn:cn-1", zone="t1"))
        return [str(network) for network in found.networks] if isinstance(found, Zone) else []

    assert networks() == ["10.1.0.0/24", "10.2.0.0/24"]
    cn.destroy_vnic(guest(9))
    assert networks() == ["10.2.0.0/24"]
    cn.destroy_vnic(guest(9, subnet_number=2))
    assert networks() == []


def test_containers_are_told_of_no_bridge(walled: World) -> None:
    cn = node(walled)
    infos = [cn.create_vnic(guest(number, container=True)).container_info for number in (9, 10)]
    assert [info.event.value for info in infos if info] == ["add", "info"]
    assert infos[0] is not None
    assert infos[0].bridge is None
    assert str(infos[0].gateway) == "169.254.1.1"
    gone = [cn.destroy_vnic(guest(number, container=True)).container_info for number in (9, 10)]
    assert gone[0] is None
    assert gone[1] is not None
    assert gone[1].event is snnet.ContainerEvent.DEL


def test_addresses_are_unique_across_tenants(walled: World) -> None:
    cn = node(walled)
    cn.create_vnic(guest(9))
    before = walled.text()
    with pytest.raises(snnet.ApiError, match=r"overlaps 10\.1\.0\.0/24 .* of tenant t1"):
        cn.create_vnic(guest(9, tenant=2))
    with pytest.raises(snnet.ApiError, match="overlaps"):
        cn.create_vnic(guest(10, tenant=2, subnet="10.1.0.0/16", subnet_number=9, ip="10.1.7.7"))
    with pytest.raises(snnet.ApiError, match=r"ip 10\.1\.0\.9 of subnet s1 belongs to VNIC v9"):
        cn.create_vnic(guest(10, ip="10.1.0.9"))
    assert walled.text() == before
    cn.reset_network()


def test_a_new_agent_reads_it_all_back(walled: World) -> None:
    cn = node(walled)
    for number in (9, 10):
        cn.create_vnic(guest(number, mac="02:aa:00:00:00:0a" if number == 10 else None, mtu=1400))
    cn.create_vnic(guest(9, tenant=2, subnet_number=2, container=True))
    before, topology = walled.text(), cn.topology()
    cn.close()
    again = node(walled)
    assert again.topology() == topology
    assert walled.text() == before
    assert again.verify() == []
    again.reset_network()


def test_what_was_lost_is_reported_and_repaired(walled: World) -> None:
    cn = node(walled)
    made = cn.create_vnic(guest(9)).vnic
    cn.create_vnic(guest(10))
    whole = walled.text()
    walled.delete(made.link_name)
    assert any("missing: tap" in line for line in cn.verify())
    cn.repair()
    assert walled.text() == whole
    walled.delete(made.link_name)
    assert cn.create_vnic(guest(9)).vnic == made
    assert walled.text() == whole
    cn.reset_network()


def test_an_operators_own_route_to_the_subnet_serves(walled: World) -> None:
    own = Route(destination=ip_network("10.1.0.0/24"), link="eth0")
    assert walled.kernel.apply([Add(own)]).error is None
    before = walled.text()
    cn = node(walled)
    cn.create_vnic(guest(9))
    assert cn.verify() == ["missing: route 10.1.0.0/24 dev eth0"] or cn.verify() == []
    cn.destroy_vnic(guest(9))
    cn.reset_network()
    assert walled.text() == before


def test_two_nodes_on_one_uplink_leave_each_others_alone(walled: World) -> None:
    before = walled.text()
    one, two = node(walled, "cn-1"), node(walled, "cn-2")
    one.create_vnic(guest(9))
    alone = walled.text()
    two.create_vnic(guest(9, tenant=2, subnet_number=2))
    two.reset_network()
    assert walled.text() == alone
    assert one.verify() == []
    one.reset_network()
    assert walled.text() == before


def test_a_concentrator_has_no_routed_mode(fake: FakeWorld) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        fake.cnci(config=config(fake))
    assert caught.value.field == "mode"


def test_it_needs_a_firewall(fake: FakeWorld) -> None:
    with pytest.raises(snnet.Unsupported, match="needs a firewall to separate tenants"):
        node(fake, firewall="none")


def test_links_of_the_other_mode_are_reported_and_left(fake: FakeWorld) -> None:
    fake.node("cn-1").create_vnic(vm(9))
    before = fake.text()
    cn = node(fake)
    orphans = " ".join(cn.rebuild_topology().orphans)
    assert "belongs to gre_tunnel mode" in orphans
    assert set(before.splitlines()) <= set(fake.text().splitlines())


# -- faults ------------------------------------------------------------------------------

SET_UPS: dict[str, Call] = {
    "first": lambda cn: cn.create_vnic(guest(9, subnet_number=5, tenant=5)),
    "second subnet": lambda cn: cn.create_vnic(guest(9, subnet_number=2)),
    "container": lambda cn: cn.create_vnic(guest(11, container=True)),
    "queues": lambda cn: cn.create_vnic(guest(11, queues=3)),
}


@pytest.mark.parametrize("name", SET_UPS)
def test_a_failed_set_up_leaves_the_host_exactly_as_before(name: str) -> None:
    at, failed = 0, True
    while failed:
        at += 1
        world = FakeWorld("gre")
        cn = node(world)
        cn.create_vnic(guest(9))
        before, known = world.text(), cn.topology()
        world.kernel.fail(at, "ENOMEM")
        try:
            SET_UPS[name](cn)
            failed = False
        except snnet.Exhausted:
            assert world.text() == before, f"operation {at}"
            assert cn.topology() == known
            assert cn.verify() == []
            SET_UPS[name](cn)
            assert cn.verify() == []
    assert at > 7


@pytest.mark.parametrize("last", [False, True])
def test_an_unfinished_destroy_is_finished_later(last: bool) -> None:
    at, failed = 0, True
    while failed:
        at += 1
        world = FakeWorld("gre")
        cn = node(world)
        empty = world.text()
        cn.create_vnic(guest(9))
        if not last:
            cn.create_vnic(guest(10))
        world.kernel.fail(at, "EBUSY")
        try:
            cn.destroy_vnic(guest(9))
            failed = False
        except snnet.Incomplete:
            cn.destroy_vnic(guest(9))
        assert cn.verify() == []
        if last:
            assert world.text() == empty
    assert at > 4


def kill_at(kernel: snnet.FakeKernel, at: int) -> None:
    """Have the ``at``-th operation from now, and all that follow, be the process's end."""
    faults, seen = kernel.faults, 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen >= at:
            raise Killed

    faults.count = count  # type: ignore[method-assign]


@pytest.mark.parametrize("destroying", [False, True])
def test_killed_before_any_operation_it_is_healed_by_the_next_agent(destroying: bool) -> None:
    at, killed = 0, True
    while killed:
        at += 1
        world = FakeWorld("gre")
        cn = node(world)
        empty = world.text()
        if destroying:
            cn.create_vnic(guest(9))
        kill_at(world.kernel, at)
        try:
            (cn.destroy_vnic if destroying else cn.create_vnic)(guest(9))
            killed = False
        except Killed:
            pass
        del world.kernel.faults.count
        again = node(world)
        assert again.verify() == [], f"killed at {at}"
        again.destroy_vnic(guest(9))
        assert world.text() == empty, f"killed at {at}"
    assert at > 5
