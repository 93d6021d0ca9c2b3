"""Topology "mesh": one vxlan a subnet and node, and entries for exactly the guests elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

import snnet
from snnet.contract import (
    Add,
    Bridge,
    BridgeFdb,
    Change,
    Fdb,
    Link,
    Neighbour,
    Remove,
    TunnelGuard,
    Vxlan,
)
from snnet.contract.addresses import NO_MAC
from tests.node.every_call import space
from tests.node.test_relying import looked_up
from tests.node.world import FakeWorld, World, vm

BOTH: dict[str, Any] = {"subnet": ("10.1.0.0/24", "fd00:1::/64")}
A, B, C = "192.0.2.12", "192.0.2.13", "192.0.2.14"
MAC8, MAC7 = "02:00:0a:01:00:08", "02:00:0a:01:00:07"

EIGHT = snnet.Peer(A, 8473, [MAC8], ["10.1.0.8", "fd00:1::8"])
SEVEN = snnet.Peer(B, None, [MAC7], ["10.1.0.7"])


def guest(number: int = 9, **changes: Any) -> snnet.VnicConfig:
    ips = (f"10.1.0.{number}", f"fd00:1::{number}")
    return vm(number, **{**BOTH, "ip": ips, "concentrator_ip": None, **changes})


def node(world: World, **options: Any) -> snnet.ComputeNode:
    return world.node(config=world.config(topology="mesh"), **options)


def entries(world: World) -> set[str]:
    """What leads to other nodes, without the names of links."""
    found = world.kernel.snapshot({Fdb, BridgeFdb, Neighbour}).values()
    return {str(noun).partition(" dev")[0] for noun in found}


def remotes(cn: snnet.ComputeNode) -> set[str]:
    """The senders that the tunnel takes frames from."""
    found = cn.drivers.firewall.snapshot({TunnelGuard}).values()
    return {str(noun.remote) for noun in found if isinstance(noun, TunnelGuard)}


def vxlan(world: World) -> Vxlan:
    (found,) = [link for link in world.links() if isinstance(link, Vxlan)]
    return found


REACH = {
    f"fdb {NO_MAC} dst {A}",
    f"fdb {NO_MAC} dst {B}",
    f"fdb {MAC8} dst {A}",
    f"fdb {MAC8} master static",
    f"fdb {MAC7} dst {B}",
    f"fdb {MAC7} master static",
    f"neighbour 10.1.0.8 lladdr {MAC8}",
    f"neighbour fd00:1::8 lladdr {MAC8}",
    f"neighbour 10.1.0.7 lladdr {MAC7}",
}


def test_the_first_vnic_brings_bridge_and_vxlan(world: World) -> None:
    """No concentrator is named, and nobody may send to the tunnel yet."""
    clean = world.text()
    cn = node(world)
    made = cn.create_vnic(guest())
    assert made.tunnel_event is None
    link = vxlan(world)
    assert (link.remote, link.port, link.vni, link.mtu) == (None, 8473, 101, 1450)
    assert link.master == made.vnic.bridge
    assert link.settings == (("bridge_slave learning", 0), ("bridge_slave neigh_suppress", 1))
    assert made.vnic.mtu == 1450
    assert remotes(cn) == {"192.0.2.11"}
    assert cn.verify() == []
    assert cn.destroy_vnic(guest()).tunnel_event is None
    assert world.links() == []
    cn.reset_network()
    if isinstance(world, FakeWorld):
        assert "snt" not in world.text()
        assert len(world.text()) < len(clean) + 200


def test_entries_for_exactly_the_guests_elsewhere(world: World) -> None:
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert entries(world) == REACH
    assert remotes(cn) == {"192.0.2.11", A, B}
    assert cn.verify() == []
    before = world.text()
    assert cn.plan_set_peers("t1", "s1", [SEVEN, EIGHT]).operations == ()
    cn.set_peers("t1", "s1", [SEVEN, EIGHT])
    assert world.text() == before
    cn.set_peers("t1", "s1", [])
    assert entries(world) == set()
    assert remotes(cn) == {"192.0.2.11"}


def test_a_guest_that_moves_replaces_its_entries_in_place(world: World) -> None:
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    moved = snnet.Peer(B, 8473, [MAC8, MAC7], [("10.1.0.8", "fd00:1::8"), "10.1.0.7"])
    plan = cn.plan_set_peers("t1", "s1", [moved, snnet.Peer(A)])
    assert [type(step) for step in plan] == [Change]
    cn.set_peers("t1", "s1", [moved])
    assert entries(world) == REACH - {f"fdb {NO_MAC} dst {A}", f"fdb {MAC8} dst {A}"} | {
        f"fdb {MAC8} dst {B}"
    }
    assert remotes(cn) == {"192.0.2.11", B}


def test_what_others_remove_is_found_and_restored(world: World) -> None:
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    link = vxlan(world)
    gone = BridgeFdb(link=link.name, mac=MAC8)
    assert world.kernel.apply([Remove(gone)]).errors == {}
    assert cn.verify() == [f"missing: {gone}"]
    cn.repair()
    assert entries(world) == REACH
    learning = Change(_with(link, settings=None), link)
    assert world.kernel.apply([learning]).errors == {}
    assert len(cn.verify()) == 1
    cn.repair()
    assert cn.verify() == []


@pytest.mark.parametrize("lost", ["bridge", "vxlan"])
def test_a_create_restores_what_died_with_a_link(world: World, lost: str) -> None:
    cn = node(world)
    made = cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    world.delete(vxlan(world).name if lost == "vxlan" else made.vnic.bridge or "")
    cn.create_vnic(guest())
    assert entries(world) == REACH
    assert cn.verify() == []


def test_peers_restore_what_died_with_a_link(world: World) -> None:
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT])
    world.delete(vxlan(world).name)
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert entries(world) == REACH
    assert cn.verify() == []


def test_peers_of_a_subnet_whose_bridge_lost_its_name(fake: FakeWorld) -> None:
    """The bridge was deleted, and a foreign link has its name since."""
    cn = node(fake)
    name = str(cn.create_vnic(guest()).vnic.bridge)
    fake.delete(name)
    fake.add(Bridge(name=name, group=0))
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    link = vxlan(fake)
    assert link.vni == 101
    assert link.master not in (None, name)
    assert entries(fake) == REACH
    fake.delete(name)
    fake.delete(link.name)
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert vxlan(fake).master == link.master
    assert entries(fake) == REACH


@pytest.mark.parametrize("recorded", [True, False])
def test_the_next_node_knows_them(world: World, recorded: bool) -> None:
    """By the record of intents, or without it by what is in the kernel."""
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    known = cn.topology().subnets[0].to_dict()["peers"]
    cn.close()
    if not recorded:
        world.kernel.host.journal("cn:cn-1").replace([])
    again = node(world)
    assert again.verify() == []
    assert again.topology().subnets[0].to_dict()["peers"] == known
    assert known == [
        {"cn_ip": A, "guests": [{"mac": MAC8, "ips": ["10.1.0.8", "fd00:1::8"]}]},
        {"cn_ip": B, "guests": [{"mac": MAC7, "ips": ["10.1.0.7"]}]},
    ]
    assert again.plan_set_peers("t1", "s1", [EIGHT, SEVEN]).operations == ()


def test_init_finishes_what_a_killed_call_began(world: World) -> None:
    """What is recorded and missing is added, and what leads nowhere is removed."""
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    link = vxlan(world)
    cn.close()
    lost = BridgeFdb(link=link.name, mac=MAC7)
    stale = BridgeFdb(link=link.name, mac="02:00:00:00:00:66")
    assert world.kernel.apply([Remove(lost), Add(stale)]).errors == {}
    again = node(world)
    assert entries(world) == REACH
    assert again.verify() == []


def test_a_concentrator_leaves_a_subnet_that_lost_an_entry(fake: FakeWorld) -> None:
    cn = node(fake)
    cn.set_concentrator(space(1, 2))
    cn.set_peers("t1", "s2", [snnet.Peer(A, None, [MAC8, MAC7])])
    (tunnel,) = (one.tunnel for one in cn.topology().subnets if one.subnet_id == "s2")
    assert tunnel is not None
    gone = BridgeFdb(link=tunnel.name, mac=MAC8)
    assert fake.kernel.apply([Remove(gone)]).errors == {}
    cn.set_concentrator(space(1))
    assert [subnet.subnet_id for subnet in cn.topology().subnets] == ["s1"]
    assert entries(fake) == set()
    assert cn.verify() == []


def test_a_concentrator_that_comes_later_leaves_the_peers(fake: FakeWorld) -> None:
    cn = node(fake)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT])
    before = cn.topology().subnets
    web = snnet.LocalSubnet(subnet_id="s1", subnet=BOTH["subnet"], subnet_key=101)
    cn.set_concentrator(
        snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1", subnets=[web])
    )
    assert cn.topology().subnets == before
    assert cn.verify() == []


def test_an_unplugged_subnet_that_cannot_go_keeps_its_entries(fake: FakeWorld) -> None:
    cn = node(fake)
    cn.set_concentrator(space(1, 2))
    cn.set_peers("t1", "s2", [snnet.Peer(A, None, [MAC8, MAC7])])
    before = fake.text()
    for at in count(1):
        fake.kernel.fail(at=at, error="ENOMEM")
        try:
            cn.set_concentrator(space(1))
        except snnet.Exhausted:
            assert fake.text() == before, at
        else:
            assert at > 5
            return


def test_a_bridge_whose_name_was_taken_is_made_again_with_its_entries(fake: FakeWorld) -> None:
    cn = node(fake)
    made = cn.create_vnic(guest()).vnic
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert made.bridge is not None
    fake.delete(made.bridge)
    fake.add(Bridge(name=made.bridge, group=0))
    assert cn.create_vnic(guest()).vnic.bridge != made.bridge
    assert entries(fake) == REACH
    cn.repair()
    assert entries(fake) == REACH
    assert cn.verify() == []


def test_a_repeated_create_looks_at_no_entries(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands of them."""
    cn = node(fake)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    with looked_up(fake.kernel, monkeypatch) as asked:
        cn.create_vnic(guest())
        cn.create_vnic(guest(10))
        cn.destroy_vnic(guest())
        cn.destroy_vnic(guest(10))
    assert asked
    assert not any(isinstance(noun, (Fdb, BridgeFdb, Neighbour)) for noun in asked)


