"""Interrupts, foreign exceptions and ``close`` in the middle of calls."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from ipaddress import ip_interface
from itertools import count
from types import FrameType
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Bridge, Link, Operation, Outcome, Plan, Remove
from snnet.firewall.none import NoFirewall
from snnet.node import engine
from snnet.node.claims import WHOLE_NODE, Claim, Claims
from snnet.node.deadline import NO_LIMIT, Deadline
from snnet.node.drivers import Drivers
from tests.node.test_properties import Recorder, known, state
from tests.node.world import FakeWorld, World, container, port, vm
from tests.sample import turns

PATIENCE = 60
"""Seconds after which something hangs, however busy the machine is."""


@contextmanager
def interrupting(node: snnet.ComputeNode, at: int, *, after: bool) -> Iterator[list[int]]:
    """Interrupt the node's ``at``-th piece of kernel work, before or after it is done."""
    done = [0]
    drivers = [node.drivers.backend, node.drivers.firewall]

    def troubled(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def perform(operations: Any) -> Any:
            done[0] += 1
            number = done[0]  # one piece may do its work by another
            if number == at and not after:
                raise KeyboardInterrupt
            result = work(operations)
            if number == at:
                raise KeyboardInterrupt
            return result

        return perform

    with pytest.MonkeyPatch.context() as patch:
        for driver in drivers:
            for name in ("perform", "perform_all"):
                patch.setattr(driver, name, troubled(getattr(driver, name)))
        yield done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_interrupted_create_leaves_nothing(walled: World, after: bool) -> None:
    node = walled.node()
    node.create_vnic(vm(8, subnet_number=2))
    before, memory = walled.text(), known(node)
    for at in turns(1):
        recorder = Recorder()
        node.listeners.register(recorder)
        with interrupting(node, at, after=after) as done, suppress(KeyboardInterrupt):
            node.create_vnic(container(9))
        recorder.check()
        node.listeners.unregister(recorder)
        if done[0] < at:
            assert at > 3
            break
        assert (walled.text(), known(node)) == (before, memory), f"work {at}"
        assert node.verify() == []
    assert node.verify() == []
    node.destroy_vnic(container(9))
    assert walled.text() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alarm_handler_that_raises_leaves_nothing(real: World) -> None:
    """On a kernel alone: the fake's own Python code is no more atomic than ours."""

    class Alarm(Exception):
        pass

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    node = real.node()
    before = real.text()
    old = signal.signal(signal.SIGALRM, ring)
    rang = 0
    try:
        for step in range(1, 60):
            try:
                signal.setitimer(signal.ITIMER_REAL, step * 7e-5)
                node.create_vnic(container(9))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except (Alarm, snnet.ApiError):
                signal.setitimer(signal.ITIMER_REAL, 0)
                rang += 1
                if node.verify() == []:
                    assert node.topology().vnics or real.text() == before, f"step {step}"
                # Else the alarm rang while the node noted what it had made.
                node.create_vnic(container(9))
            assert node.verify() == []
            node.destroy_vnic(container(9))
            assert real.text() == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_listener_hears_of_an_interrupt_as_a_public_error(fake: FakeWorld) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    with interrupting(node, 2, after=True), pytest.raises(KeyboardInterrupt):
        node.create_vnic(vm(9))
    (_, failed) = recorder.heard
    assert type(failed[2]) is snnet.ApiError
    assert failed[2].state is snnet.State.ROLLED_BACK
    assert "create_vnic v9 was ended by KeyboardInterrupt()" in str(failed[2])
    recorder.heard.clear()
    node.create_vnic(vm(9))
    with interrupting(node, 1, after=True), pytest.raises(KeyboardInterrupt):
        node.destroy_vnic(vm(9))
    assert recorder.heard[-1][2].state is snnet.State.UNFINISHED


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_what_ends_an_announcement_undoes_the_set_up(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    recorder = Recorder()
    node = fake.node(listeners=[recorder])
    before = state(fake, node)
    with ending_announcements(fake, monkeypatch, interrupt):
        node.create_vnic(vm(9, queues=2))
    assert state(fake, node) == before
    assert recorder.heard[-1][2].state is snnet.State.ROLLED_BACK
    assert node.create_vnic(vm(9)).tunnel_event is not None


def test_what_ends_the_announcements_of_a_repair_does_not_end_the_repair(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    cnci = fake.cnci(listeners=[recorder])
    fake.delete(cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"))
    recorder.heard.clear()
    with ending_announcements(fake, monkeypatch, KeyboardInterrupt):
        cnci.repair()
    assert [hook for hook, _, _ in recorder.heard] == ["before", "applied"]
    assert cnci.verify() == []


@contextmanager
def ending_announcements(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> Iterator[None]:
    def end(announcements: object) -> None:
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(fake.kernel, "announce", end)
        with pytest.raises(interrupt):
            yield


def test_a_call_that_plans_more_than_it_claims_alone_is_refused(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without assertions too (python -O), where the engine would draft again for ever."""
    node = fake.node()
    before = state(fake, node)
    monkeypatch.setattr(engine, "_covered", lambda draft, claim: False)
    with pytest.raises(snnet.ApiError, match="create_vnic v9 plans more than it claims"):
        node.create_vnic(vm(9))
    assert state(fake, node) == before


# -- lost answers ------------------------------------------------------------------


def test_a_rollback_removes_nothing_that_was_there(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    foreign = Address(link="eth0", address=ip_interface("203.0.113.5/32"))
    assert fake.kernel.apply([Add(foreign)]).error is None
    before = fake.text()
    for at in (1, 2):
        fake.kernel.fail(at=at, error="ENOMEM")
        with pytest.raises(snnet.ApiError):
            cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
        assert fake.text() == before


def test_a_host_that_cannot_be_looked_at_is_taken_to_have_it(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    before = fake.text()
    with interrupting(node, 3, after=True):
        find = fake.kernel.find

        def refuse(noun: Any) -> Any:
            if isinstance(sys.exception(), KeyboardInterrupt):
                raise OSError("no answer")
            return find(noun)

        monkeypatch.setattr(fake.kernel, "find", refuse)
        with pytest.raises(KeyboardInterrupt):
            node.create_vnic(vm(9))
        monkeypatch.undo()
    assert fake.text() == before


def test_what_a_driver_left_half_done_is_undone(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have left more than nouns, so the caller is asked to repair."""
    node = fake.node()
    before = state(fake, node)
    perform = fake.kernel.perform

    def half(operations: Any) -> None:
        perform(operations[0])
        raise snnet.FatalError("half of it is done")

    monkeypatch.setattr(fake.kernel, "batching", True)
    monkeypatch.setattr(fake.kernel, "batch", lambda operation: type(operation))
    monkeypatch.setattr(fake.kernel, "perform_all", half)
    with pytest.raises(snnet.FatalError, match=r"create_vnic v9 failed: call repair\(\)") as caught:
        node.create_vnic(vm(9))
    assert caught.value.state is snnet.State.INCONSISTENT
    assert state(fake, node) == before
    monkeypatch.undo()
    node.create_vnic(vm(9))
    monkeypatch.setattr(fake.kernel, "batching", True)
    monkeypatch.setattr(fake.kernel, "batch", lambda operation: type(operation))
    monkeypatch.setattr(fake.kernel, "perform_all", half)
    with pytest.raises(snnet.Incomplete, match="half of it is done; call it again") as left:
        node.destroy_vnic(vm(9))
    monkeypatch.undo()
    links = {link.name for link in fake.links()}
    assert {noun.name for noun in left.value.leftovers} == links != set()
    node.destroy_vnic(vm(9))
    assert fake.text() == before["host"]


@pytest.mark.parametrize("alias", ["ours", "somebody's"])
def test_a_removal_that_may_not_have_happened_is_undone_if_it_did(alias: str) -> None:
    kernel, bridge = snnet.FakeKernel(), Bridge(name="br0", alias="ours")
    kernel.apply([Add(replace(bridge, alias=alias))])
    drivers, find, asked = Drivers(kernel, NoFirewall(kernel.host)), kernel.find, count()

    def lose(noun: Any) -> Any:
        if not next(asked):
            raise snnet.Exhausted("no buffer space")
        return find(noun)

    kernel.find = lose  # type: ignore[method-assign]
    fatal = pytest.raises(snnet.FatalError, match="bridge br0")
    with fatal if alias != "ours" else nullcontext():
        drivers.undo(Plan((Remove(bridge),)), Outcome(unsure={0}), KeyboardInterrupt(), "change")
    found = find(bridge)
    assert isinstance(found, Bridge)
    assert found.alias == alias


def test_a_removal_whose_answer_is_lost_is_done(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    before = fake.text()
    node.create_vnic(vm(9))
    perform = fake.kernel.perform

    def lose(operation: Operation) -> Any:
        perform(operation)
        if isinstance(operation, Remove):
            raise snnet.Exhausted("no buffer space")

    links = fake.links()
    monkeypatch.setattr(fake.kernel, "perform", lose)
    gone = node.destroy_vnic(vm(9))
    assert gone.tunnel_event is not None
    assert fake.text() == before
    fake.add(*links)
    healed = node.repair().healed
    assert all(any(link.name in line for line in healed) for link in links)
    assert fake.text() == before


@pytest.fixture
def meanwhile(fake: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Somebody makes or deletes each link just before the node does."""
    made, perform = list[Link](), fake.kernel.perform

    def first(operation: Operation) -> Any:
        noun = operation.noun
        if isinstance(operation, Add) and isinstance(noun, Link):
            made.append(replace(noun, group=0, alias="somebody's", master=None))
            perform(Add(made[-1]))
        elif isinstance(noun, Link):
            perform(operation)
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", first)
    return made


def test_a_rollback_leaves_what_somebody_made_meanwhile(
    fake: FakeWorld, meanwhile: list[Link]
) -> None:
    node = fake.node()
    with pytest.raises(snnet.Conflict, match="another object of this host has that name"):
        node.create_vnic(vm(9))
    found = {link.name: link for link in fake.links()}
    assert found.keys() == {link.name for link in meanwhile}
    assert not any(link.differences(found[link.name]) for link in meanwhile)


def test_a_rollback_leaves_an_address_that_somebody_took_meanwhile(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci, perform = fake.cnci(), fake.kernel.perform
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    address = Address(link="eth0", address=ip_interface("203.0.113.5/32"))

    def second(operation: Operation) -> Any:
        if operation == Add(address):
            perform(operation)
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", second)
    with pytest.raises(snnet.Conflict, match="another object of this host has that name, key or a"):
        cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    assert fake.kernel.find(address) == address


@pytest.mark.parametrize("listeners", [[], [Recorder()]], ids=["alone", "heard"])
def test_what_somebody_deletes_meanwhile_is_gone(
    fake: FakeWorld, request: pytest.FixtureRequest, listeners: list[object]
) -> None:
    """Without listeners a removal looks at nothing first."""
    node = fake.node(listeners=listeners)
    before = fake.text()
    node.create_vnic(container(9))
    request.getfixturevalue("meanwhile")
    assert node.destroy_vnic(container(9)).tunnel_event is not None
    assert fake.text() == before


def test_a_repair_names_what_somebody_made_meanwhile(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    node = fake.node()
    name = node.create_vnic(vm(9)).vnic.link_name
    fake.delete(name)
    request.getfixturevalue("meanwhile")
    report = node.repair()
    assert [line for line in report.orphans if name in line]
    assert not [line for line in report.healed if line.startswith(f"add tap {name}")]


# -- what comes after the kernel work ----------------------------------------------


def test_a_look_that_fails_after_the_work_undoes_it(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    before = state(fake, node)
    find = fake.kernel.find

    def failing(noun: Any) -> Any:
        found = find(noun)
        if found is not None and found.key[1].startswith("snc-"):
            raise snnet.Exhausted("no buffer space")
        return found

    monkeypatch.setattr(fake.kernel, "find", failing)
    with pytest.raises(snnet.Exhausted, match="rolled back"):
        node.create_cnci_vnic(port(1))
    monkeypatch.undo()
    assert state(fake, node) == before
    node.create_cnci_vnic(port(1))


# -- claims ------------------------------------------------------------------------


def test_no_claim_is_left_by_an_interrupt_at_any_call() -> None:
    """Python handles signals where functions begin: each of those ends in an interrupt once."""
    for at in count(1):
        claims = Claims(2)
        holding = claims.hold(lambda held: Claim(frozenset({("a",)})), NO_LIMIT)
        with suppress(KeyboardInterrupt), interrupting_calls(at) as seen, holding:
            pass
        del holding
        assert _released(claims), f"call {at}"
        if seen[0] < at:
            assert at > 5
            return


@contextmanager
def interrupting_calls(at: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at the beginning of the ``at``-th function from now on."""
    seen = [0]

    def trace(frame: FrameType, event: str, arg: object) -> None:
        seen[0] += 1
        if seen[0] == at:
            sys.settrace(None)
            raise KeyboardInterrupt

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(old)


def _released(claims: Claims) -> bool:
    free: list[bool] = []

    def take() -> None:
        try:
            with claims.hold(lambda _: WHOLE_NODE, Deadline("test", 0.2, None)):
                free.append(True)
        except snnet.Timeout:
            free.append(False)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(PATIENCE)
    return free == [True]


# -- close -------------------------------------------------------------------------


class Slow:
    """A listener that keeps a call until a test lets it go on."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def before_apply(self) -> None:
        self.asked.set()
        assert self.go_on.wait(PATIENCE)


def test_close_waits_for_the_calls_under_way(world: World) -> None:
    slow = Slow()
    node = world.node(listeners=[slow])
    made: list[Any] = []
    caller = threading.Thread(target=lambda: made.append(node.create_vnic(vm(9))))
    caller.start()
    assert slow.asked.wait(PATIENCE)
    closer = threading.Thread(target=node.close)
    closer.start()
    while not refused(node):
        time.sleep(0.01)
    closer.join(0.1)
    assert closer.is_alive()
    if not isinstance(world, FakeWorld):  # fakes have no lock
        with pytest.raises(snnet.Conflict):
            world.node(api_timeout=0.1)
    slow.go_on.set()
    closer.join(PATIENCE)
    caller.join(PATIENCE)
    assert made[0].vnic.link_name in {link.name for link in world.links()}
    with pytest.raises(snnet.InvalidRequest, match="closed"):
        node.create_vnic(vm(10))
    node.close()
    assert world.node().destroy_vnic(vm(9)).tunnel_event is not None


def refused(node: snnet.ComputeNode) -> bool:
    try:
        node.dump_firewall()
    except snnet.InvalidRequest:
        return True
    return False


def test_who_waits_for_a_claim_is_refused_when_the_node_closes(fake: FakeWorld) -> None:
    slow = Slow()
    node = fake.node(listeners=[slow])
    said: list[Any] = []

    def create() -> None:
        try:
            said.append(node.create_vnic(vm(9)))
        except snnet.SnnetError as error:
            said.append(error)

    callers = [threading.Thread(target=create) for _ in range(3)]
    callers[0].start()
    assert slow.asked.wait(PATIENCE)
    for caller in callers[1:]:
        caller.start()
    closer = threading.Thread(target=node.close)
    closer.start()
    for caller in callers[1:]:
        caller.join(PATIENCE)
    assert [type(one) for one in said] == [snnet.InvalidRequest] * 2
    slow.go_on.set()
    callers[0].join(PATIENCE)
    closer.join(PATIENCE)
    assert said[-1].vnic.vnic_id == "v9"


def test_close_within_a_call_of_the_same_thread_takes_effect_after_it(world: World) -> None:
    class Closing:
        def before_apply(self, node: snnet.ComputeNode) -> None:
            node.close()

    node = world.node(listeners=[Closing()])
    made = node.create_vnic(vm(9))
    assert made.vnic.link_name in {link.name for link in world.links()}
    with pytest.raises(snnet.InvalidRequest, match="closed"):
        node.create_vnic(vm(10))
    world.node(api_timeout=0.1)  # nobody holds the lock any more


def test_a_call_that_outlives_close_keeps_what_it_uses(world: World) -> None:
    slow, made = Slow(), list[Any]()
    node = world.node(listeners=[slow], api_timeout=0.2)
    caller = threading.Thread(target=lambda: made.append(node.create_vnic(vm(9), timeout=60)))
    caller.start()
    assert slow.asked.wait(PATIENCE)
    node.close()
    with pytest.raises(snnet.InvalidRequest, match="closed"):
        node.verify()
    if not isinstance(world, FakeWorld):  # fakes have no lock
        with pytest.raises(snnet.Conflict):
            world.node(api_timeout=0.1)
    # Were the descriptor of the namespace free, one of these would be it.
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    slow.go_on.set()
    caller.join(PATIENCE)
    for fd in spare:
        os.close(fd)
    assert made[0].vnic.link_name in {link.name for link in world.links()}
    second = world.node(api_timeout=0.1)
    assert second.verify() == []
    assert second.destroy_vnic(vm(9)).tunnel_event is not None


def test_a_listener_may_close_the_node_after_a_call(fake: FakeWorld) -> None:
    class Closing:
        def applied(self, node: snnet.ComputeNode) -> None:
            node.close()

    node = fake.node(listeners=[Closing()])
    node.create_vnic(vm(9))
    with pytest.raises(snnet.InvalidRequest, match="closed"):
        node.verify()


def test_close_waits_for_init(fake: FakeWorld) -> None:
    fake.node().create_vnic(vm(9))
    fake.delete(next(link.name for link in fake.links() if link.name.startswith("snb-")))
    slow = Slow()
    node = fake.node(init=False, listeners=[slow])
    starter = threading.Thread(target=node.init)
    starter.start()
    assert slow.asked.wait(PATIENCE)
    closer = threading.Thread(target=node.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    slow.go_on.set()
    starter.join(PATIENCE)
    closer.join(PATIENCE)
    assert not closer.is_alive()
    with pytest.raises(snnet.InvalidRequest, match="closed"):
        node.init()


def test_a_forked_child_closes_without_waiting(fake: FakeWorld) -> None:
    slow = Slow()
    node = fake.node(listeners=[slow])
    caller = threading.Thread(target=node.create_vnic, args=[vm(9)])
    caller.start()
    assert slow.asked.wait(PATIENCE)
    pid = os.fork()
    if not pid:
        node.close()
        os._exit(7)
    slow.go_on.set()
    caller.join(PATIENCE)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
