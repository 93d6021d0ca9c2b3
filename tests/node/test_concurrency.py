"""Many threads on one node: no half states, no waiting for unrelated calls, limits kept."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import pytest

import snnet
from snnet.contract import Outcome, Remove, Tap
from snnet.node.claims import WHOLE_NODE, Claim, Claims
from snnet.node.deadline import Deadline
from snnet.node.results import CreatedVnic
from tests.node.every_call import NEAR, NET, concentrator
from tests.node.world import FakeWorld, World, container, vm

FOREVER = Deadline("test", None, None)
PATIENCE = 60
"""Seconds after which something hangs, however busy the machine is."""


def hold(claims: Claims, claim: Claim, deadline: Deadline) -> AbstractContextManager[Claim]:
    return claims.hold(lambda _: claim, deadline)


class SlowKernel(snnet.FakeKernel):
    """A fake kernel whose removals take as long as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.removing = threading.Event()
        self.go_on = threading.Event()
        self.hold = False

    def apply(self, operations: Any, **options: Any) -> Outcome:
        if self.hold and any(isinstance(operation, Remove) for operation in operations):
            self.removing.set()
            assert self.go_on.wait(PATIENCE)
        return super().apply(operations, **options)


@pytest.fixture
def slow() -> FakeWorld:
    world = FakeWorld("gre")
    world.kernel = SlowKernel()
    world.kernel.add_uplink("eth0", "192.0.2.11/24")
    return world


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run the calls at once; their results or their errors, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except snnet.SnnetError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_identical_requests_end_as_one(world: World) -> None:
    node = world.node()
    made = together([lambda: node.create_vnic(vm(9))] * 8)
    assert len({one.vnic.link_name for one in made}) == 1
    assert sum(one.tunnel_event is not None for one in made) == 1
    assert len(world.links()) == 3
    assert node.verify() == []


def test_opposing_requests_end_as_one_or_the_other(world: World) -> None:
    node = world.node()
    for _ in range(5):
        results = together([lambda: node.create_vnic(vm(9)), lambda: node.destroy_vnic(vm(9))] * 4)
        assert not [result for result in results if isinstance(result, Exception)]
        assert len(world.links()) in (0, 3)
        assert node.verify() == []


def test_many_vnics_of_many_subnets_at_once(world: World) -> None:
    before = world.text()
    node = world.node(api_timeout=60)
    configs = [vm(number, subnet_number=subnet) for subnet in range(1, 5) for number in range(2, 6)]
    made = together([partial(node.create_vnic, cfg) for cfg in configs])
    assert sum(one.tunnel_event is not None for one in made) == 4
    assert node.verify() == []
    gone = together([partial(node.destroy_vnic, cfg) for cfg in configs])
    assert sum(one.tunnel_event is not None for one in gone) == 4
    assert world.text() == before


def test_one_address_asked_for_twice_at_once_is_given_once(world: World) -> None:
    node = world.node()
    results = together([partial(node.create_vnic, vm(n, ip="10.1.0.50")) for n in range(2, 8)])
    assert sum(isinstance(result, snnet.Conflict) for result in results) == 5
    assert len(world.links()) == 3


@pytest.mark.parametrize("start", range(1, 12))
def test_a_failed_create_leaves_nothing_even_when_eight_run_at_once(start: int) -> None:
    world = FakeWorld("gre")
    node = world.node()
    for at in range(start, start + 12, 4):
        world.kernel.fail(at=at, error="ENOMEM")
    configs = [vm(number) for number in range(2, 10)]
    results = together([partial(node.create_vnic, cfg) for cfg in configs])
    if any(isinstance(result, snnet.FatalError) for result in results):
        node.repair()
    made = {result.vnic.vnic_id for result in results if isinstance(result, CreatedVnic)}
    assert {vnic.vnic_id for vnic in node.topology().vnics} == made
    assert sum(isinstance(link, Tap) for link in world.links()) == len(made)
    for cfg in configs:
        with suppress(snnet.Incomplete):
            node.destroy_vnic(cfg)
        node.destroy_vnic(cfg)
    assert world.links() == []