def test_two_tenants_with_the_same_addresses(world: World) -> None:
    cn = node(world)
    for tenant in (1, 2):
        cn.create_vnic(guest(tenant=tenant))
        cn.set_peers(f"t{tenant}", "s1", [EIGHT])
    assert cn.verify() == []
    cn.destroy_vnic(guest(tenant=1))
    assert entries(world) == {entry for entry in REACH if "7" not in entry.split()[1][-2:]} - {
        f"fdb {NO_MAC} dst {B}"
    }
    assert cn.verify() == []


def test_a_guest_elsewhere_may_have_the_address_of_another_tenants_guest_here(
    fake: FakeWorld,
) -> None:
    cn = node(fake)
    cn.create_vnic(guest())
    cn.create_vnic(guest(8, tenant=2))
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert entries(fake) == REACH
    with pytest.raises(snnet.Conflict, match="subnet s3 of tenant t2 is not on this node"):
        cn.set_peers("t2", "s3", [EIGHT])


def test_every_firewall_guards_the_tunnel(walled: World) -> None:
    """Nobody but the members sends to it, and of those that left nobody either."""
    cn = node(walled)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert remotes(cn) == {"192.0.2.11", A, B}
    assert cn.verify() == []
    cn.set_peers("t1", "s1", [SEVEN])
    assert remotes(cn) == {"192.0.2.11", B}
    assert cn.verify() == []


