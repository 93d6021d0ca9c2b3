"""How often the agent looks for what: by the kernel's word, and without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import pytest

from snnet import ComputeNode, FakeKernel, NetworkConfig
from snnet.agent.drift import Drift
from snnet.contract import Alarm, Bridge, Change, Link, Noun, Sysctl
from tests.node.world import vm


class Silent(FakeKernel):
    """One that tells nothing of kernel parameters, nor of anything else."""

    def alarm(self) -> Alarm:  # type: ignore[override]
        return Never()

    def untold(self) -> Collection[type[Noun]]:
        return (Sysctl,)


class Never(Alarm):
    def noticed(self) -> bool:
        return False

    def close(self) -> None:
        pass


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
def drift(node: ComputeNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drift]:
    monkeypatch.setattr("snnet.agent.drift.GLANCE_EVERY", 0.02)
    monkeypatch.setattr("snnet.agent.drift.GLANCE_SHARE", 0)
    drift = Drift()
    drift.watch([node])
    drift.look()
    yield drift
    drift.close()


def look_until(drift: Drift, holds: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        if not drift.due_in:
            drift.look()
        time.sleep(0.005)
    return holds()


def test_parameters_are_glanced_at(node: ComputeNode, kernel: FakeKernel, drift: Drift) -> None:
    (bridge,) = (noun for noun in kernel.snapshot({Link}).values() if isinstance(noun, Bridge))
    quiet = Sysctl(name=f"net.ipv6.conf.{bridge.name}.accept_ra", value="0")
    assert kernel.find(quiet) == quiet
    loud = Sysctl(name=quiet.name, value="2")
    assert not kernel.apply([Change(loud, quiet)]).errors
    assert look_until(drift, lambda: kernel.find(quiet) == quiet)
    assert drift.repaired == 1


def test_the_rest_waits_for_the_kernels_word(
    node: ComputeNode, kernel: FakeKernel, drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A glance lists nothing, so that an idle host costs next to nothing."""
    (vnic,) = node.topology().vnics
    kernel.links.remove(vnic.link)
    assert not look_until(drift, lambda: kernel.find(vnic.link) is not None, seconds=0.2)
    monkeypatch.setattr("snnet.agent.drift.LOOK_EVERY", 0.0)
    drift.watch([])
    drift.watch([node])
    assert look_until(drift, lambda: kernel.find(vnic.link) is not None)


def test_what_cannot_be_repaired_is_not_tried_at_each_glance(
    node: ComputeNode, kernel: FakeKernel, drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bridge,) = (noun for noun in kernel.snapshot({Link}).values() if isinstance(noun, Bridge))
    quiet = Sysctl(name=f"net.ipv6.conf.{bridge.name}.accept_ra", value="0")
    loud = Sysctl(name=quiet.name, value="2")
    assert not kernel.apply([Change(loud, quiet)]).errors
    tried = []
    monkeypatch.setattr(node, "repair", lambda: tried.append(1))
    look_until(drift, lambda: len(tried) > 1, seconds=0.3)
    assert tried == [1]


def test_changes_one_after_the_other_are_repaired_at_once(
    node: ComputeNode, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that find nothing are rare, in proportion to their cost; those that repair are not."""
    monkeypatch.setattr("snnet.agent.drift.SETTLE", 0.01)
    monkeypatch.setattr("snnet.agent.drift.SHARE", 1e6)
    (vnic,) = node.topology().vnics
    drift = Drift()
    drift.watch([node])

    def tell() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Never, "noticed", lambda _: True)
            drift.notice()

    for _ in range(3):
        kernel.links.remove(vnic.link)
        tell()
        assert look_until(drift, lambda: kernel.find(vnic.link) is not None)
    assert drift.repaired >= 3
    # One that finds nothing is the last for long.
    tell()
    look_until(drift, lambda: False, seconds=0.1)
    kernel.links.remove(vnic.link)
    tell()
    assert not look_until(drift, lambda: kernel.find(vnic.link) is not None, seconds=0.3)
    drift.close()