def test_a_create_does_not_wait_for_an_unrelated_destroy(slow: FakeWorld) -> None:
    kernel = slow.kernel
    assert isinstance(kernel, SlowKernel)
    node = slow.node()
    for cfg in (vm(9), vm(10), vm(9, subnet_number=2)):
        node.create_vnic(cfg)
    kernel.hold = True
    destroyers = [
        threading.Thread(target=node.destroy_vnic, args=[cfg])
        for cfg in (vm(9), vm(9, subnet_number=2))
    ]
    for thread in destroyers:
        thread.start()
    assert kernel.removing.wait(PATIENCE)
    node.create_vnic(vm(11), timeout=PATIENCE / 2)
    node.create_vnic(vm(9, subnet_number=3), timeout=PATIENCE / 2)
    kernel.go_on.set()
    for thread in destroyers:
        thread.join(PATIENCE)
    assert node.verify() == []


def test_waiting_counts_against_the_deadline(slow: FakeWorld) -> None:
    kernel = slow.kernel
    assert isinstance(kernel, SlowKernel)
    node = slow.node()
    node.create_vnic(vm(9))
    kernel.hold = True
    thread = threading.Thread(target=node.destroy_vnic, args=[vm(9)])
    thread.start()
    assert kernel.removing.wait(PATIENCE)
    with pytest.raises(snnet.Timeout, match=r"0\.05 s"):
        node.create_vnic(vm(9), timeout=0.05)
    cancel = threading.Event()
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(snnet.Cancelled):
        node.create_vnic(vm(9), cancel=cancel)
    with pytest.raises(snnet.Timeout, match=r"verify was not done within 0\.05 s"):
        node.verify(timeout=0.05)
    cancel = threading.Event()
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(snnet.Cancelled):
        node.rebuild_topology(cancel=cancel)  # which has no other limit
    node.api_timeout = 0.04
    with pytest.raises(snnet.Timeout, match=r"verify was not done within 0\.04 s"):
        node.verify()
    kernel.go_on.set()
    thread.join(PATIENCE)
    assert slow.links() == []
    node.create_vnic(vm(9))


def test_a_call_that_waits_for_the_kernel_is_not_counted(slow: FakeWorld) -> None:
    """The kernel takes 16 ms and more to let a link go; others use the processor meanwhile."""
    kernel = slow.kernel
    assert isinstance(kernel, SlowKernel)
    node = slow.node(max_api_concurrency=1)
    node.create_vnic(vm(8))
    node.create_vnic(vm(9))
    kernel.hold = True
    thread = threading.Thread(target=node.destroy_vnic, args=[vm(9)])
    thread.start()
    assert kernel.removing.wait(PATIENCE)
    node.create_vnic(vm(10))
    with pytest.raises(snnet.Timeout):
        node.create_vnic(vm(9), timeout=0.05)
    kernel.go_on.set()
    thread.join(PATIENCE)
    assert {vnic.vnic_id for vnic in node.topology().vnics} == {"v8", "v10"}


def test_no_more_calls_work_than_the_limit_says() -> None:
    one, two, three = (Claim(frozenset({("thing", name)})) for name in ("1", "2", "3"))
    claims = Claims(1)
    with hold(claims, one, FOREVER) as held:
        with pytest.raises(snnet.Timeout), hold(claims, two, Deadline("test", 0.02, None)):
            pass
        claims.rest(held)
        with hold(claims, two, FOREVER):
            with pytest.raises(snnet.Timeout), hold(claims, three, Deadline("test", 0.02, None)):
                pass
            with pytest.raises(snnet.Timeout), hold(claims, one, Deadline("test", 0.02, None)):
                pass
    with (
        hold(claims, three, FOREVER),
        pytest.raises(snnet.Timeout),
        hold(claims, one, Deadline("test", 0.02, None)),
    ):
        pass


@pytest.mark.parametrize("role", ["node", "cnci"])
def test_eight_calls_work_at_once_unless_a_node_is_told_otherwise(
    fake: FakeWorld, role: str
) -> None:
    node: Any = getattr(fake, role)()
    working = 0

    def work(number: int) -> None:
        timeout = PATIENCE if working < 8 else 0.02
        if role == "node":
            node.create_vnic(vm(number + 1), timeout=timeout)
        else:
            node.add_remote_subnet(NET, 7, f"192.0.2.{number + 20}", timeout=timeout)

    work(100)  # the subnet is there

    class Another:
        def before_apply(self) -> None:
            nonlocal working
            working += 1
            work(working)

    node.listeners.register(Another())
    with pytest.raises(snnet.Timeout):
        work(101)
    assert working == 8