def test_over_ipv6() -> None:
    world = FakeWorld("gre", 6)
    cn = node(world)
    made = cn.create_vnic(guest())
    assert made.vnic.mtu == 1430
    cn.set_peers("t1", "s1", [snnet.Peer("2001:db8::12", None, [MAC8], ["10.1.0.8"])])
    assert f"fdb {MAC8} dst 2001:db8::12" in entries(world)
    assert cn.verify() == []
    world.close()


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {MAC7}),
        ({"mac": "02:00:00:00:00:77"}, {MAC7}),  # both addresses moved, to another MAC
        ({"mac": MAC8, "ip": ("10.1.0.20", "fd00:1::20")}, {MAC7}),
        ({"mac": "02:00:00:00:00:77", "ip": ("10.1.0.20", "fd00:1::8")}, {MAC7, MAC8}),
    ],
    ids=["whole", "addresses", "mac", "one address"],
)
def test_a_guest_that_moves_here_is_elsewhere_no_more(
    world: World, changes: dict[str, Any], left: set[str]
) -> None:
    """Nothing leads away from it, and no other call is needed."""
    cn = node(world)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    plan = cn.plan_create_vnic(guest(8, **changes))
    cn.create_vnic(guest(8, **changes))
    assert {mac for mac, *_ in cn.topology().subnets[0].peers.guests} == left
    assert not any("fd00:1::8 " in line for line in entries(world))
    assert ("neighbour 10.1.0.8 lladdr " + MAC8 in entries(world)) == (MAC8 in left)
    assert cn.verify() == []
    assert cn.plan_create_vnic(guest(8, **changes)).operations == ()
    removed = {op.noun.key for op in plan if isinstance(op, Remove)}
    assert removed, "the plan says so too"
    before = world.text()
    cn.close()
    again = node(world)
    assert again.verify() == []
    assert world.text() == before
    again.destroy_vnic(guest(8))
    again.set_peers("t1", "s1", [EIGHT, SEVEN])
    assert entries(world) == REACH


