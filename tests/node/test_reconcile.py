"""The whole wanted set of a compute node at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Link, Tap, Tunnel
from tests.node.every_call import local, routed
from tests.node.test_bulk import heard
from tests.node.test_properties import Recorder, known, state
from tests.node.world import FakeWorld, World, container, port, vm

ADD, DEL = snnet.TunnelEventType.ADD, snnet.TunnelEventType.DEL


def actions(result: snnet.Reconciled) -> dict[str, str]:
    assert len({item.key for item in result.items}) == len(result.items)
    return {item.key[-1]: item.action for item in result.items}


def prepared(world: World, **options: Any) -> snnet.ComputeNode:
    """A node with v9 and v10 on s1, v11 on s2, and the CNCI VNIC c1."""
    node = world.node(**options)
    node.create_vnic(container(9))
    node.create_vnic(vm(10))
    node.create_vnic(vm(11, subnet_number=2))
    node.create_cnci_vnic(port(1))
    return node


def same() -> dict[str, Any]:
    return {
        "vnics": [container(9), vm(10), vm(11, subnet_number=2)],
        "cnci_vnics": [port(1)],
    }


def test_everything_is_made_kept_and_removed(world: World) -> None:
    node = world.node()
    before = world.text()
    made = node.reconcile(**same())
    assert actions(made) == dict.fromkeys(["v9", "v10", "v11", "c1"], "created")
    assert {item.key for item in made.items if len(item.key) == 3} == {
        ("t1", "s1", "v9"),
        ("t1", "s1", "v10"),
        ("t1", "s2", "v11"),
    }
    tunnels = [event for event in made.events if isinstance(event, snnet.TunnelEvent)]
    assert [(event.type, event.subnet_id) for event in tunnels] == [(ADD, "s1"), (ADD, "s2")]
    assert node.verify() == []
    text = world.text()
    kept = node.reconcile(**same())
    assert actions(kept) == dict.fromkeys(["v9", "v10", "v11", "c1"], "kept")
    assert kept.events == []
    assert kept.failed == []
    assert world.text() == text
    gone = node.reconcile(vnics=[], cnci_vnics=[])
    assert actions(gone) == dict.fromkeys(["v9", "v10", "v11", "c1"], "removed")
    assert [event.type for event in gone.events if isinstance(event, snnet.TunnelEvent)] == [
        DEL,
        DEL,
    ]
    assert world.text() == before


def test_a_kind_that_is_not_passed_is_left_alone(world: World) -> None:
    node = prepared(world)
    before = world.text()
    assert node.reconcile().items == []
    assert world.text() == before
    assert actions(node.reconcile(cnci_vnics=[])) == {"c1": "removed"}
    assert len(node.topology().vnics) == 3
    node.create_cnci_vnic(port(1))
    assert actions(node.reconcile(vnics=[])) == dict.fromkeys(["v9", "v10", "v11"], "removed")
    assert [vnic.vnic_id for vnic in node.topology().cnci_vnics] == ["c1"]
    assert node.verify() == []


def test_what_differs_is_updated(world: World) -> None:
    node = prepared(world)
    result = node.reconcile(
        vnics=[container(9, ip="10.1.0.90"), vm(12), vm(11, subnet_number=2)],
        cnci_vnics=[port(1, mac="02:00:00:00:01:99"), port(2)],
    )
    assert actions(result) == {
        "v9": "updated",
        "v10": "removed",
        "v11": "kept",
        "v12": "created",
        "c1": "updated",
        "c2": "created",
    }
    assert {vnic.vnic_id: str(vnic.ip) for vnic in node.topology().vnics} == {
        "v9": "10.1.0.90",
        "v11": "10.2.0.11",
        "v12": "10.1.0.12",
    }
    assert [event.type for event in result.events if isinstance(event, snnet.TunnelEvent)] == []
    assert node.verify() == []


@pytest.mark.parametrize("topology", ["hub", "local", "mesh"])
@pytest.mark.parametrize(
    ("net", "first", "second"),
    [("10.1.0.0/24", "10.1.0.8", "10.1.0.9"), ("fd00:1::/64", "fd00:1::8", "fd00:1::9")],
)
def test_two_vnics_may_swap_their_addresses(
    fake: FakeWorld, topology: str, net: str, first: str, second: str
) -> None:
    """With IPv6 alone their default MACs, too, which must be alone in the subnet."""
    node = fake.node(config=fake.config(topology=topology))
    node.create_vnics([vm(8, subnet=net, ip=first), vm(9, subnet=net, ip=second)])
    result = node.reconcile(vnics=[vm(8, subnet=net, ip=second), vm(9, subnet=net, ip=first)])
    assert actions(result) == {"v8": "updated", "v9": "updated"}
    assert node.verify() == []


def test_another_key_makes_the_subnet_again(world: World) -> None:
    node = prepared(world)
    wanted = [container(9, subnet_key=77), vm(10, subnet_key=77), vm(11, subnet_number=2)]
    result = node.reconcile(vnics=wanted)
    assert actions(result) == {"v9": "updated", "v10": "updated", "v11": "kept"}
    tunnels = [event for event in result.events if isinstance(event, snnet.TunnelEvent)]
    assert [(event.type, event.subnet_key) for event in tunnels] == [(DEL, 101), (ADD, 77)]
    assert {subnet.subnet_id: subnet.key for subnet in node.topology().subnets} == {
        "s1": 77,
        "s2": 102,
    }
    assert node.verify() == []


def test_what_was_deleted_behind_its_back_is_repaired(world: World) -> None:
    node = prepared(world)
    text = world.text()
    links = {vnic.vnic_id: vnic.link_name for vnic in node.topology().vnics}
    world.delete(links["v10"])
    assert actions(node.reconcile(**same()))["v10"] == "updated"
    assert node.verify() == []
    for name in ("bridge", "tunnel"):
        (subnet,) = [one for one in node.topology().subnets if one.subnet_id == "s1"]
        link: Link | None = getattr(subnet, name)
        assert link is not None
        world.delete(link.name)
        assert actions(node.reconcile(**same())) == {
            "v9": "updated",
            "v10": "updated",
            "v11": "kept",
            "c1": "kept",
        }
        assert node.verify() == []
    world.delete(node.topology().cnci_vnics[0].link_name)
    assert actions(node.reconcile(**same()))["c1"] == "updated"
    assert world.text() == text


def test_where_somebody_follows_what_others_change_it_does_not_look(world: World) -> None:
    """What was deleted is then their business, and the call costs what it changes."""
    node = prepared(world)
    followed = True
    node.rely_on(lambda: followed)
    (gone,) = (vnic for vnic in node.topology().vnics if vnic.vnic_id == "v10")
    world.delete(gone.link_name)
    wanted = same()
    wanted["vnics"].append(vm(12))
    result = actions(node.reconcile(**wanted))
    assert (result.pop("v12"), *set(result.values())) == ("created", "kept")
    assert world.link(gone.link_name) is None
    followed = False
    assert actions(node.reconcile(**wanted))["v10"] == "updated"
    assert node.verify() == []


def test_what_it_does_not_look_at_does_not_stop_it(world: World) -> None:
    """A call that the host refuses looks, and repairs what it needs."""
    node = prepared(world)
    node.rely_on(lambda: True)
    (subnet,) = (item for item in node.topology().subnets if item.subnet_id == "s1")
    assert subnet.bridge is not None
    world.delete(subnet.bridge.name)
    wanted = same()
    wanted["vnics"].append(vm(12))
    assert actions(node.reconcile(**wanted))["v12"] == "created"
    links = {vnic.vnic_id: vnic.link_name for vnic in node.topology().vnics}
    made = world.link(links["v12"])
    assert made is not None
    assert made.master == subnet.bridge.name
    node.repair()
    assert node.verify() == []


def test_a_tunnel_that_was_lost_while_no_node_ran_is_made_again(fake: FakeWorld) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    before = fake.text()
    (subnet,) = node.topology().subnets
    assert subnet.tunnel is not None
    node.close()
    fake.delete(subnet.tunnel.name)
    node = fake.node()
    assert actions(node.reconcile(vnics=[vm(9)])) == {"v9": "updated"}
    assert (fake.text(), node.verify()) == (before, [])


@pytest.mark.parametrize("prepare", [routed, local])
def test_what_needs_no_tunnel_is_kept(
    fake: FakeWorld, prepare: Callable[[FakeWorld], snnet.ComputeNode]
) -> None:
    node = prepare(fake)
    wanted = [container(9), vm(8, subnet_number=2)]
    node.reconcile(vnics=wanted)
    assert set(actions(node.reconcile(vnics=wanted)).values()) == {"kept"}


def test_what_is_wrong_is_not_removed(world: World) -> None:
    node = prepared(world)
    before = world.text()
    wanted = same()
    wanted["vnics"][1] = vm(10, ip="10.9.0.1")
    wanted["cnci_vnics"] = [port(1), port(9, mtu=9000)]
    result = node.reconcile(**wanted)
    assert actions(result) == {
        "v9": "kept",
        "v10": "failed",
        "v11": "kept",
        "c1": "kept",
        "c9": "failed",
    }
    assert all(isinstance(item.error, snnet.InvalidRequest) for item in result.failed)
    assert world.text() == before
    with pytest.raises(snnet.InvalidRequest):
        node.reconcile(**wanted, atomic=True)
    assert world.text() == before


@pytest.mark.parametrize("kind", ["vnics", "cnci_vnics"])
def test_one_that_is_named_twice_touches_nothing(fake: FakeWorld, kind: str) -> None:
    node = prepared(fake)
    before = state(fake, node)
    twice = same()[kind][:1] * 2
    with pytest.raises(snnet.InvalidRequest, match=rf"^{kind}\[1\]: is there twice"):
        node.reconcile(**{kind: twice})
    assert state(fake, node) == before


def test_one_that_cannot_be_fails_alone(world: World) -> None:
    node = prepared(world)
    wanted = [*same()["vnics"], vm(12), vm(13, ip="10.1.0.12"), vm(14, subnet_number=3)]
    result = node.reconcile(vnics=wanted)
    assert {item.key[-1] for item in result.failed} == {"v13"}
    assert isinstance(result.failed[0].error, snnet.Conflict)
    assert actions(result)["v12"] == actions(result)["v14"] == "created"
    assert node.verify() == []


def test_reserved_vnics_stay_unless_they_are_named(fake: FakeWorld) -> None:
    node = prepared(fake)
    node.reserve(lambda identity: identity[2] == "v10")
    assert actions(node.reconcile(vnics=[])) == {"v9": "removed", "v11": "removed"}
    assert [vnic.vnic_id for vnic in node.topology().vnics] == ["v10"]
    assert actions(node.reconcile(vnics=[vm(10, ip="10.1.0.99")])) == {"v10": "updated"}


def test_the_host_is_listed_once_for_all_that_stays(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, listed, snapshot = prepared(fake), list[str](), fake.kernel.snapshot

    def listing(types: Any = None) -> Any:
        listed.extend(kind.__name__ for kind in types)
        return snapshot(types)

    monkeypatch.setattr(fake.kernel, "snapshot", listing)
    assert actions(node.reconcile(**same())) == dict.fromkeys(["v9", "v10", "v11", "c1"], "kept")
    assert listed.count("Link") == 1


def test_atomic_is_all_or_nothing(world: World) -> None:
    recorder = Recorder()
    node = prepared(world)
    before, memory = world.text(), known(node)
    node.listeners.register(recorder)
    wanted = [container(9, subnet_key=77), vm(12, subnet_number=3), vm(11, subnet_number=2)]
    foreign = Tap(name="foreign", group=0)
    world.add(foreign)
    taken = [port(2), port(3, mac="02:00:00:00:01:02")]
    with pytest.raises(snnet.Conflict, match="02:00:00:00:01:02") as caught:
        node.reconcile(vnics=wanted, cnci_vnics=taken, atomic=True)
    assert caught.value.state is snnet.State.ROLLED_BACK
    world.delete("foreign")
    recorder.check()
    assert {hook for hook, *_ in recorder.heard} == {"before", "failed"}
    assert heard(recorder) == []
    assert known(node) == memory
    assert world.text() == before
    assert node.verify() == []
    result = node.reconcile(vnics=wanted, cnci_vnics=[port(2)], atomic=True)
    assert actions(result) == {
        "v9": "updated",
        "v10": "removed",
        "v11": "kept",
        "v12": "created",
        "c1": "removed",
        "c2": "created",
    }
    assert [event.type for event in heard(recorder)] == [DEL, ADD, ADD]
    assert node.verify() == []


@pytest.mark.parametrize("atomic", [True, False])
def test_a_subnet_stays_for_the_vnics_that_stay(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    for number in (8, 9):
        node.create_vnic(vm(number))
    result = node.reconcile(vnics=[vm(9)], atomic=atomic)
    assert sorted(item.action for item in result.items) == ["kept", "removed"]
    assert [vnic.vnic_id for vnic in node.topology().vnics] == [vm(9).vnic_id]
    assert node.verify() == []


def test_a_listener_may_call_the_node_after_an_atomic_reconcile(fake: FakeWorld) -> None:
    class Calling:
        def applied(self, node: snnet.ComputeNode) -> None:
            seen.append(node.verify())

    seen: list[Any] = []
    node = fake.node(listeners=[Calling()])
    node.reconcile(**same(), atomic=True)
    assert seen == [[]] * 3


def test_an_atomic_reconcile_that_fails_repairs_nothing_else(fake: FakeWorld) -> None:
    """What was amiss before is so afterwards: only what the call did is undone."""
    node = prepared(fake)
    fake.delete(next(vnic.link_name for vnic in node.topology().vnics if vnic.vnic_id == "v11"))
    before = state(fake, node)
    fake.kernel.fail(at=5)
    with pytest.raises(snnet.Exhausted):
        node.reconcile(vnics=[vm(12)], cnci_vnics=[], atomic=True)
    assert state(fake, node) == before


def test_an_undo_that_fails_is_fatal_and_lists_what_is_left(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = prepared(fake, listeners=[recorder])
    fake.kernel.fail(at=14)
    for at in range(15, 60):
        fake.kernel.fail(at=at, error="EBUSY")
    said = r"^reconcile failed \(.*ENOMEM.*\) and could not be undone: call repair\(\); left are: "
    with pytest.raises(snnet.FatalError, match=said) as caught:
        node.reconcile(vnics=[vm(12), vm(13, subnet_number=3)], atomic=True)
    assert caught.value.leftovers
    recorder.check()
    fake.kernel.faults = type(fake.kernel.faults)()
    for driver in (node.drivers.firewall,):
        driver.faults = fake.kernel.faults  # type: ignore[attr-defined]
    node.repair()
    assert node.verify() == []


@pytest.mark.parametrize("persists", [False, True])
def test_every_operation_fails_and_the_same_call_finishes(
    monkeypatch: pytest.MonkeyPatch, persists: bool
) -> None:
    """Without atomic; ``persists``: the operation fails when it is tried alone, too."""
    wanted = [container(9, ip="10.1.0.90"), vm(12), vm(13, subnet_number=3), vm(14, mtu=1300)]
    for at in count(1):
        world, recorder = FakeWorld("gre"), Recorder()
        node = prepared(world)
        before = world.link(node.create_vnic(vm(14)).vnic.link_name)
        assert before is not None
        node.listeners.register(recorder)
        failing: list[Any] = []
        perform: Any = world.kernel.perform

        monkeypatch.setattr(world.kernel, "perform", failing_at(perform, at, persists, failing))
        result = node.reconcile(vnics=wanted)
        monkeypatch.undo()
        recorder.check()
        if not persists:
            assert [event.type for event in heard(recorder)] == [
                event.type for event in result.events if isinstance(event, snnet.TunnelEvent)
            ]
            assert result.failed == []
        elif failing and isinstance(failing[0], Add):
            assert node.verify() == [], "nothing is half made"
        again = node.reconcile(vnics=wanted)
        assert set(actions(again).values()) <= {"kept"} or persists
        assert again.failed == []
        vnics = {vnic.vnic_id: vnic for vnic in node.topology().vnics}
        assert vnics.keys() == {"v9", "v12", "v13", "v14"}
        assert world.link(before.name) == replace(before, mtu=1300, alias=vnics["v14"].link.alias)
        assert node.verify() == []
        ends = [event.type for event in heard(recorder)]
        assert (ends.count(ADD), ends.count(DEL)) == (1, 1), f"operation {at}"
        if not failing:
            assert at > 8
            return


CHANGES: list[tuple[snnet.VnicConfig, snnet.VnicConfig]] = [
    *((vm(9), vm(9, **changes)) for changes in (
        {"owner": 1000}, {"queues": 2}, {"mac": "02:00:00:00:00:99"}, {"ip": "10.1.0.90"},
        {"instance_id": "i90"}, {"role": snnet.VnicRole.TENANT_CONTAINER},
    )),
    *((vm(9, **before), vm(9)) for before in ({"owner": 1000}, {"queues": 2})),
    *((container(9), container(9, **changes)) for changes in (
        {"mac": "02:00:00:00:00:99"}, {"ip": "10.1.0.90"},
        {"ip": "10.1.0.90", "mac": "02:00:0a:01:00:09"}, {"instance_id": "i90"},
    )),
    (container(9), vm(9)),
]  # fmt: skip
"""A VNIC, and the same one with other values that only ``reconcile`` changes."""

changing = pytest.mark.parametrize(("old", "new"), CHANGES)


def ends(world: World) -> dict[str, Link]:
    """All links of the node and the far ends of pairs, without what differs each time."""
    found = world.kernel.snapshot({Link}).values()
    return {
        link.name: replace(link, index=0)
        for link in found
        if isinstance(link, Link) and link.name.startswith("sn")
    }


@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
@changing
def test_what_is_changed_is_as_if_it_had_been_made_so(
    world: World, old: snnet.VnicConfig, new: snnet.VnicConfig, restarted: bool
) -> None:
    if old.queues + new.queues > 2 and not world.hands_out_queues:
        return  # test_compute has how it refuses a tap with several queues
    node = world.node()
    node.reconcile(vnics=[old])
    if restarted:
        node.close()
        node = world.node()
    assert actions(node.reconcile(vnics=[new])) == {"v9": "updated"}
    assert node.verify() == []
    assert actions(node.reconcile(vnics=[new])) == {"v9": "kept"}
    changed = ends(world)
    node.reset_network()
    node.reconcile(vnics=[new])
    assert changed == ends(world)


@changing
def test_a_change_that_fails_leaves_the_vnic_with_its_guests_end(
    old: snnet.VnicConfig, new: snnet.VnicConfig
) -> None:
    for at in count(1):
        world = FakeWorld("gre")
        node = world.node()
        node.reconcile(vnics=[old])
        before = ends(world)
        world.kernel.fail(at, "ENOMEM")
        with suppress(snnet.Exhausted):
            node.reconcile(vnics=[new], atomic=True)
        if world.kernel.pending_failures:
            assert at > 1
            return
        assert ends(world) == before
        assert node.verify() == []


def test_a_subnet_that_an_unfinished_removal_left_is_made_again_with_another_key(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    perform = fake.kernel.perform

    def keep_tunnels(operation: Any) -> Any:
        if isinstance(operation.noun, Tunnel):
            raise snnet.Busy("cannot do it: Device or resource busy (EBUSY)")
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", keep_tunnels)
    with pytest.raises(snnet.Incomplete):
        node.destroy_vnic(vm(9))
    monkeypatch.undo()
    result = node.reconcile(vnics=[vm(9, subnet_key=77)])
    assert actions(result) == {"v9": "created"}
    events = [event for event in result.events if isinstance(event, snnet.TunnelEvent)]
    assert [(event.type, event.subnet_key) for event in events] == [(DEL, 101), (ADD, 77)]
    assert [subnet.key for subnet in node.topology().subnets] == [77]
    assert node.verify() == []


def failing_at(perform: Any, at: int, persists: bool, failing: list[Any]) -> Any:
    """Work that fails at its ``at``-th operation; ``failing`` notes it."""
    seen = [0]

    def troubled(operation: Any) -> Any:
        seen[0] += 1
        if seen[0] == at:
            failing.append(operation)
        if operation in failing and (persists or seen[0] == at):
            raise snnet.Busy("cannot do it: Device or resource busy (EBUSY)")
        return perform(operation)

    return troubled


def test_other_calls_go_on_meanwhile(fake: FakeWorld) -> None:
    class Meanwhile:
        done = False

        def before_apply(self, node: snnet.ComputeNode) -> None:
            if not self.done:
                self.done = True
                # In another subnet nothing waits for the reconcile.
                node.create_vnic(vm(20, subnet_number=7), timeout=5)

    node = prepared(fake)
    node.listeners.register(Meanwhile())
    node.reconcile(vnics=[*same()["vnics"], vm(12)])
    assert "v20" in {vnic.vnic_id for vnic in node.topology().vnics}


def test_descriptors_of_queues_are_not_left_open(fake: FakeWorld) -> None:
    node = fake.node()
    before = len(os.listdir("/proc/self/fd"))
    node.reconcile(vnics=[vm(9, queues=3)])
    node.reconcile(vnics=[vm(9, queues=2), vm(10, ip="10.1.0.9")])
    node.reconcile(vnics=[vm(9, queues=4)], atomic=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_thousand(fake: FakeWorld) -> None:
    node = fake.node(api_timeout=60)
    wanted = [
        vm(10 + number, subnet_number=subnet) for number in range(200) for subnet in range(1, 6)
    ]
    assert len(node.reconcile(vnics=wanted, atomic=True).items) == 1000
    result = node.reconcile(vnics=wanted[5:])
    assert [action for action in actions(result).values() if action != "kept"] == ["removed"]
    assert len(result.items) == 1000
    assert node.verify() == []


@pytest.mark.parametrize("atomic", [False, True])
def test_subnets_can_swap_their_keys(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    one, two = vm(8, subnet_key=7), vm(9, subnet_number=2, subnet_key=8)
    node.reconcile(vnics=[one, two])
    swapped = [vm(8, subnet_key=8), vm(9, subnet_number=2, subnet_key=7)]
    assert {item.action for item in node.reconcile(vnics=swapped, atomic=atomic).items} == {
        "updated"
    }
    assert [subnet.key for subnet in node.topology().subnets] == [8, 7]
    assert node.verify() == []


def test_a_subnet_can_have_the_key_of_one_that_goes(fake: FakeWorld) -> None:
    node = fake.node()
    node.reconcile(vnics=[vm(8, subnet_key=7), vm(9, subnet_number=2, subnet_key=8)])
    result = node.reconcile(vnics=[vm(8, subnet_key=8)], atomic=True)
    assert {item.key[2]: item.action for item in result.items} == {
        "v8": "updated",
        "v9": "removed",
    }


@pytest.mark.parametrize("atomic", [False, True])
def test_cnci_vnics_can_swap_their_macs(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    node.reconcile(cnci_vnics=[port(1), port(2)])
    one, two = (port(number).mac for number in (1, 2))
    result = node.reconcile(cnci_vnics=[port(1, mac=two), port(2, mac=one)], atomic=atomic)
    assert [item.action for item in result.items] == ["updated", "updated"]
    assert [vnic.mac for vnic in node.topology().cnci_vnics] == [two, one]
    assert node.verify() == []
