"""Security groups of a compute node: set, used by VNICs, kept through restarts, removed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

import snnet
from snnet import Group, NetworkMode, Rule
from snnet.contract import GroupMembers, GroupRules, PortGroups
from snnet.system.host import RealHost
from tests.killed import Killed
from tests.node.test_policies import dying, index, state
from tests.node.world import FakeWorld, RealWorld, World, container, vm

WEB = Rule("in", "tcp", 80)
TO_Y = Rule("out", remote="group:y")
FROM_DB = Rule("in", "tcp", 22, "group:db")
NOT_IT: dict[str, Any] = {"rules": [WEB, FROM_DB], "members": ["10.1.0.77", "fd00:1::77"]}


def rules_of(node: snnet.ComputeNode) -> list[str]:
    found = node.drivers.firewall.snapshot({GroupMembers, GroupRules, PortGroups}).values()
    return sorted(map(str, found))


def both(node: snnet.ComputeNode) -> None:
    node.set_group("t1", "db")
    node.set_group("t1", "web", **NOT_IT)


@pytest.fixture(params=NetworkMode, ids=lambda mode: mode.value)
def mode(request: pytest.FixtureRequest) -> NetworkMode:
    found: NetworkMode = request.param
    return found


def test_a_vnic_is_in_groups_and_leaves_them(walled: World, mode: NetworkMode) -> None:
    node = walled.node(config=walled.config(mode=mode))
    before = state(walled, node)
    both(node)
    made = node.create_vnic(vm(9, groups=["web", "db", "web"])).vnic
    assert made.groups == ("db", "web")
    assert rules_of(node) == [
        "group db of t1: nothing passes",
        "group web of t1: in tcp 80 from anybody; in tcp 22 from group:db",
        "members of group db of t1: none elsewhere",
        "members of group web of t1: 10.1.0.77 fd00:1::77",
        f"only what groups db web of t1 allow at {made.link_name}",
    ]
    assert node.verify() == []
    there = index(walled, made)
    assert node.update_vnic(vm(9, groups=["db"])).groups == ("db",)
    assert node.update_vnic(vm(9)).groups == ()
    assert node.update_vnic(vm(9, groups=["web"])).groups == ("web",)
    assert index(walled, made) == there
    assert node.verify() == []
    assert node.topology().to_dict()["tenants"]["t1"]["groups"][1]["name"] == "web"
    node.destroy_vnic(vm(9))
    node.remove_group("t1", "web")
    node.remove_group("t1", "db")
    node.remove_group("t1", "db")  # again
    assert state(walled, node) == before
    node.reset_network()


def test_a_group_changes_while_it_is_used(walled: World) -> None:
    node = walled.node()
    both(node)
    node.create_vnic(container(9, groups=["web"]))
    assert not node.plan_set_group("t1", "web", **NOT_IT)
    plan = node.plan_set_group("t1", "web", rules=NOT_IT["rules"], members=["10.1.0.78"])
    assert [type(operation).__name__ for operation in plan] == ["Change"]
    node.set_group("t1", "web", rules=[Rule("out")], members=["10.1.0.78"])
    assert node.topology().groups == (
        Group(tenant_id="t1", name="db"),
        Group(tenant_id="t1", name="web", rules=[Rule("out")], members=["10.1.0.78"]),
    )
    assert node.verify() == []
    node.reset_network()
    assert node.topology().groups == ()


def test_everything_is_there_after_a_restart_and_a_flush(walled: World, mode: NetworkMode) -> None:
    config = walled.config(mode=mode)
    with walled.node(config=config) as node:
        both(node)
        made = node.create_vnic(vm(9, groups=["web"])).vnic
        before, known = state(walled, node), node.topology()
    with walled.node(config=config) as node:
        assert node.topology() == known
        assert node.verify() == []
    if isinstance(walled, RealWorld):
        walled.run("nft", "flush", "ruleset")
    else:
        kernel = walled.kernel
        assert isinstance(kernel, snnet.FakeKernel)
        for noun in list(kernel.state.nouns.values()):
            if isinstance(noun, (GroupMembers, GroupRules, PortGroups)):
                kernel.state.drop(noun)
    with walled.node(config=config) as node:
        assert node.topology().groups == known.groups
        assert node.create_vnic(vm(9, groups=["web"])).vnic == made
        assert node.verify() == []
        assert state(walled, node) == before
        node.reset_network()


def test_without_its_record_a_node_reads_groups_from_the_rules(walled: World) -> None:
    with walled.node() as node:
        both(node)
        node.create_vnic(vm(9, groups=["web"]))
        before, known = state(walled, node), node.topology()
    if isinstance(walled, FakeWorld):
        walled.kernel.state.journals.clear()
    else:
        assert isinstance(walled, RealWorld)
        host = walled.kernel.host
        assert isinstance(host, RealHost)
        (path,) = host.runtime.glob(f"journal-intents-cn:cn-1-{host._file_id}.jsonl")
        path.unlink()
    with walled.node() as node:
        assert sorted(node.topology().groups, key=lambda group: group.name) == list(known.groups)
        assert node.topology().vnics == known.vnics
        assert state(walled, node) == before
        node.reset_network()


def test_members_are_closed_where_rules_are_lost(fake: FakeWorld) -> None:
    with fake.node() as node:
        node.set_group("t1", "web", rules=[WEB])
        node.create_vnic(vm(9, groups=["web"]))
    for name, lines in fake.kernel.state.journals.items():
        fake.kernel.state.journals[name] = [line for line in lines if '["group"' not in line]
    for noun in list(fake.kernel.state.nouns.values()):
        if isinstance(noun, (GroupMembers, GroupRules, PortGroups)):
            fake.kernel.state.drop(noun)
    with fake.node(init=False) as node:
        (line,) = node.init().orphans
        assert line.startswith("group web of tenant t1 lost its rules")
        assert "group web of t1: nothing passes" in rules_of(node)
        node.set_group("t1", "web", rules=[WEB])
        assert node.verify() == []


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda node: node.create_vnic(vm(9, groups=["none"])), "call set_group first"),
        (lambda node: node.update_vnic(vm(8, groups=["none"])), "call set_group first"),
        (lambda node: node.set_group("t1", "x", rules=[TO_Y]), "group x names y"),
        (lambda node: node.set_group("t2", "x", rules=[FROM_DB]), "tenant t2 has no such group"),
        (lambda node: node.remove_group("t1", "web"), "VNIC v8 of subnet s1 is in it"),
        (lambda node: node.remove_group("t1", "db"), "a rule of group web names it"),
    ],
)  # fmt: skip
def test_what_contradicts_is_a_conflict(fake: FakeWorld, call: Any, named: str) -> None:
    node = fake.node()
    both(node)
    node.create_vnic(vm(8, groups=["web"]))
    before = fake.text()
    with pytest.raises(snnet.Conflict, match=named):
        call(node)
    assert fake.text() == before
    assert node.verify() == []


def test_without_a_firewall_groups_are_refused_before_anything(fake: FakeWorld) -> None:
    node = fake.node(firewall="none")
    before = fake.text()
    with pytest.raises(snnet.Unsupported):
        node.set_group("t1", "web", rules=[WEB])
    assert fake.text() == before
    assert node.topology().groups == ()


def actions(done: snnet.Reconciled) -> dict[str, str]:
    return {item.key[-1]: item.action for item in done.items}


@pytest.mark.parametrize("atomic", [True, False])
def test_reconcile_has_exactly_these_groups(walled: World, atomic: bool) -> None:
    node = walled.node()
    circle = [
        Group(tenant_id="t1", name="a", rules=[Rule("in", remote="group:b")]),
        Group(tenant_id="t1", name="b", rules=[Rule("in", remote="group:a")]),
    ]
    vnics = [vm(9, groups=["a", "b"])]
    done = node.reconcile(vnics=vnics, groups=circle, atomic=atomic)
    assert actions(done) == {"a": "created", "b": "created", "v9": "created"}
    done = node.reconcile(vnics=vnics, groups=circle, atomic=atomic)
    assert actions(done) == {"a": "kept", "b": "kept", "v9": "kept"}
    circle[1] = replace(circle[1], members=["10.1.0.5"])
    assert actions(node.reconcile(groups=circle, atomic=atomic)) == {"a": "kept", "b": "updated"}
    circle = [replace(group, members=["10.1.0.6"]) for group in circle]
    assert actions(node.reconcile(groups=circle, atomic=atomic)) == {"a": "updated", "b": "updated"}
    assert node.reconcile(vnics=vnics, atomic=atomic).failed == []
    assert len(node.topology().groups) == 2
    assert node.verify() == []
    done = node.reconcile(vnics=[vm(9)], groups=[], atomic=atomic)
    assert actions(done) == {"v9": "updated", "a": "removed", "b": "removed"}
    assert node.verify() == []
    node.reset_network()


def test_a_failed_item_does_not_stop_others(fake: FakeWorld) -> None:
    node = fake.node()
    groups = [
        Group(tenant_id="t1", name="a", rules=[Rule("in", remote="group:none")]),
        Group(tenant_id="t1", name="b"),
    ]
    done = node.reconcile(vnics=[vm(8, groups=["a"]), vm(9, groups=["b"])], groups=groups)
    assert actions(done) == {"a": "failed", "b": "created", "v8": "failed", "v9": "created"}
    with pytest.raises(snnet.Conflict):
        node.reconcile(groups=groups, atomic=True)
    assert node.verify() == []
    for wrong, why in (([groups[1], groups[1]], "is there twice"), ([groups[1], 5], "")):
        with pytest.raises(snnet.InvalidRequest, match=rf"^groups\[1\]: {why}") as caught:
            node.reconcile(groups=wrong)  # type: ignore[arg-type]
        assert caught.value.field == "groups[1]"


def test_an_error_says_which_part_of_a_reconcile_failed(fake: FakeWorld) -> None:
    node = fake.node()
    groups = [Group(tenant_id="t1", name=name) for name in "ab"]
    fake.kernel.fail(at=1)
    with pytest.raises(snnet.Exhausted, match=r"^reconcile failed and was rolled back"):
        node.reconcile(groups=groups, atomic=True)
    for at in (1, 2):
        fake.kernel.fail(at=at)
    (failed,) = node.reconcile(groups=groups).failed
    assert str(failed.error).startswith("reconcile a failed and was rolled back")
    node.reconcile(groups=groups)
    fake.kernel.fail(at=1, error="EBUSY")
    with pytest.raises(snnet.Incomplete, match=r"^reconcile is unfinished"):
        node.reconcile(groups=[], atomic=True)


def test_a_group_that_somebody_took_away_is_not_kept(fake: FakeWorld) -> None:
    node = fake.node()
    groups = [Group(tenant_id="t1", name=name, rules=[WEB]) for name in ("a", "b")]
    node.reconcile(groups=groups)
    fake.kernel.state.drop(groups[0].nouns(node.site)[1])
    assert actions(node.reconcile(groups=groups)) == {"a": "updated", "b": "kept"}
    assert node.verify() == []


def test_what_cannot_be_removed_together_is_removed_one_by_one(fake: FakeWorld) -> None:
    node = fake.node()
    node.reconcile(groups=[Group(tenant_id="t1", name=name) for name in "abcd"])
    node.reserve(lambda _: False, groups=lambda group: group == ("t1", "d"))
    node.create_vnic(vm(9, groups=["a"]))
    with pytest.raises(snnet.Conflict, match="v9"):
        node.reconcile(groups=[], atomic=True)
    fake.kernel.fail(at=1, error="EBUSY")
    done = node.reconcile(groups=[])
    assert [(item.key, item.action) for item in done.items] == [
        (("group", "t1", "a"), "failed"),
        (("group", "t1", "b"), "failed"),
        (("group", "t1", "c"), "removed"),
    ]
    conflict, busy = (item.error for item in done.failed)
    assert isinstance(conflict, snnet.Conflict)
    assert str(busy).startswith("reconcile b is unfinished")
    assert fake.kernel.pending_failures == ()


def test_killed_in_the_middle_it_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: Sequence[Any] = (
        lambda node: node.set_group("t1", "web", rules=[WEB], members=["10.1.0.7"]),
        lambda node: node.create_vnic(vm(9, groups=["web"])),
        lambda node: node.set_group("t1", "web", rules=[Rule("out")], members=["10.1.0.8"]),
        lambda node: node.update_vnic(vm(9)),
        lambda node: node.remove_group("t1", "web"),
    )
    kills = 0
    for number in range(len(steps)):
        for at in range(20):
            world = FakeWorld("gre")
            node = world.node()
            for step in steps[:number]:
                step(node)
            with monkeypatch.context() as patch:
                dying(patch, at)
                try:
                    steps[number](node)
                except Killed:
                    kills += 1
                else:
                    break
            node = world.node()
            assert node.verify() == []
            for step in steps[number:]:
                step(node)
            assert node.verify() == []
            assert node.topology().groups == ()
    assert kills > len(steps)


def test_the_fabric_names_group_and_rule() -> None:
    """A "web" group: port 80 comes in, no ping; the walk says by which rule."""
    fabric = snnet.Fabric()
    kernel = fabric.add_host("cn-1", "192.0.2.11/24")
    world = FakeWorld("gre")
    world.kernel = kernel
    node = world.node()
    node.set_group("t1", "web", rules=[WEB, Rule("out")])
    first = fabric.attach(kernel, node.create_vnic(vm(9, groups=["web"])).vnic)
    second = fabric.attach(kernel, node.create_vnic(vm(10)).vnic)
    assert not fabric.ping(second, "10.1.0.9")
    assert fabric.ping(first, "10.1.0.10")
    said = str(fabric.explain(second, "10.1.0.9"))
    assert "dropped by: only what groups web of t1 allow" in said
    assert "no rule lets in echo request" in said
    assert "let out by group web: out anything to anybody" in str(
        fabric.explain(first, "10.1.0.10")
    )


def test_dump_names_groups(walled: World) -> None:
    node = walled.node()
    both(node)
    made = node.create_vnic(vm(9, groups=["web"])).vnic
    text = node.dump_firewall()
    assert "web" in text
    assert made.link_name in text
    node.reset_network()


def test_a_bad_rule_in_the_record_is_damage_of_one_line(fake: FakeWorld) -> None:
    """The node starts, says so, and has the other groups."""
    with fake.node() as node:
        node.set_group("t1", "db", rules=[WEB])
        node.set_group("t1", "web", rules=[WEB], members=["10.1.0.77"])
    (lines,) = (found for found in fake.kernel.state.journals.values() if found)
    lines[:] = [line.replace('"tcp"', '"tcpp"', 1) for line in lines[:1]] + lines[1:]
    with fake.node() as node:
        assert [group.name for group in node.topology().groups] == ["db", "web"]
        assert node.verify() == []


TWIN = vm(8, subnet_number=2, subnet="10.1.0.0/24", ip="10.1.0.9")
"""In another subnet, with the address of ``vm(9)``."""


def test_two_members_of_a_group_need_different_addresses(walled: World) -> None:
    """Members are known by their addresses alone: one could not leave without the other."""
    node = walled.node()
    both(node)
    node.create_vnic(vm(9, groups=["web", "db"]))
    before = state(walled, node)
    named = "10.1.0.9 is that of VNIC v9 of subnet s1 too, which is in group web"
    with pytest.raises(snnet.Conflict, match=named):
        node.create_vnic(replace(TWIN, groups=["web"]))
    assert state(walled, node) == before
    node.create_vnic(TWIN)
    with pytest.raises(snnet.Conflict, match=named):
        node.update_vnic(replace(TWIN, groups=["web"]))
    assert node.update_vnic(vm(9, groups=["db"])).groups == ("db",)
    assert node.update_vnic(replace(TWIN, groups=["web"])).groups == ("web",)
    node.destroy_vnic(vm(9))
    assert node.verify() == []
    node.reset_network()


def test_members_with_one_address_are_refused_in_one_call_and_at_once(fake: FakeWorld) -> None:
    node = fake.node()
    both(node)
    before = fake.text()
    twins = [vm(9, groups=["web"]), replace(TWIN, groups=["web"])]
    with pytest.raises(snnet.Conflict, match="VNIC v9 of subnet s1 too"):
        node.create_vnics(twins, atomic=True)
    assert fake.text() == before
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda cfg: node.create_vnics([cfg])[0], twins))
    assert sorted(type(one.error).__name__ for one in done) == ["Conflict", "NoneType"]
    elsewhere = vm(7, tenant=2, ip="10.1.0.9", subnet="10.1.0.0/24", groups=["web"])
    node.set_group("t2", "web")
    node.create_vnic(elsewhere)
    assert node.verify() == []
