"""A concentrator, on the fake and on the real kernel with real dnsmasq."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_interface

import pytest

import snnet
from snnet.contract import (
    Address,
    Bridge,
    Change,
    DhcpScope,
    Fdb,
    Gre,
    Neighbour,
    Route,
    Sysctl,
    Tap,
    Tunnel,
    TunnelGuard,
    Vxlan,
)
from tests.node.world import FakeWorld, World, scope_on

NET = "10.1.0.0/24"
FORWARD = Sysctl(name="net.ipv4.ip_forward")


def forwarding(world: World) -> str:
    found = world.kernel.find(FORWARD)
    assert isinstance(found, Sysctl)
    return found.value


def test_the_first_node_of_a_subnet_brings_bridge_gateway_dhcp_and_tunnel(world: World) -> None:
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    try:
        tunnel = next(link for link in world.links() if isinstance(link, Tunnel))
        assert isinstance(world.link(bridge), Bridge)
        assert tunnel.master == bridge
        assert str(tunnel.remote) == "192.0.2.21"
        assert (
            world.kernel.find(Address(link=bridge, address=ip_interface("10.1.0.1/24"))) is not None
        )
        scope = cnci.dhcp(NET)
        assert scope.running
        assert len(scope.entries) == 253
        assert cnci.add_remote_subnet(NET, 7, "192.0.2.22") == bridge
        assert cnci.add_remote_subnet(NET, 7, "192.0.2.22") == bridge
        assert sum(isinstance(link, Tunnel) for link in world.links()) == 2
        assert cnci.verify() == []
    finally:
        cnci.shutdown()


def test_a_detached_node_takes_its_tunnel_only(world: World) -> None:
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    for _ in range(2):
        cnci.del_remote_subnet(NET, 7, "192.0.2.21")
        assert [link.name for link in world.links()] == [bridge]
        assert cnci.dhcp(NET).running
    cnci.del_remote_subnet("10.9.0.0/24", 9, "192.0.2.21")
    cnci.shutdown()


def test_shutdown_leaves_nothing_and_may_be_repeated(world: World) -> None:
    before = world.text()
    assert forwarding(world) == "0"
    cnci = world.cnci()
    assert forwarding(world) == "1"
    for number in range(1, 4):
        cnci.add_remote_subnet(f"10.{number}.0.0/24", number, "192.0.2.21")
    cnci.shutdown()
    assert forwarding(world) == "0"
    assert world.text() == before
    cnci.shutdown()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    assert forwarding(world) == "1", "a node that is used again routes again"
    cnci.shutdown()
    assert forwarding(world) == "0"
    assert world.text() == before


def test_forwarding_stays_until_the_last_user_has_gone(world: World) -> None:
    one, two = world.cnci("a"), world.cnci("b", tenant_id="t2")
    one.shutdown()
    assert forwarding(world) == "1"
    two.shutdown()
    assert forwarding(world) == "0"


@pytest.mark.parametrize(
    ("subnet", "key", "named"),
    [
        (NET, 8, "key 7"),
        ("10.1.0.0/25", 8, "overlaps 10.1.0.0/24"),
        ("10.2.0.0/24", 7, "key 7 belongs to subnet 10.1.0.0/24"),
    ],
)
def test_contradicting_subnets_are_conflicts(
    world: World, subnet: str, key: int, named: str
) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    state = world.text()
    with pytest.raises(snnet.Conflict, match=named):
        cnci.add_remote_subnet(subnet, key, "192.0.2.22")
    assert world.text() == state
    cnci.shutdown()


def test_a_new_agent_takes_over_what_runs(world: World) -> None:
    first = world.cnci()
    first.add_remote_subnet(NET, 7, "192.0.2.21")
    first.add_remote_subnet(NET, 7, "192.0.2.22")
    first.dhcp(NET).add_entry("10.1.0.50", "02:00:00:00:00:50", "web")
    known, state = first.topology(), world.text()
    first.close()
    second = world.cnci()
    assert world.text() == state
    assert second.topology() == known
    assert [entry.hostname for entry in second.dhcp(NET).added] == ["web"]
    assert second.rebuild_topology().healed == []
    assert second.verify() == []
    second.shutdown()


def test_what_other_programs_deleted_is_recreated(world: World) -> None:
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    state = world.text()
    for link in world.links():
        world.delete(link.name)
        assert cnci.add_remote_subnet(NET, 7, "192.0.2.21") == bridge
        assert world.text() == state, f"after {link} was deleted"
        assert cnci.verify() == []
    cnci.shutdown()


def test_entries_are_added_and_removed(world: World) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet("10.16.0.0/16", 7, "192.0.2.21")
    scope = cnci.dhcp("10.16.0.0/16")
    assert list(scope.entries) == []
    for _ in range(2):
        entry = scope.add_entry("10.16.3.4", hostname="db")
    assert scope.entries == (entry,)
    assert entry.mac == "02:00:0a:10:03:04"
    with pytest.raises(snnet.Conflict):
        scope.add_entry("10.16.3.4", "02:00:00:00:00:01")
    scope.reload()
    scope.restart()
    assert scope.running
    assert scope.entries == (entry,)
    scope.stop()
    assert not scope.running
    assert cnci.verify() == []
    scope.start()
    scope.start()
    assert scope.running
    assert scope.entries == (entry,)
    scope.remove_entry("10.16.3.4")
    scope.remove_entry("10.16.3.4")
    assert list(scope.entries) == []
    cnci.shutdown()


def test_of_many_entries_those_that_are_new_are_added_or_none(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet("10.16.0.0/16", 7, "192.0.2.21")
    scope = cnci.dhcp("10.16.0.0/16")
    first = scope.add_entry("10.16.3.4")
    asked: list[snnet.Plan] = []

    class Reader:
        def before_apply(self, plan: snnet.Plan) -> None:
            asked.append(plan)

    cnci.listeners.register(Reader())
    scope.add_entries([first])
    scope.remove_entry("10.16.3.9")
    assert asked == []
    second, third = (
        replace(first, mac=snnet.mac_for(address), address=IPv4Address(address))
        for address in ("10.16.3.5", "10.16.3.6")
    )
    scope.add_entries([first, second])
    assert scope.added == (first, second)
    for wrong in (
        replace(second, hostname="web"),
        replace(second, address=IPv4Address("10.16.3.7")),
        replace(third, hostname="web"),
    ):
        with pytest.raises(snnet.Conflict, match=r"10\.16\.3\.[56] belongs to"):
            scope.add_entries([third, wrong])
    assert scope.added == (first, second)


def test_what_a_server_is_told(fake: FakeWorld) -> None:
    """A start of what runs and a stop of what does not are no change."""
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    scope, told = cnci.dhcp(NET), list[tuple[bool, bool]]()

    class Reader:
        def before_apply(self, plan: snnet.Plan) -> None:
            for step in plan:
                assert isinstance(step, Change)
                assert isinstance(step.noun, DhcpScope)
                assert isinstance(step.old, DhcpScope)
                told.append((step.old.running, step.noun.running))

    cnci.listeners.register(Reader())
    for call, steps in (
        (scope.start, []),
        (scope.reload, [(True, True)]),
        (scope.restart, [(True, False), (False, True)]),
        (scope.stop, [(True, False)]),
        (scope.stop, []),
        (scope.restart, [(False, True)]),
        (scope.stop, [(True, False)]),
        (scope.start, [(False, True)]),
    ):
        told.clear()
        call()
        assert told == steps
    cnci.close()
    watched = fake.cnci(read_only=True).dhcp(NET)
    for name, *args in (
        ("start",),
        ("reload",),
        ("restart",),
        ("stop",),
        ("add_entry", "10.1.0.9"),
        ("add_entries", []),
        ("remove_entry", "10.1.0.9"),
    ):
        with pytest.raises(snnet.InvalidRequest, match=f"refuses dhcp {name}"):
            getattr(watched, name)(*args)


def test_a_scope_of_an_unknown_subnet_is_a_mistake(world: World) -> None:
    with pytest.raises(snnet.InvalidRequest, match=f"{NET} is not a subnet of this concentrator"):
        world.cnci().dhcp(NET)


def neighbors(*peers: int) -> list[snnet.Neighbor]:
    return [
        snnet.Neighbor(
            physical_ip=f"192.0.2.{peer}",
            subnet=f"10.{peer}.{part}.0/24",
            tunnel_ip=f"192.168.0.{peer}",
            tunnel_id=5,
        )
        for peer in peers
        for part in (0, 1)
    ]


def test_the_mesh_is_what_the_list_says(world: World) -> None:
    before = world.text()
    cnci = world.cnci()
    cnci.update_neighbors(neighbors(11, 30, 31))
    (link,) = world.links()
    assert isinstance(link, Gre if world.tunnel == "gre" else Vxlan)
    nouns = world.kernel.snapshot().values()
    on_link = [noun for noun in nouns if noun.within == link.key]
    assert [str(noun.address) for noun in on_link if isinstance(noun, Address)] == [
        "192.168.0.11/32"
    ]
    assert sorted(str(noun.address) for noun in on_link if isinstance(noun, Neighbour)) == [
        "192.168.0.30",
        "192.168.0.31",
    ]
    routes = {str(noun.destination): noun for noun in on_link if isinstance(noun, Route)}
    assert sorted(routes) == [
        "10.30.0.0/24",
        "10.30.1.0/24",
        "10.31.0.0/24",
        "10.31.1.0/24",
        "192.168.0.30/32",
        "192.168.0.31/32",
    ]
    assert str(routes["10.30.1.0/24"].gateway) == "192.168.0.30"
    assert routes["10.30.1.0/24"].onlink
    fdb = [str(noun.remote) for noun in on_link if isinstance(noun, Fdb)]
    assert sorted(fdb) == ([] if world.tunnel == "gre" else ["192.0.2.30", "192.0.2.31"])
    state = world.text()
    cnci.update_neighbors(neighbors(11, 30, 31))
    assert world.text() == state
    cnci.rebuild_topology()
    assert cnci.verify() == []
    cnci.update_neighbors(neighbors(11, 31, 32))
    assert "10.30.0.0/24" not in world.text()
    assert "10.32.0.0/24" in world.text()
    cnci.update_neighbors(neighbors(30, 31))
    assert world.links() == []
    cnci.shutdown()
    assert world.text() == before


def test_a_mesh_takes_packets_from_its_members_alone(walled: World) -> None:
    """Also while it has no peer yet: a device without a guard takes them from any sender."""
    cnci = walled.cnci()
    for peers in ([11], [11, 30], [11, 30, 31], [11]):
        cnci.update_neighbors(neighbors(*peers))
        mesh = cnci.topology().mesh
        assert mesh is not None
        found = cnci.drivers.firewall.snapshot({TunnelGuard}).values()
        assert {
            str(guard.remote)
            for guard in found
            if isinstance(guard, TunnelGuard) and guard.link == mesh.link.name
        } == {f"192.0.2.{peer}" for peer in peers}
        assert cnci.verify() == []
    cnci.shutdown()


def test_the_mesh_rejects_two_tunnel_ids(world: World) -> None:
    cnci = world.cnci()
    before = world.text()
    odd = snnet.Neighbor(
        physical_ip="192.0.2.30", subnet="10.30.0.0/24", tunnel_ip="192.168.0.30", tunnel_id=6
    )
    with pytest.raises(snnet.InvalidRequest, match="tunnel_id"):
        cnci.update_neighbors([*neighbors(11), odd])
    assert world.text() == before
    cnci.shutdown()


def test_a_mesh_that_overlaps_our_own_subnets_is_a_conflict(world: World) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet("10.30.0.0/16", 7, "192.0.2.21")
    with pytest.raises(snnet.Conflict, match=r"10\.30\.0\.0/24"):
        cnci.update_neighbors(neighbors(11, 30))
    cnci.shutdown()


def test_shutdown_leaves_what_is_not_ours(world: World) -> None:
    other = world.cnci("other", tenant_id="t2")
    kept = other.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")
    world.add(Tap(name="foreign", group=0, alias="somebody's"))
    cnci = world.cnci()
    cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    cnci.shutdown()
    assert {link.name for link in world.links()} >= {"foreign", kept}
    assert other.verify() == []
    other.shutdown()


def test_a_server_that_died_is_started_again_with_its_entries(world: World) -> None:
    cnci = world.cnci()
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    cnci.dhcp(NET).add_entry("10.1.0.50", "02:00:00:00:00:50", "web")
    world.kill_dhcp(cnci, bridge)
    (difference,) = cnci.verify()
    assert difference.startswith("different: dhcp")
    cnci.close()
    second = world.cnci()
    assert second.dhcp(NET).running
    assert [entry.hostname for entry in second.dhcp(NET).added] == ["web"]
    second.shutdown()


def test_the_configuration_reaches_the_scope(world: World) -> None:
    config = world.config(dhcp_reserved=9, domain_name="tenant.example", mtu=1300)
    cnci = world.cnci(config=config)
    bridge = cnci.add_remote_subnet(NET, 7, "192.0.2.21")
    assert cnci.drivers.dhcp is not None
    scope = cnci.drivers.dhcp.find(scope_on(bridge))
    assert isinstance(scope, DhcpScope)
    assert (scope.mtu, scope.reserved, scope.domain) == (1300, 9, "tenant.example")
    assert scope.dns is True
    assert str(cnci.dhcp(NET).entries[0].address) == "10.1.0.11"
    cnci.shutdown()


def test_a_bridge_whose_name_was_taken_keeps_what_the_subnet_has(fake: FakeWorld) -> None:
    """The bridge was deleted, and a foreign link has its name since."""
    cnci = fake.cnci()
    fake.add(Tap(name="plug", group=0))
    remotes = [snnet.Remote("192.0.2.21"), snnet.Remote("192.0.2.22")]
    cnci.reconcile(subnets=[snnet.Subnet(NET, 7, remotes, link="plug", mtu=1400)])
    cnci.dhcp(NET).add_entry("10.1.0.9", hostname="web")
    name = cnci.topology().subnets[0].bridge.name
    fake.delete(name)
    fake.add(Bridge(name=name, group=0))
    other = cnci.add_remote_subnet(NET, 7, "192.0.2.23")
    assert other != name
    assert set(cnci.topology()["subnets"][NET]["tunnels"]) == {
        "192.0.2.21", "192.0.2.22", "192.0.2.23",
    }  # fmt: skip
    assert [entry.hostname for entry in cnci.dhcp(NET).added] == ["web"]
    (subnet,) = cnci.topology().subnets
    assert (subnet.link, subnet.mtu, subnet.bridge.mtu) == ("plug", 1400, 1400)
    cnci.repair()
    (line,) = cnci.verify()
    assert f"bridge {name}" in line, "others' filters do not see what passes the foreign bridge"
