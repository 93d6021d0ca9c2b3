"""Many VNICs in one call: results in order, shared work, all or nothing by choice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Bridge, Operation, Tap, Tunnel
from snnet.node.bulk import CHUNK
from tests.node.test_properties import Recorder, close, known, state
from tests.node.world import FakeWorld, World, container, vm

ADD, DEL = snnet.TunnelEventType.ADD, snnet.TunnelEventType.DEL


def mixed(queues: int = 2) -> list[snnet.VnicConfig]:
    """Three subnets, out of order, with VMs and containers."""
    return [
        vm(9),
        container(10, subnet_number=2),
        vm(11),
        container(12, subnet_number=2),
        vm(13, subnet_number=3, queues=queues),
    ]


def test_results_come_in_the_order_of_the_configs(world: World) -> None:
    node = world.node()
    before = world.text()
    queues = 2 if world.hands_out_queues else 1
    results = node.create_vnics(iter(mixed(queues)))
    assert [one.vnic.vnic_id for one in results if one.vnic] == ["v9", "v10", "v11", "v12", "v13"]
    assert [one.error for one in results] == [None] * 5
    events = [one.tunnel_event for one in results]
    assert [event and event.subnet_id for event in events] == ["s1", "s2", None, None, "s3"]
    infos = [one.container_info for one in results]
    assert [info and info.event.value for info in infos] == [None, "add", None, "info", None]
    if world.hands_out_queues:
        assert results[4].vnic is not None
        assert len(results[4].vnic.fds) == 2
    close(results)
    assert node.verify() == []
    text = world.text()
    again = node.create_vnics(mixed(queues))
    assert [one.vnic for one in again] == list(_by_id(node, again))
    assert [one.tunnel_event for one in again] == [None] * 5
    assert world.text() == text
    gone = node.destroy_vnics(iter(mixed(queues)))
    ends = [one.tunnel_event for one in gone]
    assert [event.subnet_id for event in ends if event] == ["s1", "s2", "s3"]
    assert {event.type for event in ends if event} == {DEL}
    assert [bool(one.container_info) for one in gone].count(True) == 1
    assert world.text() == before
    assert node.destroy_vnics(mixed(queues)) == [type(gone[0])()] * 5


def _by_id(node: snnet.ComputeNode, results: list[snnet.VnicResult]) -> Any:
    vnics = {vnic.vnic_id: vnic for vnic in node.topology().vnics}
    return (vnics[one.vnic.vnic_id] for one in results if one.vnic)


def test_none_at_all(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    assert node.create_vnics([]) == node.create_vnics([], atomic=True) == []
    assert node.destroy_vnics([]) == []
    assert recorder.heard == []


@pytest.mark.parametrize("atomic", [False, True])
def test_what_is_wrong_touches_nothing_else(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    before = state(fake, node)
    wrong = [vm(9), vm(10, ip="10.9.0.9"), vm(11)]
    if atomic:
        with pytest.raises(snnet.InvalidRequest, match=r"^cfgs\[1\]\.ip: 10\.9\.0\.9") as caught:
            node.create_vnics(wrong, atomic=True)
        assert caught.value.field == "cfgs[1].ip"
        with pytest.raises(snnet.InvalidRequest, match=r"^cfgs\[1\]: 'v10' is not a") as caught:
            node.create_vnics([vm(9), "v10"], atomic=True)  # type: ignore[list-item]
        assert caught.value.field == "cfgs[1]"
        assert state(fake, node) == before
        return
    results = node.create_vnics(wrong)
    assert [isinstance(one.error, snnet.InvalidRequest) for one in results] == [False, True, False]
    assert [vnic.vnic_id for vnic in node.topology().vnics] == ["v9", "v11"]
    assert results[1].to_dict()["error"] == str(results[1].error)


def test_a_removal_names_the_config_that_is_wrong(fake: FakeWorld) -> None:
    node = fake.node()
    node.create_vnic(vm(9))
    before = state(fake, node)
    wrong: Any = [vm(9), replace(vm(10), vnic_id=None), vm(11)]
    with pytest.raises(snnet.InvalidRequest, match=r"^cfgs\[1\]\.vnic_id: ") as caught:
        node.destroy_vnics(wrong)
    assert caught.value.field == "cfgs[1].vnic_id"
    assert state(fake, node) == before


@pytest.mark.parametrize(
    "second",
    [vm(9), vm(10, ip="10.1.0.9"), vm(10, subnet_key=5), vm(10, subnet_number=2, subnet_key=101)],
    ids=["the same", "its address", "another key", "its tunnel"],
)
def test_two_that_contradict_each_other(fake: FakeWorld, second: snnet.VnicConfig) -> None:
    node = fake.node()
    before = state(fake, node)
    with pytest.raises(snnet.Conflict):
        node.create_vnics([vm(9), second], atomic=True)
    assert state(fake, node) == before
    results = node.create_vnics([vm(9), second])
    assert results[0].vnic is not None
    if second == vm(9):
        assert results[1].vnic == results[0].vnic  # one by one it is a repeat
    else:
        assert isinstance(results[1].error, snnet.Conflict)
    assert node.verify() == []


def test_one_that_cannot_be_does_not_stop_the_others(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(20))
    results = node.create_vnics([vm(9), vm(10, ip="10.1.0.20"), vm(11), vm(12, subnet_number=2)])
    assert [type(one.error) for one in results] == [
        type(None),
        snnet.Conflict,
        type(None),
        type(None),
    ]
    assert node.verify() == []


def test_every_operation_fails_once_and_atomic_leaves_nothing() -> None:
    for at in count(1):
        world, recorder = FakeWorld("gre"), Recorder()
        node = world.node()
        before = state(world, node)
        node.listeners.register(recorder)
        world.kernel.fail(at=at)
        error: snnet.ApiError | None = None
        try:
            close(node.create_vnics(mixed(), atomic=True))
        except snnet.Exhausted as caught:
            error = caught
        recorder.check()
        if error is None:
            assert at > 15
            return
        assert error.state is snnet.State.ROLLED_BACK
        node.listeners.unregister(recorder)
        assert state(world, node) == before, f"operation {at}"


def test_every_operation_fails_once_and_what_can_be_is_made() -> None:
    for at in count(1):
        world, recorder = FakeWorld("gre"), Recorder()
        node = world.node(listeners=[recorder])
        world.kernel.fail(at=at)
        results = node.create_vnics(mixed())
        close(results)
        recorder.check()
        # What failed with others succeeds by itself; v13 has its subnet for itself.
        assert [one.error for one in results[:4]] == [None] * 4
        made = [event for event in heard(recorder) if event.type is ADD]
        assert [event.subnet_id for event in made] == ["s1", "s2", "s3"][
            : 3 - bool(results[4].error)
        ]
        assert node.verify() == []
        if not any(hook == "failed" for hook, *_ in recorder.heard):
            assert at > 15
            return


def heard(recorder: Recorder) -> list[snnet.TunnelEvent]:
    """The tunnel events that listeners heard, those of an unfinished tear-down too."""
    events: list[Any] = []
    for hook, _, said in recorder.heard:
        if hook == "applied":
            events += said
        elif hook == "failed":
            events += getattr(said, "events", ())
    return [event for event in events if isinstance(event, snnet.TunnelEvent)]


def test_a_partial_removal_lists_what_is_left_and_loses_no_event() -> None:
    for at in count(1):
        world, recorder = FakeWorld("gre"), Recorder()
        node = world.node()
        clean = world.text()
        close(node.create_vnics(mixed()))
        node.listeners.register(recorder)
        world.kernel.fail(at=at, error="EBUSY")
        error: snnet.Incomplete | None = None
        try:
            node.destroy_vnics(mixed())
        except snnet.Incomplete as caught:
            error = caught
        if error is None:
            assert at > 10
            return
        assert node.drivers.find(error.leftovers)
        removed = [event for event in error.events if isinstance(event, snnet.TunnelEvent)]
        assert len(removed) >= 2
        assert error.tunnel_event is removed[0]
        node.destroy_vnics(mixed())
        ended = [event.subnet_id for event in heard(recorder)]
        assert sorted(ended) == ["s1", "s2", "s3"], f"operation {at}"
        assert world.text() == clean


def test_a_deadline_is_for_the_whole_call(fake: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    node = fake.node()
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    perform = fake.kernel.perform

    def slow(operation: Any) -> Any:
        now[0] += 0.1
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", slow)
    configs = [vm(number, subnet_number=subnet) for subnet in (1, 2, 3) for number in (9, 10)]
    results = node.create_vnics(configs, timeout=0.9)
    assert [type(one.error) for one in results] == [type(None)] * 4 + [snnet.Timeout] * 2
    assert now[0] < 1.5
    assert node.verify() == []
    with pytest.raises(snnet.Timeout):
        node.create_vnics(configs[4:], atomic=True, timeout=0.3)
    assert len(node.topology().vnics) == 4


def test_a_call_that_is_cancelled_goes_no_further(fake: FakeWorld) -> None:
    class After:
        def __init__(self, looks: int) -> None:
            self.looks = looks

        def is_set(self) -> bool:
            self.looks -= 1
            return self.looks < 0

    node = fake.node()
    configs = [vm(number, subnet_number=number) for number in range(2, 6)]
    results = node.create_vnics(configs, cancel=After(12))
    errors = [one.error for one in results]
    assert errors[0] is None
    assert isinstance(errors[-1], snnet.Cancelled)
    assert node.verify() == []


def test_a_thousand(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder], api_timeout=60)
    before = fake.text()
    configs = [
        vm(10 + number, subnet_number=subnet) for number in range(200) for subnet in range(1, 6)
    ]
    results = node.create_vnics(configs)
    assert [one.vnic.vnic_id for one in results if one.vnic] == [cfg.vnic_id for cfg in configs]
    assert [event.type for event in heard(recorder)] == [ADD] * 5
    plans = -(-200 // CHUNK) * 5
    assert sum(hook == "before" for hook, *_ in recorder.heard) == plans
    assert node.verify() == []
    assert sum(bool(one.tunnel_event) for one in node.destroy_vnics(configs)) == 5
    assert fake.text() == before
    assert known(node) == []


def test_a_failure_in_a_chunk_undoes_that_chunk_alone(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder], api_timeout=60)
    node.create_vnic(vm(250))
    configs = [vm(2 + number) for number in range(2 * CHUNK)]
    configs[CHUNK] = vm(251, ip="10.1.0.250")
    results = node.create_vnics(configs)
    assert [number for number, one in enumerate(results) if one.error] == [CHUNK]
    lengths = [len(plan) for hook, plan, _ in recorder.heard if hook == "applied"]
    assert max(lengths) == 4 * CHUNK  # a tap and its three rules each
    assert len(lengths) == 1 + 1 + CHUNK - 1
    assert node.verify() == []


@pytest.mark.kernel
def test_shared_work_takes_far_fewer_requests(real: World) -> None:
    """Counted by the pieces of work of the drivers, batches counting once."""
    node = real.node(api_timeout=60)
    work = [0]

    def counted(method: Any) -> Any:
        def perform(operations: Any) -> Any:
            work[0] += 1
            return method(operations)

        return perform

    for driver in (node.drivers.backend, node.drivers.firewall):
        for name in ("perform", "perform_all"):
            setattr(driver, name, counted(getattr(driver, name)))
    configs = [vm(number) for number in range(10, 60)]
    for cfg in configs:
        node.create_vnic(cfg)
    for cfg in configs:
        node.destroy_vnic(cfg)
    one_by_one, work[0] = work[0], 0
    node.create_vnics(configs, atomic=True)
    node.destroy_vnics(configs)
    assert work[0] < one_by_one * 0.7, (work[0], one_by_one)
    assert [link for link in real.links() if isinstance(link, (Bridge, Tunnel))] == []


def test_no_descriptor_is_left(fake: FakeWorld) -> None:
    node = fake.node()
    before = len(os.listdir("/proc/self/fd"))
    close(node.create_vnics([vm(9, queues=3), vm(10, queues=2)]))
    fake.delete(next(vnic.link_name for vnic in node.topology().vnics))
    node.repair()
    node.destroy_vnics([vm(9), vm(10)])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("refused", [False, True], ids=["parts", "one by one"])
def test_an_interrupt_leaves_no_descriptor_of_earlier_parts(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    node, perform = fake.node(), fake.kernel.perform
    added = 0

    def interrupted(operation: Operation) -> Any:
        nonlocal added
        if isinstance(operation, Add) and isinstance(operation.noun, Tap):
            added += 1
            if refused and added == 2:
                raise snnet.Exhausted("no")
            if added == 5:
                raise KeyboardInterrupt
        return perform(operation)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fake.kernel, "perform", interrupted)
    asked = [
        vm(number, queues=2, subnet_number=1 if refused else number) for number in range(9, 16)
    ]
    with pytest.raises(KeyboardInterrupt):
        node.create_vnics(asked)
    assert len(os.listdir("/proc/self/fd")) == before


Call = Callable[[snnet.ComputeNode, Any], object]

CALLS: dict[str, Call] = {
    "create_vnics": lambda node, cfgs: node.create_vnics(cfgs),
    "destroy_vnics": lambda node, cfgs: node.destroy_vnics(cfgs),
    "reconcile vnics": lambda node, cfgs: node.reconcile(vnics=cfgs),
    "reconcile cnci_vnics": lambda node, cfgs: node.reconcile(cnci_vnics=cfgs),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("cfgs", [5, "v1", {"v1": 1}])
def test_what_is_not_a_list_is_an_invalid_request(fake: FakeWorld, call: Call, cfgs: Any) -> None:
    with pytest.raises(snnet.InvalidRequest, match="is not a list"):
        call(fake.node(), cfgs)


def test_listeners_are_asked_once_about_a_chunk_that_they_refuse(fake: FakeWorld) -> None:
    asked: list[int] = []

    class Refuse:
        def before_apply(self, plan: snnet.Plan) -> None:
            asked.append(len(plan))
            raise snnet.Veto("not now")

    node = fake.node(listeners=[Refuse()])
    results = node.create_vnics([vm(number) for number in range(2, 12)])
    assert all(isinstance(result.error, snnet.Veto) for result in results)
    assert len(asked) == 1
