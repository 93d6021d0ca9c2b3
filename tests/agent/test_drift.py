"""How often the agent looks for what: by the kernel's word, and without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from unittest.mock import Mock

import pytest

from snnet import ComputeNode, FakeKernel, NetworkConfig, Vnic
from snnet.agent.drift import Drift
from snnet.contract import Alarm, Bridge, Change, Link, Noun, Sysctl, Unavailable
from tests.node.world import vm


class Silent(FakeKernel):
    """One that tells nothing of kernel parameters, nor of anything else."""

    def alarm(self) -> Alarm:  # type: ignore[override]
        return Never()

    def unreported(self) -> Collection[type[Noun]]:
        return (Sysctl,)


class OfNow(Alarm):
    """Tells of the links that are there when it is opened, as that of dnsmasq of processes."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._links = set(kernel.snapshot({Link}))
        kernel.opened += 1  # type: ignore[attr-defined]

    def noticed(self) -> bool:
        gone = self._links - set(self._kernel.snapshot({Link}))
        self._links -= gone
        return bool(gone)

    def close(self) -> None:
        pass


class Forgetful(FakeKernel):
    """One whose alarms know nothing of what comes later."""

    opened = 0

    def alarm(self) -> Alarm:  # type: ignore[override]
        return OfNow(self)


class Rung(Alarm):
    """Tells when it is rung, by a descriptor, and cannot be extended."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        os.eventfd_write(self._fd, 1)

    def descriptors(self) -> list[int]:
        return [self._fd]

    def noticed(self) -> bool:
        try:
            return bool(os.eventfd_read(self._fd))
        except BlockingIOError:
            return False

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Never(Alarm):
    def noticed(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Clock:
    """One that goes on by a millisecond whenever it is read, and else when it is told to.

    What a test asks about waits then does not depend on the speed of the machine.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = Silent()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    return kernel


@pytest.fixture
def node(kernel: FakeKernel) -> Iterator[ComputeNode]:
    config = NetworkConfig(compute_nets=["192.0.2.0/24"])
    with ComputeNode("cn-1", config, backend=kernel, firewall="fake") as node:
        node.init()
        node.create_vnic(vm())
        yield node


@pytest.fixture
def drift(node: ComputeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drift]:
    monkeypatch.setattr("snnet.agent.drift.GLANCE_EVERY", 0.02)
    monkeypatch.setattr("snnet.agent.drift.GLANCE_SHARE", 0)
    drift = Drift(clock)
    drift.watch([node])
    drift.look()
    yield drift
    drift.close()


def look_until(drift: Drift, clock: Clock, holds: Callable[[], bool], seconds: float = 5) -> bool:
    end = clock.now + seconds
    while not holds() and clock.now < end:
        if not drift.due_in:
            drift.look()
        clock.now += 0.005
    return holds()


def test_parameters_are_glanced_at(
    node: ComputeNode, kernel: FakeKernel, drift: Drift, clock: Clock
) -> None:
    (bridge,) = (noun for noun in kernel.snapshot({Link}).values() if isinstance(noun, Bridge))
    quiet = Sysctl(name=f"net.ipv6.conf.{bridge.name}.accept_ra", value="0")
    assert kernel.find(quiet) == quiet
    loud = Sysctl(name=quiet.name, value="2")
    assert not kernel.apply([Change(loud, quiet)]).errors
    assert look_until(drift, clock, lambda: kernel.find(quiet) == quiet)
    assert drift.repaired == 1


