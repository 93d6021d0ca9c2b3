"""Listeners are asked before a plan and notified after it, without a lock."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

import snnet
from snnet.plugins import HOOKS
from tests.node.world import FakeWorld, container, vm


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def before_apply(self, node: snnet.ComputeNode, plan: snnet.Plan) -> None:
        assert isinstance(node, snnet.ComputeNode)
        self.seen.append(("before", len(plan)))

    def applied(self, node: snnet.ComputeNode, plan: snnet.Plan, events: tuple[Any, ...]) -> None:
        node.verify()  # no lock is held: a listener may call the node
        self.seen.append(("applied", [event.to_dict().get("type") for event in events]))

    def failed(self, node: snnet.ComputeNode, plan: snnet.Plan, error: Exception) -> None:
        node.verify()
        self.seen.append(("failed", type(error).__name__))


def test_listeners_are_asked_and_notified(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    node.create_vnic(container(9))
    assert recorder.seen == [("before", 10), ("applied", ["add", None])]
    node.create_vnic(container(9))
    assert len(recorder.seen) == 2, "nothing was done, nothing is reported"
    node.destroy_vnic(container(9))
    assert recorder.seen[2:] == [("before", 10), ("applied", ["del", None])]


def test_failures_are_reported(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    fake.kernel.fail(at=2, error="ENOMEM")
    with pytest.raises(snnet.Exhausted):
        node.create_vnic(vm(9))
    assert recorder.seen == [("before", 10), ("failed", "Exhausted")]


def test_a_veto_touches_nothing(fake: FakeWorld) -> None:
    class No:
        def before_apply(self, plan: snnet.Plan) -> None:
            raise snnet.Veto("not on a Sunday")

    node = fake.node(listeners=[No()])
    before = fake.text()
    with pytest.raises(snnet.Veto, match="Sunday") as caught:
        node.create_vnic(vm(9))
    assert isinstance(caught.value, snnet.ApiError)
    assert fake.text() == before


def test_a_broken_listener_harms_nobody_else(
    fake: FakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def applied(self) -> None:
            raise RuntimeError("oops")

    recorder = Recorder()
    node = fake.node(listeners=[Broken(), recorder])
    node.create_vnic(vm(9))
    assert ("applied", ["add"]) in recorder.seen
    assert "Broken" in caplog.text


def test_a_rebuild_announces_every_tunnel_again(fake: FakeWorld) -> None:
    fake.node("cn-1").create_vnic(vm(9))
    report = fake.node("cn-1").rebuild_topology()
    assert [event.type for event in report.tunnel_events] == [snnet.TunnelEventType.ADD]


def test_listeners_hear_every_tunnel_again(fake: FakeWorld) -> None:
    class Ears:
        def applied(self, plan: snnet.Plan, events: tuple[snnet.TunnelEvent, ...]) -> None:
            assert len(plan) == 0
            heard.extend(event.type for event in events)

    heard: list[snnet.TunnelEventType] = []
    fake.node("cn-1").create_vnic(vm(9))
    fake.node("cn-1", listeners=[Ears()]).rebuild_topology()
    assert heard == [snnet.TunnelEventType.ADD] * 2


async def applied_async(self: object) -> None: ...


def applied_by_generator(self: object) -> Iterator[None]:
    yield


async def applied_by_async_generator(self: object) -> AsyncIterator[None]:
    yield


NEVER_RUN = [applied_async, applied_by_generator, applied_by_async_generator]


def listener(**hooks: Any) -> object:
    return type("Ears", (), hooks)()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("function", NEVER_RUN)
def test_a_listener_that_would_never_run_is_refused(
    fake: FakeWorld, hook: str, function: Any
) -> None:
    with pytest.raises(snnet.InvalidRequest, match=f"Ears.{hook} is asynch") as caught:
        fake.node(listeners=[listener(**{hook: function})])
    assert caught.value.field == "listeners"


@pytest.mark.parametrize("hook", [None, 3, partial(applied_async)])
def test_a_hook_that_is_no_method_is_refused(fake: FakeWorld, hook: Any) -> None:
    with pytest.raises(snnet.InvalidRequest, match=r"Ears.applied is .*, not a method"):
        fake.node(listeners=[listener(before_apply=lambda self: None, applied=hook)])


@pytest.mark.parametrize("listeners", [None, 3, Recorder(), {Recorder(): 1}, "ab"])
def test_what_is_no_list_of_listeners_is_refused(fake: FakeWorld, listeners: Any) -> None:
    for make in (fake.node, fake.cnci):
        with pytest.raises(snnet.InvalidRequest) as caught:
            make(listeners=listeners)
        assert (caught.value.field or "").startswith("listeners")


def test_a_listener_that_only_returns_what_to_run_refuses_the_plan(
    fake: FakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> None: ...

    node = fake.node()
    asks = listener(before_apply=lambda self: later())
    node.listeners.register(asks)
    with pytest.raises(snnet.Veto, match="which nobody runs"):
        node.create_vnic(vm(9))
    node.listeners.unregister(asks)
    node.listeners.register(listener(applied=lambda self, events: (one for one in events)))
    node.create_vnic(vm(9))
    assert "which nobody runs" in caplog.text


@pytest.mark.parametrize(
    "cancel", [threading.Event, listener(is_set=applied_async), listener(is_set=3), 3]
)
def test_what_is_no_cancel_token_is_refused(fake: FakeWorld, cancel: Any) -> None:
    node = fake.node()
    with pytest.raises(snnet.InvalidRequest) as caught:
        node.create_vnic(vm(9), cancel=cancel)
    assert caught.value.field == "cancel"


def test_a_promise_that_is_kept_later_is_refused(fake: FakeWorld) -> None:
    """It would always be true."""
    with pytest.raises(snnet.InvalidRequest) as caught:
        fake.node().rely_on(partial(applied_async, None))  # type: ignore[arg-type]
    assert caught.value.field == "followed"