def test_guests_that_move_here_together(fake: FakeWorld) -> None:
    cn = node(fake)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    cn.create_vnics([guest(8), guest(7), guest(6)], atomic=True)
    assert cn.topology().subnets[0].peers.guests == ()
    assert entries(fake) == {f"fdb {NO_MAC} dst {A}", f"fdb {NO_MAC} dst {B}"}
    assert cn.verify() == []


def test_a_failed_move_leaves_the_guest_where_it_was(fake: FakeWorld) -> None:
    cn = node(fake)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    before, steps = fake.text(), len(cn.plan_create_vnic(guest(8)))
    for at in range(1, steps + 1):
        fake.kernel.fail(at=at, error="ENOMEM")
        with pytest.raises(snnet.ApiError):
            cn.create_vnic(guest(8))
        assert fake.text() == before
        assert cn.verify() == []


def test_a_node_that_was_killed_as_a_guest_moved_here(fake: FakeWorld) -> None:
    """The record of intents still says that the guest is elsewhere."""
    cn = node(fake)
    cn.create_vnic(guest())
    cn.set_peers("t1", "s1", [EIGHT, SEVEN])
    journals = fake.kernel.state.journals
    remembered = {name: [*lines] for name, lines in journals.items()}
    assert remembered
    cn.create_vnic(guest(8))
    cn.close()
    journals.update(remembered)
    again = node(fake)
    assert {mac for mac, *_ in again.topology().subnets[0].peers.guests} == {MAC7}
    assert again.verify() == []
    assert not any(MAC8 in line for line in entries(fake))


def test_many_peers_are_changed_one_by_one(fake: FakeWorld) -> None:
    """The plan has what differs alone, whatever the number of guests."""
    cn = node(fake)
    cn.create_vnic(guest())
    macs = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000)]
    nodes = [f"192.0.2.{20 + number % 200}" for number in range(1000)]
    peers = [snnet.Peer(where, None, [mac]) for where, mac in zip(nodes, macs, strict=True)]
    cn.set_peers("t1", "s1", peers)
    assert len(cn.plan_set_peers("t1", "s1", peers[:-1])) == 2
    assert len(cn.plan_set_peers("t1", "s1", [*peers, EIGHT])) == 6