def test_the_rest_waits_for_the_kernels_word(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A glance lists nothing, so that an idle host costs next to nothing."""
    (vnic,) = node.topology().vnics
    kernel.links.remove(vnic.link)
    assert not look_until(drift, clock, lambda: kernel.find(vnic.link) is not None, seconds=0.2)
    monkeypatch.setattr("snnet.agent.drift.LOOK_EVERY", 0.0)
    drift.watch([])
    drift.watch([node])
    assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)


def test_what_cannot_be_repaired_is_not_tried_at_each_glance(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (bridge,) = (noun for noun in kernel.snapshot({Link}).values() if isinstance(noun, Bridge))
    quiet = Sysctl(name=f"net.ipv6.conf.{bridge.name}.accept_ra", value="0")
    loud = Sysctl(name=quiet.name, value="2")
    assert not kernel.apply([Change(loud, quiet)]).errors
    tried = []
    monkeypatch.setattr(node, "repair", lambda: tried.append(1))
    look_until(drift, clock, lambda: len(tried) > 1, seconds=0.3)
    assert tried == [1]


def test_changes_one_after_the_other_are_repaired_at_once(
    node: ComputeNode, kernel: FakeKernel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that find nothing are rare, in proportion to their cost; those that repair are not."""
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.01)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 1e6)
    (vnic,) = node.topology().vnics
    drift = Drift(clock)
    drift.watch([node])

    def tell() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Never, "noticed", lambda _: True)
            drift.notice()

    for _ in range(3):
        kernel.links.remove(vnic.link)
        tell()
        assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)
    assert drift.repaired >= 3
    # One that finds nothing is the last for long.
    tell()
    look_until(drift, clock, lambda: False, seconds=0.1)
    kernel.links.remove(vnic.link)
    tell()
    assert not look_until(drift, clock, lambda: kernel.find(vnic.link) is not None, seconds=0.3)
    drift.close()


def test_what_was_repaired_is_watched_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the end of a DHCP server would be noticed once."""
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.01)
    kernel = Forgetful()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    config = NetworkConfig(compute_nets=["192.0.2.0/24"])
    with ComputeNode("cn-1", config, backend=kernel, firewall="fake") as node:
        node.init()
        node.create_vnic(vm())
        (vnic,) = node.topology().vnics
        drift = Drift(clock)
        drift.watch([node])
        drift.look()
        for _ in range(3):
            kernel.links.remove(vnic.link)
            drift.notice()
            assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)
        assert drift.repaired >= 3
        drift.close()
        drift.close()


def test_alarms_that_can_be_extended_stay_open(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open one for each change takes the kernel longer than the change."""
    kernel = Forgetful()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    config = NetworkConfig(compute_nets=["192.0.2.0/24"])
    with ComputeNode("cn-1", config, backend=kernel, firewall="fake") as node:
        node.init()
        drift = Drift(clock)
        drift.watch([node])
        opened = kernel.opened
        drift.watch([node])
        assert kernel.opened == opened + 1, "this one cannot be extended"
        monkeypatch.setattr(OfNow, "extend", lambda _: True)
        drift.watch([node])
        assert kernel.opened == opened + 1
        drift.watch([])
        drift.watch([node])
        assert kernel.opened == opened + 2
        drift.close()


