"""VNICs that change while they are in use: MTU, extra addresses, anti-spoofing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.backends.fake.driver import FakeDriver
from snnet.contract import AntiSpoof, DhcpGuard, Noun, Operation
from snnet.core.policies import NO_POLICY
from snnet.core.vnics import Vnic
from tests.killed import Killed
from tests.node.world import FakeWorld, World, container, vm

EXTRA: dict[str, Any] = {"extra_addresses": ["10.1.0.200", "172.17.0.0/16", "fd00:7::/64"]}
OPEN: dict[str, Any] = {"anti_spoofing": False}
SMALL: dict[str, Any] = {"mtu": 1300}
RATES: dict[str, Any] = {"rate_to_guest": "50mbit", "rate_from_guest": 10_000_000}
ALL: dict[str, dict[str, Any]] = {
    "extra": EXTRA,
    "open": OPEN,
    "mtu": SMALL,
    "rates": RATES,
    "all": {**EXTRA, **SMALL, **RATES, "anti_spoofing": True},
}
policies = pytest.mark.parametrize("policy", ALL.values(), ids=ALL)


def guard(node: snnet.ComputeNode, vnic: Vnic) -> AntiSpoof | None:
    """The rule about the VNIC's addresses, as the firewall has it."""
    found = node.drivers.firewall.snapshot({AntiSpoof})
    rules = [rule for rule in found.values() if isinstance(rule, AntiSpoof)]
    return next((rule for rule in rules if rule.link == vnic.link_name), None)


def state(world: World, node: snnet.ComputeNode) -> set[str]:
    found = [*world.kernel.snapshot().values(), *node.drivers.firewall.snapshot().values()]
    return {str(noun) for noun in found}


def index(world: World, vnic: Vnic) -> int:
    link = world.link(vnic.link_name)
    assert link is not None
    return link.index


@policies
@pytest.mark.parametrize("make", [vm, container])
def test_a_vnic_changes_in_place_and_back(
    walled: World, make: Callable[..., snnet.VnicConfig], policy: dict[str, Any]
) -> None:
    node, plain, other = walled.node(), make(9), make(9, **policy)
    made = node.create_vnic(plain).vnic
    before, there = state(walled, node), index(walled, made)
    changed = node.update_vnic(other)
    assert index(walled, made) == there
    assert node.topology().vnics == (changed,)
    assert node.verify() == []
    assert changed.mtu == (policy.get("mtu") or made.mtu)
    rule = guard(node, changed)
    assert (rule is None) == (policy.get("anti_spoofing") is False)
    for address in ("10.1.0.200", "172.17.9.9", "fd00:7::9"):
        allowed = rule is None or rule.allows(ip_address(address))
        assert allowed == ("extra_addresses" in policy or rule is None), address
    assert not node.plan_update_vnic(other)
    assert node.update_vnic(other) == changed  # again
    assert node.create_vnic(other).vnic == changed
    with pytest.raises(snnet.Conflict, match="update_vnic changes that in place"):
        node.create_vnic(plain)
    assert node.update_vnic(plain) == made
    assert state(walled, node) == before
    node.destroy_vnic(plain)
    node.reset_network()


@policies
def test_a_policy_is_there_after_a_restart(walled: World, policy: dict[str, Any]) -> None:
    with walled.node() as node:
        made = node.create_vnic(vm(9, **policy)).vnic
        node.create_vnic(vm(10))
        before = state(walled, node)
    with walled.node() as node:
        assert node.verify() == []
        assert node.topology().vnics[0] == made
        assert node.create_vnic(vm(9, **policy)).vnic == made
        assert state(walled, node) == before
        node.destroy_vnic(vm(9))
    with walled.node() as node:
        again = node.create_vnic(vm(9)).vnic
        assert again.extra_addresses == ()
        assert again.anti_spoofing is None
        assert node.verify() == []
        node.reset_network()


def test_extra_addresses_are_read_from_the_rules_if_the_record_is_lost(fake: FakeWorld) -> None:
    with fake.node() as node:
        made = node.create_vnic(vm(9, **EXTRA)).vnic
        closed = node.create_vnic(vm(10, **OPEN)).vnic
    fake.kernel.state.journals.clear()
    with fake.node() as node:
        first, second = node.topology().vnics
        assert first == made
        # What is not known is closed.
        assert second == replace(closed, policy=NO_POLICY, dependents=second.dependents)
        assert guard(node, second) is not None
        assert node.verify() == []
    with fake.node() as node:
        assert node.topology().vnics[0] == made


def test_a_node_without_anti_spoofing_guards_those_that_ask_for_it(walled: World) -> None:
    node = walled.node(config=walled.config(anti_spoofing=False))
    free = node.create_vnic(vm(8)).vnic
    bound = node.create_vnic(vm(9, anti_spoofing=True)).vnic
    assert guard(node, free) is None
    assert guard(node, bound) is not None
    rules = node.drivers.firewall.snapshot({AntiSpoof, DhcpGuard})
    node.destroy_vnic(vm(9))
    assert len(rules) - len(node.drivers.firewall.snapshot({AntiSpoof, DhcpGuard})) == 2
    node.reset_network()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ip": "10.1.0.10", "mac": "02:00:0a:01:00:09"}, "ip 10.1.0.9"),
        ({"mac": "02:00:00:00:00:77"}, "mac 02:00:0a:01:00:09"),
        ({"instance_id": "other"}, "instance_id i9"),
        ({"queues": 2}, "queues 1 .asked for: several."),
        ({"role": snnet.VnicRole.TENANT_CONTAINER}, "role"),
        ({"subnet": "10.1.0.0/25"}, "subnet 10.1.0.0/24"),
        ({"subnet_key": 8}, "subnet_key"),
        ({"vnic_id": "v99", "ip": "10.1.0.99"}, "not on this node"),
    ],
)
def test_what_cannot_change_in_place_is_a_conflict_that_names_it(
    fake: FakeWorld, changes: dict[str, Any], named: str
) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    node.create_vnic(vm(11))
    before = fake.text()
    with pytest.raises(snnet.Conflict, match=named):
        node.update_vnic(vm(9, **EXTRA | changes))
    assert fake.text() == before
    assert node.verify() == []