WRONG: list[tuple[str, Callable[[snnet.ComputeNode], object]]] = [
    ("peers[0].cn_ip", lambda cn: cn.set_peers("t1", "s1", [snnet.Peer("192.0.2.11")])),
    ("peers[0].cn_ip", lambda cn: cn.set_peers("t1", "s1", [snnet.Peer("2001:db8::9")])),
    ("peers[0].port", lambda cn: cn.set_peers("t1", "s1", [snnet.Peer(A, 4789)])),
    ("peers[1].macs", lambda cn: cn.set_peers("t1", "s1", [EIGHT, snnet.Peer(B, None, [MAC8])])),
    (
        "peers[1].ips",
        lambda cn: cn.set_peers("t1", "s1", [SEVEN, snnet.Peer(A, None, [MAC8], ["10.1.0.7"])]),
    ),
    ("peers.ips", lambda cn: cn.set_peers("t1", "s1", [snnet.Peer(A, None, [MAC8], ["10.2.0.7"])])),
    ("peers[0].cn_ip", lambda cn: cn.plan_set_peers("t1", "s1", [snnet.Peer("192.0.2.11")])),
    ("peers.ips", lambda cn: cn.plan_set_peers("t1", "s1", [snnet.Peer(A, None, [MAC8], ["::9"])])),
    ("peers[0]", lambda cn: cn.set_peers("t1", "s1", [A])),  # type: ignore[list-item]
    ("peers", lambda cn: cn.set_peers("t1", "s1", None)),  # type: ignore[arg-type]
    ("tenant_id", lambda cn: cn.set_peers("", "s1", [])),
    ("ips", lambda cn: snnet.Peer(A, None, [MAC7, MAC8], ["10.1.0.7"])),
    ("ips", lambda cn: snnet.Peer(A, None, [], ["10.1.0.7"])),
    ("macs[0]", lambda cn: snnet.Peer(A, None, ["no mac"])),
    ("port", lambda cn: snnet.Peer(A, 0)),
    ("cn_ip", lambda cn: snnet.Peer("nowhere")),
]


@pytest.mark.parametrize(("field", "call"), WRONG)
def test_wrong_peers(
    fake: FakeWorld, field: str, call: Callable[[snnet.ComputeNode], object]
) -> None:
    cn = node(fake)
    cn.create_vnic(guest())
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest) as caught:
        call(cn)
    assert caught.value.field == field
    assert fake.text() == before


def test_what_contradicts_the_node(fake: FakeWorld) -> None:
    cn = node(fake)
    with pytest.raises(snnet.Conflict, match="create one of its VNICs first"):
        cn.set_peers("t1", "s1", [EIGHT])
    cn.set_peers("t1", "s1", [])
    cn.create_vnic(guest(8))
    with pytest.raises(snnet.Conflict, match="belongs to VNIC v8"):
        cn.set_peers("t1", "s1", [EIGHT])
    with pytest.raises(snnet.Conflict, match="choose another subnet key"):
        cn.create_vnic(guest(subnet_number=2, subnet="10.2.0.0/24", ip="10.2.0.9", subnet_key=101))
    taken = snnet.LocalSubnet(subnet_id="s2", subnet="10.2.0.0/24", subnet_key=101)
    asked = snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1", subnets=[taken])
    with pytest.raises(snnet.Conflict, match=r"key 101 .*subnet s1 of tenant t1"):
        cn.set_concentrator(asked)
    other = fake.node("cn-2", config=fake.config())
    with pytest.raises(snnet.InvalidRequest, match="mesh"):
        other.set_peers("t1", "s1", [])


def test_new_subnets_with_one_key_come_one_after_the_other(fake: FakeWorld) -> None:
    """Whichever call brings them, the second one is refused by name."""
    cn = node(fake)
    subnet = snnet.LocalSubnet(subnet_id="s2", subnet="10.2.0.0/24", subnet_key=101)
    asked = snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1", subnets=[subnet])
    claims = [
        call.claim(cn._ready().records, False, lambda thing: False)
        for call in (cn._creation(guest()), cn._concentrator(asked))
    ]
    shared = claims[0].alone & claims[1].alone
    assert [thing[0] for thing in shared] == ["wire"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"tunnel": "geneve"}, "tunnel"), ({"mode": snnet.NetworkMode.ROUTED}, "topology")],
)
def test_configs_that_no_mesh_can_have(
    fake: FakeWorld, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        fake.node(config=fake.config(**{"topology": "mesh", **changes}))
    assert caught.value.field == field


def test_another_port(fake: FakeWorld) -> None:
    cn = fake.node(config=fake.config(topology="mesh", mesh_port=9000))
    cn.create_vnic(guest())
    assert vxlan(fake).port == 9000
    cn.set_peers("t1", "s1", [snnet.Peer(A, 9000)])


def _with(link: Vxlan, **changes: Any) -> Link:
    return replace(link, **changes)