def test_a_node_is_relied_on_while_it_is_watched_and_as_it_should_be(
    node: ComputeNode, kernel: FakeKernel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.0)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 0)
    drift = Drift(clock)
    drift.watch([node])
    assert not drift.follows(node), "nobody has looked yet"
    drift.look()
    assert drift.follows(node)
    (vnic,) = node.topology().vnics
    kernel.links.remove(vnic.link)
    monkeypatch.setattr(node, "repair", lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(Never, "noticed", lambda _: True)
        drift.notice()
    drift.look()
    assert not drift.follows(node), "what is there differs, and stays so"
    drift.close()
    assert not drift.follows(node)


def test_only_the_node_whose_alarm_told_is_looked_at(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a change in one concentrator would cost a look at all of a host."""
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.0)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 0)
    monkeypatch.setattr("snnet.agent.drift.GLANCE_EVERY", 0.05)
    monkeypatch.setattr("snnet.agent.drift.GLANCE_SHARE", 0)
    looked: list[tuple[str, bool]] = []
    verify = ComputeNode.verify

    def noted(self: ComputeNode, *, quick: bool = False) -> list[str]:
        looked.append((self.id, quick))
        return verify(self, quick=quick)

    monkeypatch.setattr(ComputeNode, "verify", noted)
    config = NetworkConfig(compute_nets=["192.0.2.0/24"])
    with ExitStack() as stack:
        nodes = []
        for name in ("host", "cn-1", "cn-2"):
            kernel = FakeKernel()
            kernel.add_uplink("eth0", "192.0.2.11/24")
            node = stack.enter_context(ComputeNode(name, config, backend=kernel, firewall="fake"))
            node.init()
            node.create_vnic(vm())
            nodes.append((node, kernel))
        drift = Drift(clock)
        stack.callback(drift.close)
        drift.watch([node for node, _ in nodes])
        drift.look()
        assert {name for name, quick in looked if not quick} == {"host", "cn-1", "cn-2"}
        node, kernel = nodes[2]
        (vnic,) = node.topology().vnics
        for _ in range(10):
            looked.clear()
            kernel.links.remove(vnic.link)
            drift.notice()
            assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)
            assert ("cn-1", False) not in looked
            assert ("host", False) in looked, "it has objects in others' namespaces"
            clock.now += 0.01
        # The other one is glanced at all the same, and at some time looked at.
        looked.clear()
        assert look_until(drift, clock, lambda: ("cn-1", True) in looked)
        drift._complete = 0.0
        drift.look()
        assert ("cn-1", False) in looked


def test_an_alarm_is_waited_for_also_after_a_repair_in_vain(
    node: ComputeNode, kernel: FakeKernel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.0)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 0)
    alarms: list[Rung] = []

    def opened() -> Alarm:
        alarms.append(Rung())
        return alarms[-1]

    monkeypatch.setattr(kernel, "alarm", opened)
    (vnic,) = node.topology().vnics
    drift = Drift(clock)
    drift.watch([node])
    drift.look()
    with monkeypatch.context() as patch:
        patch.setattr(node, "repair", lambda: None)
        kernel.links.remove(vnic.link)
        alarms[-1].ring()
        drift.notice()
        drift.look()
        assert kernel.find(vnic.link) is None
    assert drift.due_in > 0
    node.repair()
    alarms[-1].ring()
    drift.notice()
    assert drift.due_in == 0, "the last one is heard"
    drift.close()


def look_after_loss(
    drift: Drift, kernel: FakeKernel, vnic: Vnic, patch: pytest.MonkeyPatch
) -> None:
    """Have somebody remove the VNIC's link, and the drift look at once."""
    patch.setattr(Never, "noticed", lambda _: True)
    kernel.links.remove(vnic.link)
    drift.notice()
    drift._earliest = drift._due = 0.0
    drift.look()


def test_a_look_that_fails_is_tried_again_and_nothing_relies_on_it(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.0)
    (vnic,) = node.topology().vnics
    assert drift.follows(node)
    with monkeypatch.context() as patch:
        patch.setattr(node, "verify", Mock(side_effect=Unavailable("not now")))
        look_after_loss(drift, kernel, vnic, patch)
    assert not drift.follows(node)
    assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None), (
        "nothing tells again"
    )
    assert look_until(drift, clock, lambda: drift.follows(node))


def test_a_repair_that_fails_is_tried_again(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (vnic,) = node.topology().vnics
    with monkeypatch.context() as patch:
        patch.setattr(node, "repair", Mock(side_effect=Unavailable("not now")))
        look_after_loss(drift, kernel, vnic, patch)
    assert not drift.follows(node)
    assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)


def test_a_repair_that_leaves_something_is_tried_again(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has no memory for a moment, and nobody changes anything any more."""
    monkeypatch.setattr("snnet.agent.drift.TRY_AGAIN", 0.05)
    (vnic,) = node.topology().vnics
    kernel.fail(at=1, error="ENOMEM")
    with monkeypatch.context() as patch:
        look_after_loss(drift, kernel, vnic, patch)
    assert kernel.find(vnic.link) is None
    assert not drift.follows(node)
    assert 0 < drift.due_in <= 0.05
    assert look_until(drift, clock, lambda: kernel.find(vnic.link) is not None)
    assert look_until(drift, clock, lambda: drift.follows(node))


def test_tries_of_what_cannot_be_repaired_become_rarer(
    node: ComputeNode,
    kernel: FakeKernel,
    drift: Drift,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snnet.agent.drift.TRY_AGAIN", 0.05)
    (vnic,) = node.topology().vnics
    repair = Mock()
    monkeypatch.setattr(node, "repair", repair)
    with monkeypatch.context() as patch:
        look_after_loss(drift, kernel, vnic, patch)
    look_until(drift, clock, lambda: False, seconds=0.6)
    assert 2 <= repair.call_count <= 4, "after 0.05, 0.15 and 0.35 seconds"


def test_a_node_is_not_relied_on_while_one_of_its_alarms_cannot_be_opened(
    node: ComputeNode, drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = node.drivers.firewall
    with monkeypatch.context() as patch:
        patch.setattr(firewall, "alarm", Mock(side_effect=OSError("no descriptors")))
        drift.watch([])
        drift.watch([node])
        drift.look()
        assert not drift.follows(node)
    drift.watch([node])
    assert drift.follows(node), "it could be opened now"