def test_the_whole_plan_is_rolled_back(walled: World) -> None:
    """Every operation of the plan fails once, and everything is as before."""
    if not isinstance(walled, FakeWorld):
        return
    node, wanted = walled.node(), vm(9, **ALL["all"])
    node.create_vnic(vm(9))
    before, known = walled.text(), node.topology()
    for at in range(1, len(node.plan_update_vnic(wanted)) + 1):
        walled.kernel.fail(at=at)
        with pytest.raises(snnet.ApiError):
            node.update_vnic(wanted)
        assert walled.text() == before
        assert node.topology() == known
        assert node.verify() == []
    node.update_vnic(wanted)


def dying(patch: pytest.MonkeyPatch, at: int) -> None:
    """Have the process die before the operation ``at``, of any driver."""
    perform, left = FakeDriver.perform, [at]

    def mortal(driver: FakeDriver, operation: Operation) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return perform(driver, operation)

    patch.setattr(FakeDriver, "perform", mortal)


def test_killed_in_the_middle_it_is_one_or_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    done, at = False, 0
    while not done:
        world = FakeWorld("gre")
        node = world.node()
        old = node.create_vnic(vm(9)).vnic
        with monkeypatch.context() as patch:
            dying(patch, at)
            try:
                node.update_vnic(vm(9, **ALL["all"]))
                done = True
            except Killed:
                pass
        node = world.node()
        assert node.verify() == []
        (found,) = node.topology().vnics
        assert found.policy == old.policy or found.extra_addresses
        node.update_vnic(vm(9, **ALL["all"]))
        assert node.verify() == []
        at += 1
    assert at > 1


def test_reconcile_changes_what_it_can_in_place(walled: World) -> None:
    node = walled.node()
    made = node.create_vnic(vm(9)).vnic
    node.create_vnic(vm(10))
    there = index(walled, made)
    done = node.reconcile(vnics=[vm(9, **ALL["all"]), vm(10)])
    assert {item.key[2]: item.action for item in done.items} == {"v9": "updated", "v10": "kept"}
    assert index(walled, made) == there
    vnic = next(vnic for vnic in node.topology().vnics if vnic.vnic_id == "v9")
    assert vnic.mtu == 1300
    assert vnic.extra_addresses
    assert node.verify() == []
    node.reconcile(vnics=[])


def test_in_routed_mode_only_the_mtu_changes(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(mode=snnet.NetworkMode.ROUTED))
    node.create_vnic(vm(9))
    assert node.update_vnic(vm(9, mtu=1300)).mtu == 1300
    for policy in (EXTRA, OPEN):
        with pytest.raises(snnet.InvalidRequest, match="in mode routed"):
            node.update_vnic(vm(9, **policy))
    assert node.verify() == []


def test_extra_addresses_work_where_frames_go() -> None:
    fabric = snnet.Fabric()
    kernel = fabric.add_host("cn-1", "192.0.2.11/24")
    world = FakeWorld("gre")
    world.kernel = kernel
    node = world.node()
    first, second = (node.create_vnic(vm(number)).vnic for number in (9, 10))
    vip = fabric.attach(kernel, first, address="10.1.0.200/24")
    other = fabric.attach(kernel, second)
    assert not fabric.ping(vip, "10.1.0.10")
    assert "only 02:00:0a:01:00:09 10.1.0.9" in str(fabric.explain(vip, "10.1.0.10"))
    node.update_vnic(vm(9, extra_addresses=["10.1.0.192/28"]))
    assert fabric.ping(vip, "10.1.0.10")
    assert fabric.ping(other, "10.1.0.200")


def test_what_is_given_is_merged() -> None:
    node = FakeWorld("gre").node()
    given = ["10.1.0.201", ip_address("10.1.0.200"), ip_network("10.1.0.200/31"), "fd00:7::1/128"]
    vnic = node.create_vnic(vm(9, extra_addresses=given)).vnic
    assert list(map(str, vnic.extra_addresses)) == ["fd00:7::1", "10.1.0.200/31"]
    assert vnic.to_dict()["extra_addresses"] == ["fd00:7::1", "10.1.0.200/31"]
    cfg = snnet.VnicConfig(**vm(9, **EXTRA).to_dict())
    assert cfg.extra_addresses == (
        IPv4Address("10.1.0.200"),
        IPv4Network("172.17.0.0/16"),
        IPv6Network("fd00:7::/64"),
    )
    assert "extra_addresses" not in vm(9).to_dict()


def nouns(node: snnet.ComputeNode) -> list[Noun]:
    return [operation.noun for operation in node.plan_update_vnic(vm(9, **ALL["all"]))]


def test_each_driver_has_one_transaction(fake: FakeWorld) -> None:
    """Rules are not apart from each other in the plan: a driver takes them at once."""
    node = fake.node()
    node.create_vnic(vm(9, anti_spoofing=False))
    kinds = [isinstance(noun, (AntiSpoof, DhcpGuard)) for noun in nouns(node)]
    assert kinds == [True, True, *[False] * (len(kinds) - 2)]
