"""A compute node's VNICs, on the fake and on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address

import pytest

import snnet
from snnet.contract import LINK_GROUP, Bridge, Change, Macvtap, Other, Tap, Tunnel, Veth, Vxlan
from snnet.core.identity import peer_name
from tests.node.world import FakeWorld, World, container, port, vm

ADD, DEL = snnet.TunnelEventType.ADD, snnet.TunnelEventType.DEL


def test_the_first_vnic_of_a_subnet_brings_bridge_tunnel_and_an_event(world: World) -> None:
    made = world.node().create_vnic(vm(9))
    bridge, tunnel, tap = (
        next(link for link in world.links() if isinstance(link, kind))
        for kind in (Bridge, Tunnel, Tap)
    )
    assert made.vnic.link_name == tap.name
    assert made.vnic.global_id == tap.alias
    assert tap.master == tunnel.master == bridge.name == made.vnic.bridge
    assert tap.mac == "fe:00:0a:01:00:09"
    assert made.vnic.mac == "02:00:0a:01:00:09"
    assert bridge.mac not in (tap.mac, made.vnic.mac, tunnel.mac)
    assert tap.mtu == tunnel.mtu == bridge.mtu == made.vnic.mtu
    assert made.tunnel_event == snnet.TunnelEvent(
        type=ADD,
        cnci_ip=ip_address("192.0.2.101"),
        cn_ip=ip_address("192.0.2.11"),
        subnet=IPv4Network("10.1.0.0/24"),
        tenant_id="t1",
        subnet_id="s1",
        concentrator_id="cnci-1",
        cn_id="cn-1",
        subnet_key=101,
        port=tunnel.port if isinstance(tunnel, Vxlan) else None,
    )
    assert made.container_info is None


def test_later_vnics_bring_only_themselves(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9))
    before = len(world.links())
    assert node.create_vnic(vm(10)).tunnel_event is None
    assert len(world.links()) == before + 1


def test_the_last_vnic_takes_everything_with_it(world: World) -> None:
    before = world.text()
    node = world.node()
    for number in (9, 10):
        node.create_vnic(vm(number))
    assert node.destroy_vnic(vm(9)).tunnel_event is None
    gone = node.destroy_vnic(vm(10)).tunnel_event
    assert gone is not None
    assert gone.type is DEL
    assert world.text() == before


def test_repeats_are_harmless(world: World) -> None:
    node = world.node()
    first = node.create_vnic(vm(9))
    state = world.text()
    again = node.create_vnic(vm(9))
    assert again.vnic == first.vnic
    assert again.tunnel_event is None
    assert world.text() == state
    node.destroy_vnic(vm(9))
    state = world.text()
    assert node.destroy_vnic(vm(9)) == type(node.destroy_vnic(vm(9)))()
    assert world.text() == state


def test_destroy_of_unknown_vnics_is_no_error(world: World) -> None:
    node = world.node()
    before = world.text()
    gone = node.destroy_vnic(snnet.VnicConfig(tenant_id="t9", subnet_id="s9", vnic_id="v9"))
    node.destroy_cnci_vnic(port(9))
    assert gone.tunnel_event is None
    assert gone.container_info is None
    assert world.text() == before


def test_destroy_needs_the_identity_only(world: World) -> None:
    node = world.node()
    before = world.text()
    node.create_vnic(container(9))
    node.destroy_vnic(snnet.VnicConfig(tenant_id="t1", subnet_id="s1", vnic_id="v9"))
    assert world.text() == before


def test_a_container_gets_a_veth_pair(world: World) -> None:
    made = world.node().create_vnic(container(9))
    assert made.vnic.peer_name is not None
    host, guest = world.link(made.vnic.link_name), world.link(made.vnic.peer_name)
    assert isinstance(host, Veth)
    assert isinstance(guest, Veth)
    assert host.peer == guest.name
    assert (host.mac, guest.mac) == ("fe:00:0a:01:00:09", "02:00:0a:01:00:09")
    assert host.mtu == guest.mtu == made.vnic.mtu
    assert guest.group != LINK_GROUP
    assert guest.master is None


def test_container_events_count_the_subnets_containers(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(8))
    event = snnet.ContainerEvent
    first = node.create_vnic(container(9)).container_info
    assert first is not None
    assert (first.event, str(first.gateway)) == (event.ADD, "10.1.0.1")
    bridge = node.topology().subnets[0].bridge
    assert bridge is not None
    assert first.subnet_id == first.bridge == bridge.name
    infos = [node.create_vnic(container(number)).container_info for number in (9, 10)]
    assert [info and info.event for info in infos] == [event.INFO, event.INFO]
    assert node.destroy_vnic(container(9)).container_info is None
    last = node.destroy_vnic(container(10)).container_info
    assert last is not None
    assert last.event is event.DEL
    again = node.create_vnic(container(11)).container_info
    assert again is not None
    assert again.event is event.ADD


def test_a_container_that_died_took_its_veth_along(world: World) -> None:
    node = world.node()
    made = node.create_vnic(container(9))
    world.delete(made.vnic.link_name)
    gone = node.destroy_vnic(container(9))
    assert gone.tunnel_event is not None
    assert gone.container_info is not None
    assert world.links() == []


def test_what_other_programs_deleted_is_recreated(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(8))
    made = node.create_vnic(vm(9))
    state = world.text()
    for link in world.links():
        world.delete(link.name)
        assert node.create_vnic(vm(9)).vnic.link_name == made.vnic.link_name
        node.create_vnic(vm(8))
        assert world.text() == state, f"after {link} was deleted"


def test_a_changed_link_is_put_right_by_the_same_create(world: World) -> None:
    node = world.node()
    made = node.create_vnic(vm(9))
    state = world.text()
    link = world.link(made.vnic.link_name)
    assert link is not None
    changed = replace(link, up=False, master=None, mtu=1000)
    assert world.kernel.apply([Change(changed, link)]).error is None
    assert world.text() != state
    node.create_vnic(vm(9))
    assert world.text() == state


def test_64_vnics_on_each_of_8_subnets(world: World) -> None:
    before = world.text()
    node = world.node()
    configs = [
        (container if number % 2 else vm)(number, subnet_number=subnet)
        for subnet in range(1, 9)
        for number in range(10, 74)
    ]
    made = [node.create_vnic(cfg) for cfg in configs]
    assert sum(one.tunnel_event is not None for one in made) == 8
    assert len({one.vnic.link_name for one in made}) == 512
    kinds = [type(link) for link in world.links()]
    assert kinds.count(Bridge) == 8
    assert kinds.count(Tap) == 256
    assert kinds.count(Veth) == 512
    assert node.verify() == []
    node.reset_network()
    assert world.text() == before


def test_two_tenants_with_equal_addresses(world: World) -> None:
    node = world.node()
    one, two = (node.create_vnic(vm(9, tenant=tenant)).vnic for tenant in (1, 2))
    assert one.ip == two.ip
    assert one.link_name != two.link_name
    assert one.bridge != two.bridge
    assert node.destroy_vnic(vm(9, tenant=1)).tunnel_event is not None
    assert world.link(two.link_name) is not None


def test_a_vnics_own_mtu_changes_that_vnic_only(world: World) -> None:
    node = world.node()
    small = node.create_vnic(container(9, mtu=1280)).vnic
    assert small.mtu == 1280
    assert small.peer_name is not None
    peer, bridge = world.link(small.peer_name), world.link(small.bridge or "")
    assert peer is not None
    assert bridge is not None
    assert peer.mtu == 1280
    assert bridge.mtu == node.site.mtu


@pytest.mark.parametrize("role", [vm, container])
def test_a_vnic_too_small_for_ipv6_is_as_it_should_be(
    world: World, role: Callable[..., snnet.VnicConfig]
) -> None:
    node = world.node()
    node.create_vnic(role(9, mtu=1279))
    assert node.verify() == []


def test_what_the_path_no_longer_carries_is_named(world: World) -> None:
    """A restart gives the subnets the MTU of now; a VNIC keeps what it was given."""
    networks, ips = ("10.1.0.0/24", "fd00:1::/64"), ("10.1.0.10", "fd00:1::a")
    with world.node() as node:
        node.create_vnic(vm(9, subnet_number=2))
        node.create_vnic(vm(10, subnet=networks, ip=ips, mtu=1300))
    uplink = world.link("eth0")
    assert uplink is not None
    small = replace(uplink, mtu=1200)
    assert world.kernel.apply([Change(small, uplink)]).error is None
    node = world.node()
    path = node.site.mtu
    assert node.verify() == [
        f"subnet s1 of tenant t1: fd00:1::/64 needs an MTU of 1280, the path carries {path}: raise "
        "the MTU of the uplink",
        f"VNIC v10 of subnet s1 has an MTU of 1300, the path carries {path}, so larger packets are "
        "lost: raise the MTU of the uplink, or call update_vnic() with a lower one",
    ]
    node.reset_network()


def test_the_configured_mtu_is_a_cap(world: World) -> None:
    node = world.node(config=world.config(mtu=1300))
    assert node.create_vnic(vm(9)).vnic.mtu == 1300
    with pytest.raises(snnet.InvalidRequest, match="mtu: 1301"):
        node.create_vnic(vm(10, mtu=1301))


def test_a_multi_queue_tap_hands_over_one_descriptor_a_queue(world: World) -> None:
    node = world.node()
    if not world.hands_out_queues:
        with pytest.raises(snnet.Unsupported, match="queues"):
            node.create_vnic(vm(9, queues=4))
        assert world.links() == []
        return
    made = node.create_vnic(vm(9, queues=4)).vnic
    assert len(made.fds) == len(set(made.fds)) == 4
    assert not any(os.get_inheritable(fd) for fd in made.fds)
    assert node.create_vnic(vm(9, queues=4)).vnic.fds == ()
    for again in (node.create_vnic(vm(9, queues=2)).vnic, node.update_vnic(vm(9, queues=2))):
        assert again.queues == 4, "the kernel tells only whether there are several"
    link = world.link(made.link_name)
    assert isinstance(link, Tap)
    assert link.multi_queue
    for fd in made.fds:
        os.close(fd)
    node.destroy_vnic(vm(9))
    assert world.links() == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ip": "10.1.0.77"}, "ip 10.1.0.9"),
        ({"mac": "02:00:00:00:00:77"}, "mac 02:00:0a:01:00:09"),
        ({"instance_id": "other"}, "instance_id i9"),
        ({"mtu": 1000}, "mtu"),
        ({"queues": 2}, "queues"),
        ({"role": snnet.VnicRole.TENANT_CONTAINER}, "role tenant-vm"),
        ({"subnet": "10.1.0.0/25"}, "subnet 10.1.0.0/24"),
        ({"subnet_key": 55}, r"subnet_key 101 .*VNICs on this node \(v9\) first"),
        ({"concentrator_id": "other"}, "concentrator_id cnci-1"),
        ({"concentrator_ip": "192.0.2.99"}, "concentrator_ip 192.0.2.101"),
    ],
)
def test_the_same_identity_with_other_attributes_is_a_conflict(
    world: World, changes: dict[str, object], named: str
) -> None:
    node = world.node()
    node.create_vnics([vm(9), vm(8, subnet_number=2)])
    state = world.text()
    with pytest.raises(snnet.Conflict, match=named):
        node.create_vnic(vm(9, **changes))
    assert world.text() == state


def test_one_address_for_two_vnics_is_a_conflict(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9))
    with pytest.raises(snnet.Conflict, match=r"10\.1\.0\.9.*v9"):
        node.create_vnic(vm(10, ip="10.1.0.9"))
    node.create_vnic(vm(10))


def test_one_mac_for_two_vnics_is_allowed_and_warned_about(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9, mac="02:00:00:00:00:01"))
    node.create_vnic(vm(10, mac="02:00:00:00:00:01"))
    (warning,) = node.verify()
    assert "02:00:00:00:00:01" in warning


def test_two_subnets_with_one_key_to_one_concentrator_collide(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9))
    state = world.text()
    with pytest.raises(snnet.Conflict, match="key 101"):
        node.create_vnic(vm(9, subnet_number=2, subnet_key=101))
    assert world.text() == state


def test_a_foreign_link_with_our_name_is_left_alone(world: World) -> None:
    node = world.node()
    planned = node.plan_create_vnic(container(9))
    names = [operation.noun.key[1] for operation in planned]
    foreign = [Tap(name=name, group=0, alias="mine") for name in names if len(name) == 14]
    peer = foreign[-1].name.replace("snv", "snp")
    world.add(*dict.fromkeys(foreign), Tap(name=peer, group=0, alias="mine"))
    state = {link.name: link for link in world.links()}
    made = node.create_vnic(container(9))
    assert made.vnic.link_name not in state
    assert node.create_vnic(container(9)).vnic == made.vnic
    node.destroy_vnic(container(9))
    assert {link.name: link for link in world.links()} == state


def test_a_foreign_link_with_the_name_of_a_containers_end_is_left_alone(world: World) -> None:
    node = world.node()
    (veth,) = (op.noun for op in node.plan_create_vnic(container(9)) if type(op.noun) is Veth)
    foreign = Tap(name=peer_name(veth.name), group=0, alias="mine")
    world.add(foreign)
    there = world.link(foreign.name)
    assert node.create_vnic(container(9)).vnic.link_name != veth.name
    assert node.verify() == []
    node.destroy_vnic(container(9))
    assert world.link(foreign.name) == there


def test_cnci_vnics_come_and_go(world: World) -> None:
    before = world.text()
    node = world.node()
    made = node.create_cnci_vnic(port(1))
    link = world.link(made.link_name)
    assert isinstance(link, Macvtap)
    assert link.index == made.index >= 2**20
    assert made.device == f"/dev/tap{made.index}"
    assert link.mac == made.mac == "02:00:00:00:01:01"
    assert (link.lower, link.mode, link.up, link.mtu) == ("eth0", "bridge", True, 1500)
    assert node.create_cnci_vnic(port(1)) == made
    with pytest.raises(snnet.Conflict, match="mac"):
        node.create_cnci_vnic(port(1, mac="02:00:00:00:01:02"))
    with pytest.raises(snnet.Conflict, match="MAC 02:00:00:00:01:01"):
        node.create_cnci_vnic(port(2, mac=made.mac))
    node.destroy_cnci_vnic(port(1))
    node.destroy_cnci_vnic(port(1))
    assert world.text() == before


def test_vepa_is_a_choice_of_the_configuration(world: World) -> None:
    made = world.node(config=world.config(macvtap_mode="vepa")).create_cnci_vnic(port(1))
    link = world.link(made.link_name)
    assert isinstance(link, Macvtap)
    assert link.mode == "vepa"


def test_tenant_and_cnci_vnics_of_one_id_are_apart(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9, vnic_id="x"))
    node.create_cnci_vnic(port(1, vnic_id="x"))
    node.destroy_cnci_vnic(port(1, vnic_id="x"))
    assert [vnic.vnic_id for vnic in node.topology().vnics] == ["x"]


def test_the_dry_run_touches_nothing_and_shows_what_will_be(world: World) -> None:
    node = world.node()
    before = world.text()
    plan = node.plan_create_vnic(vm(9))
    assert world.text() == before
    made = node.create_vnic(vm(9))
    assert made.vnic.link_name in str(plan)
    assert made.vnic.global_id in plan.to_json()
    assert any(made.vnic.link_name in line for line in plan.to_commands())
    assert not node.plan_create_vnic(vm(9))


def test_reset_removes_only_ours(world: World) -> None:
    node, other = world.node("cn-1"), world.node("cn-2")
    theirs = other.create_vnic(vm(20, subnet_number=2))
    mine = node.create_vnic(vm(9))
    copied = Tap(name="copied", group=0, alias=mine.vnic.global_id)
    world.add(Tap(name="foreign", group=0, alias="somebody's"), copied)
    node.create_cnci_vnic(port(1))
    report = node.reset_network()
    assert [event.type for event in report.tunnel_events] == [DEL]
    left = {link.name for link in world.links()}
    assert {"foreign", "copied", theirs.vnic.link_name} < left
    assert mine.vnic.link_name not in left
    assert len(left) == 5
    assert other.verify() == []
    assert node.topology().vnics == ()
    node.reset_network()
    node.create_vnic(vm(9))


def test_rebuild_learns_everything_from_the_kernel_alone(world: World) -> None:
    first = world.node()
    for cfg in (vm(9), container(10), vm(11, tenant=2, mac="02:00:00:00:00:0b", mtu=1200)):
        first.create_vnic(cfg)
    first.create_cnci_vnic(port(1))
    known = first.topology()
    first.close()
    state = world.text()
    second = world.node()
    assert world.text() == state
    assert second.topology() == known
    report = second.rebuild_topology()
    assert {(event.tenant_id, event.type) for event in report.tunnel_events} == {
        ("t1", ADD),
        ("t2", ADD),
    }
    assert report.orphans == []
    assert second.create_vnic(vm(9)).tunnel_event is None
    assert second.destroy_vnic(vm(11, tenant=2)).tunnel_event is not None


def test_one_orphan_never_stops_a_rebuild(world: World) -> None:
    first = world.node()
    first.create_vnic(vm(9))
    lost = first.create_vnic(vm(10, subnet_number=2))
    first.close()
    for link in world.links():
        if not isinstance(link, Tap) and lost.vnic.bridge in (link.name, link.master):
            world.delete(link.name)
    second = world.node()
    report = second.rebuild_topology()
    (orphan,) = report.orphans
    assert lost.vnic.link_name in orphan
    assert [vnic.vnic_id for vnic in second.topology().vnics] == ["v9"]
    second.create_vnic(vm(10, subnet_number=2))
    assert second.verify() == []
    assert second.rebuild_topology().orphans == []


def test_rebuild_heals_a_lost_bridge_and_a_lost_link(world: World) -> None:
    first = world.node()
    made = first.create_vnic(vm(9))
    state = world.text()
    first.close()
    world.delete(made.vnic.bridge or "")
    second = world.node()
    assert world.text() == state
    assert second.verify() == []


def test_verify_reports_differences_and_repair_removes_them(world: World) -> None:
    node = world.node()
    made = node.create_vnic(vm(9))
    state = world.text()
    world.delete(made.vnic.link_name)
    (difference,) = node.verify()
    assert difference.startswith("missing: tap")
    assert node.repair().healed
    assert world.text() == state


def test_a_read_only_node_looks_and_refuses(world: World) -> None:
    world.node().create_vnic(vm(9))
    state = world.text()
    watcher = world.node(read_only=True)
    assert [vnic.vnic_id for vnic in watcher.topology().vnics] == ["v9"]
    assert watcher.verify() == []
    for call in (watcher.create_vnic, watcher.destroy_vnic):
        with pytest.raises(snnet.InvalidRequest, match="read-only"):
            call(vm(9))
    assert world.text() == state


def test_what_it_knows_about_itself(world: World) -> None:
    node = world.node()
    assert str(node.compute_ip) == "192.0.2.11"
    (uplink,) = node.uplinks
    assert uplink.link_name == "eth0"
    assert uplink.compute
    assert uplink.management
    assert isinstance(world.link("eth0"), (Other, Veth))


def test_a_node_that_was_started_takes_no_other_number(fake: FakeWorld) -> None:
    """Its tunnels have the old one."""
    node = fake.node(init=False)
    node.take_number(3)
    node.init()
    with pytest.raises(snnet.InvalidRequest, match="cn:cn-1 has tunnels by now"):
        node.take_number(4)
    assert node.config.node_number == 3
