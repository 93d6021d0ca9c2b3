"""Defects that were found and must not come back, each as a test of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet.contract import Change, SharedSysctl, Sysctl
from snnet.node.claims import Claim, Claims
from tests.node.every_call import NEAR, NET, concentrator, routed
from tests.node.test_cnci import forwarding
from tests.node.test_properties import Recorder, state
from tests.node.world import FakeWorld, World, vm

ROUTED = snnet.NetworkMode.ROUTED


class No:
    def before_apply(self) -> None:
        raise snnet.Veto("no")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_preview_on_a_routed_node_forwards_nothing(world: World, read_only: bool) -> None:
    node = world.node(config=world.config(mode=ROUTED))
    node.reset_network()
    before = world.text()
    assert forwarding(world) == "0"
    if read_only:
        node = world.node(config=world.config(mode=ROUTED), read_only=True)
    plan = node.plan_create_vnic(vm(9))
    assert any(isinstance(operation.noun, SharedSysctl) for operation in plan)
    assert forwarding(world) == "0"
    assert world.text() == before
    with world.kernel.host.record("sysctl") as record:
        assert record == {}


def test_a_vetoed_subnet_forwards_nothing(world: World) -> None:
    cnci = world.cnci()
    cnci.shutdown()
    before = world.text()
    plan = cnci.plan_add_remote_subnet(NET, 7, NEAR)
    assert any(isinstance(operation.noun, SharedSysctl) for operation in plan)
    cnci.listeners.register(no := No())
    with pytest.raises(snnet.Veto):
        cnci.add_remote_subnet(NET, 7, NEAR)
    assert forwarding(world) == "0"
    assert world.text() == before
    cnci.listeners.unregister(no)
    cnci.add_remote_subnet(NET, 7, NEAR)
    assert forwarding(world) == "1"
    cnci.shutdown()
    assert world.text() == before


@pytest.mark.parametrize("make", ["cnci", "routed"])
def test_a_failed_init_leaves_no_sysctl_changed(world: World, make: str) -> None:
    def start(**options: Any) -> Any:
        if make == "cnci":
            return world.cnci(**options)
        return world.node(config=world.config(mode=ROUTED), **options)

    before = world.text()
    with pytest.raises(snnet.Veto):
        start(listeners=[No()])
    assert world.text() == before
    with world.kernel.host.record("sysctl") as record:
        assert record == {}
    node = start()  # nobody holds the lock any more
    assert forwarding(world) == "1"
    node.close()


@pytest.mark.parametrize("prepare", [concentrator, routed])
def test_every_operation_of_init_fails_once(prepare: Callable[..., Any]) -> None:
    at = 0
    while True:
        at += 1
        world = FakeWorld("gre")
        prepare(world).close()
        world.kernel.state.records.clear()
        for name in [one for one in world.kernel.state.sysctls if "ipv6.conf.s" not in one]:
            del world.kernel.state.sysctls[name]  # but not those that come with our links
        before = world.text()
        world.kernel.fail(at=at)
        options: Any = {"config": world.config(mode=ROUTED)} if prepare is routed else {}
        node = (world.node if prepare is routed else world.cnci)(init=False, **options)
        try:
            node.init()
        except snnet.ApiError:
            assert world.text() == before
            assert world.kernel.state.records == {}
            node.init()
            assert node.verify() == []
            continue
        assert at > 1
        return


@pytest.mark.parametrize("prepare", [concentrator, routed])
def test_a_watcher_sees_that_forwarding_was_turned_off(
    world: World, prepare: Callable[..., Any]
) -> None:
    node = prepare(world)
    watcher = prepare(world, read_only=True)
    assert watcher.verify() == []
    name = "net.ipv4.ip_forward"
    off = Change(Sysctl(name=name, value="0"), Sysctl(name=name, value="1"))
    assert world.kernel.apply([off]).error is None
    assert [line for line in watcher.verify() if name in line]
    node.repair()
    assert watcher.verify() == []
    if isinstance(node, snnet.Cnci):
        node.shutdown()


@pytest.mark.parametrize("listening", [False, True])
def test_a_create_that_has_to_look_again_is_told_once(fake: FakeWorld, listening: bool) -> None:
    node = fake.node()
    node.create_vnic(vm(8))
    recorder = Recorder()
    if listening:
        node.listeners.register(recorder)
    for name in ("snb-", "snv-"):
        fake.delete(next(link.name for link in fake.links() if link.name.startswith(name)))
        node.create_vnic(vm(9))
        node.create_vnic(vm(8))
        assert node.verify() == []
        node.destroy_vnic(vm(9))
    hooks = [hook for hook, *_ in recorder.heard]
    assert set(hooks[::2]) <= {"before"}
    assert set(hooks[1::2]) <= {"applied"}
    assert bool(hooks) == listening


def test_a_collision_with_a_foreign_object_is_a_public_conflict(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    before = state(fake, node)
    perform = fake.kernel.perform
    count = [0]

    def taken(operation: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise snnet.Exists("cannot add it: File exists (EEXIST)")
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", taken)
    with pytest.raises(snnet.Conflict, match="choose another") as caught:
        node.create_vnic(vm(9))
    monkeypatch.undo()
    assert type(caught.value) is snnet.Conflict
    assert caught.value.state is snnet.State.ROLLED_BACK
    recorder.check()
    assert recorder.heard[-1][2] is caught.value
    node.listeners.unregister(recorder)
    assert state(fake, node) == before


def test_a_second_try_claims_at_least_what_the_first_one_did(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci = concentrator(fake)
    claimed: list[Claim] = []
    hold = Claims.hold

    def noting(claims: Claims, decide: Any, deadline: Any) -> Any:
        def decided(held: Any) -> Claim:
            claimed.append(decide(held))
            return claimed[-1]

        return hold(claims, decided, deadline)

    fake.delete(str(cnci.topology()["subnets"][NET]["bridge"]))
    monkeypatch.setattr(Claims, "hold", noting)
    cnci.add_remote_subnet(NET, 7, "192.0.2.23")
    first, second = claimed
    assert first.alone < second.alone
    assert first.shared <= second.alone
    cnci.add_remote_subnet(NET, 7, NEAR)
    assert cnci.verify() == []