class Countdown:
    """A cancel token that is set once it has been asked so often."""

    def __init__(self, asked: int) -> None:
        self.left = asked

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_cancelled_before_any_operation_a_create_leaves_nothing(world: World) -> None:
    node = world.node()
    before = world.text()
    asked = 0
    while True:
        try:
            node.create_vnic(vm(9), cancel=Countdown(asked))
            break
        except snnet.Cancelled:
            assert world.text() == before
            assert node.verify() == []
            assert node.destroy_vnic(vm(9)).tunnel_event is None
        asked += 1
    assert asked >= 4, "looked at before each of the operations"
    assert node.verify() == []


def test_a_token_that_is_set_stops_the_call_before_anything(world: World) -> None:
    node = world.node()
    before = world.text()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(snnet.Cancelled):
        node.create_vnic(vm(9), cancel=cancel)
    assert world.text() == before


def test_asyncio_callers_use_threads(world: World) -> None:
    node = world.node()

    async def create_all() -> list[snnet.TunnelEvent | None]:
        calls = (asyncio.to_thread(node.create_vnic, vm(number)) for number in range(2, 10))
        return [made.tunnel_event for made in await asyncio.gather(*calls)]

    events = asyncio.run(create_all())
    assert sum(event is not None for event in events) == 1
    assert node.verify() == []


def test_inside_a_running_event_loop(world: World) -> None:
    node = world.node()

    async def create() -> None:
        node.create_vnic(container(9))

    asyncio.run(create())
    assert node.verify() == []


def test_a_forked_child_refuses(world: World) -> None:
    node = world.node()
    node.create_vnic(vm(9))
    pid = os.fork()
    if pid == 0:
        try:
            node.create_vnic(vm(10))
        except snnet.InvalidRequest as error:
            os._exit(0 if "fork" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert node.verify() == []


def test_at_most_so_many_work_at_once() -> None:
    claims = Claims(3)
    working, most = 0, 0
    lock = threading.Lock()
    three = threading.Barrier(3)

    def work(number: int) -> None:
        nonlocal working, most
        with hold(claims, Claim(frozenset({("thing", number)})), FOREVER):
            with lock:
                working += 1
                most = max(most, working)
            three.wait(PATIENCE)
            time.sleep(0.005)
            with lock:
                working -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    assert most == 3


def test_who_wants_the_whole_node_is_not_starved() -> None:
    claims = Claims(8)
    stop = threading.Event()

    def busy(number: int) -> None:
        while not stop.is_set():
            with hold(claims, Claim(frozenset({("thing", number)})), FOREVER):
                time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(busy, number)
        time.sleep(0.02)
        with hold(claims, WHOLE_NODE, Deadline("test", PATIENCE, None)):
            pass
        stop.set()


def test_shared_things_are_shared_and_alone_is_alone() -> None:
    claims = Claims(8)
    shared = Claim(shared=frozenset({("subnet",)}))
    alone = Claim(alone=frozenset({("subnet",)}))
    short = Deadline("test", 0.02, None)
    with (
        hold(claims, shared, FOREVER),
        hold(claims, shared, FOREVER),
        pytest.raises(snnet.Timeout),
        hold(claims, alone, short),
    ):
        pass
    with (
        hold(claims, alone, FOREVER),
        pytest.raises(snnet.Timeout),
        hold(claims, shared, Deadline("test", 0.02, None)),
    ):
        pass


def test_the_last_claim_that_is_given_back_after_close_releases() -> None:
    claims, released = Claims(2), list[str]()
    with hold(claims, Claim(frozenset({("thing",)})), FOREVER):
        with hold(claims, Claim(), FOREVER):
            claims.close(lambda: released.append("once"), PATIENCE)
        assert released == []
    assert released == ["once"]
    with pytest.raises(snnet.InvalidRequest, match="closed"), hold(claims, Claim(), FOREVER):
        pass


def test_a_close_waits_no_longer_than_it_is_told() -> None:
    claims, released = Claims(2), list[str]()
    closing = threading.Thread(target=claims.close, args=[lambda: released.append("once"), 0.01])
    closing.daemon = True
    with hold(claims, Claim(), FOREVER):
        closing.start()
        closing.join(PATIENCE)
        assert not closing.is_alive()
        assert released == []
    assert released == ["once"]


CALLS: dict[str, Callable[[snnet.ComputeNode], object]] = {
    "verify": lambda node: node.verify(timeout=0.01),
    "quick verify": lambda node: node.verify(quick=True, timeout=0.01),
    "rebuild_topology": lambda node: node.rebuild_topology(timeout=0.01),
    "repair": lambda node: node.repair(timeout=0.01),
    "create_vnic": lambda node: node.create_vnic(vm(9), timeout=0.01),
    "reconcile": lambda node: node.reconcile(vnics=[vm(8)], timeout=0.01),
}
DEFAULTS: dict[str, Callable[[snnet.ComputeNode], object]] = {
    "verify": lambda node: node.verify(),
    "plan of create_vnic": lambda node: node.plan_create_vnic(vm(9)),
    "create_vnic": lambda node: node.create_vnic(vm(9)),
    "reconcile": lambda node: node.reconcile(vnics=[vm(8)]),
}
"""Calls that wait for the ``api_timeout`` of the node."""


@pytest.mark.parametrize("calls", [CALLS, DEFAULTS], ids=["of a call", "of the node"])
def test_a_call_waits_for_the_whole_node_for_the_timeout(
    fake: FakeWorld, calls: dict[str, Callable[[snnet.ComputeNode], object]]
) -> None:
    """It is called by a hook of the call that holds the node, so that it would wait for ever."""
    said: dict[str, str] = {}

    class Caller:
        def before_apply(self, node: snnet.ComputeNode) -> None:
            for name, call in calls.items():
                with pytest.raises(snnet.Timeout) as caught:
                    call(node)
                said[name] = str(caught.value)

    node = fake.node(api_timeout=60 if calls is CALLS else 0.01)
    node.create_vnic(vm(8), timeout=60)
    node.listeners.register(Caller())
    node.reset_network()
    for name in calls:
        assert said[name].startswith(name.removeprefix("quick ")), said
        assert said[name].endswith("within 0.01 s"), said


def test_a_change_of_a_dhcp_server_waits_for_the_timeout_of_the_node(fake: FakeWorld) -> None:
    cnci, said = concentrator(fake), list[str]()
    scope = cnci.dhcp(NET)

    class Caller:
        def before_apply(self) -> None:
            with pytest.raises(snnet.Timeout) as caught:
                scope.reload()
            said.append(str(caught.value))

    cnci.listeners.register(Caller())
    cnci.api_timeout = 0.01
    cnci.shutdown()
    assert said == [f"dhcp reload {NET} was not done within 0.01 s"]


def test_a_preview_does_not_wait_for_a_call_that_shares_its_subnet(fake: FakeWorld) -> None:
    planned: list[str] = []

    class Preview:
        def before_apply(self, node: snnet.ComputeNode) -> None:
            node.api_timeout = 0.01
            planned.extend(str(one.noun) for one in node.plan_create_vnic(vm(10)).operations)

    node = fake.node()
    node.create_vnic(vm(8))
    node.listeners.register(Preview())
    node.create_vnic(vm(9))
    assert any("10.1.0.10" in line for line in planned)


class Asked:
    """A cancel token that is never set, and says when a call that waits asks for it again."""

    def __init__(self) -> None:
        self.again = threading.Event()
        self._asked = 0

    def is_set(self) -> bool:
        self._asked += 1
        if self._asked == 2:
            self.again.set()
        return False


def test_a_verify_that_has_listed_the_host_waits_on_for_the_timeout(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile another call waited for the whole node."""
    token, go_on = Asked(), threading.Event()

    class Slow:
        def before_apply(self) -> None:
            assert go_on.wait(PATIENCE)

    node = fake.node()
    node.create_vnic(vm(9))
    node.listeners.register(Slow())
    thread = threading.Thread(target=partial(node.reset_network, cancel=token))
    snapshot = fake.kernel.snapshot

    def listed(types: Any = None) -> Any:
        if thread.ident is None:
            thread.start()
            assert token.again.wait(PATIENCE)
        return snapshot(types)

    monkeypatch.setattr(fake.kernel, "snapshot", listed)
    with pytest.raises(snnet.Timeout, match=r"verify was not done within 0\.01 s"):
        node.verify(timeout=0.01)
    go_on.set()
    thread.join(PATIENCE)
    assert fake.links() == []


def test_a_repair_and_a_clean_up_take_as_long_as_they_need(fake: FakeWorld) -> None:
    node = fake.node(api_timeout=1e-9)
    node.create_vnic(vm(9), timeout=PATIENCE)
    for call in (node.verify, lambda: node.destroy_vnic(vm(9))):
        with pytest.raises(snnet.Timeout):
            call()
    node.repair()
    node.rebuild_topology()
    node.reset_network()
    assert fake.links() == []


@pytest.mark.parametrize("wrong", [0, -1, "6", True])
def test_a_timeout_is_a_number_of_seconds(fake: FakeWorld, wrong: Any) -> None:
    with pytest.raises(snnet.InvalidRequest, match="timeout"):
        fake.node().create_vnic(vm(9), timeout=wrong)


def test_removals_of_one_subnet_at_once_take_the_subnet_along(slow: FakeWorld) -> None:
    """Two last VNICs, each of which thinks at first that the other one stays."""
    kernel = slow.kernel
    assert isinstance(kernel, SlowKernel)
    node = slow.node()
    for number in (9, 10):
        node.create_vnic(vm(number))
    kernel.hold = True
    gone: list[snnet.TunnelEvent | None] = []

    def destroy(number: int) -> None:
        gone.append(node.destroy_vnic(vm(number)).tunnel_event)

    threads = [threading.Thread(target=destroy, args=[number]) for number in (9, 10)]
    for thread in threads:
        thread.start()
    assert kernel.removing.wait(PATIENCE)
    time.sleep(0.05)
    kernel.go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(event is not None for event in gone) == 1
    assert slow.links() == []


def test_nodes_that_join_a_subnet_at_once_are_all_there(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    first, second, third = (f"192.0.2.{number}" for number in (21, 22, 23))
    cnci.add_remote_subnet(NET, 7, first)
    left = [third]

    class Join:
        def before_apply(self) -> None:
            if left:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(cnci.add_remote_subnet, NET, 7, left.pop()).result(PATIENCE)

    cnci.listeners.register(Join())
    cnci.add_remote_subnet(NET, 7, second)
    assert set(cnci.topology()["subnets"][NET]["tunnels"]) == {first, second, third}
    assert cnci.verify() == []


def test_of_two_last_vnics_destroyed_at_once_one_takes_the_subnet_along(fake: FakeWorld) -> None:
    node = fake.node()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # between any two steps of one, the other may decide
    try:
        for _ in range(50):
            for number in (9, 10):
                node.create_vnic(vm(number))
            together([partial(node.destroy_vnic, vm(number)) for number in (9, 10)])
            assert fake.links() == []
    finally:
        sys.setswitchinterval(interval)


def test_rules_and_topology_bear_subnets_that_come_and_go(fake: FakeWorld) -> None:
    cnci = concentrator(fake, api_timeout=60)
    bridge = str(cnci.topology()["subnets"][NET]["bridge"])
    stop, errors = threading.Event(), []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                cnci.add_remote_subnet(f"10.{number}.0.0/24", number, NEAR)
                cnci.remove_subnet(f"10.{number}.0.0/24")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in (40, 50, 60)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        cnci.allow_external("eth0", bridge)
        cnci.deny_external("eth0", bridge)
        cnci.add_port_forward(protocol="udp", device="eth0", port=53, to="10.1.0.9")
        cnci.remove_port_forward(protocol="udp", device="eth0", port=53)
        cnci.topology().to_dict()
        assert cnci.public_ips
        cnci.update_neighbors(())
        cnci.plan_add_remote_subnet("10.70.0.0/24", 70, NEAR)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cnci.verify() == []
