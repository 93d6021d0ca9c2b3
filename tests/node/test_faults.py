"""Every operation of every plan fails once: set-up leaves nothing, tear-down finishes later."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet.contract import Tunnel, Zone, keyed
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, container, port, vm

Call = Callable[[Any], object]


def _cn(world: FakeWorld) -> snnet.ComputeNode:
    node = world.node()
    node.create_vnic(vm(8, subnet_number=2))
    return node


def _cnci(world: FakeWorld) -> snnet.Cnci:
    cnci = world.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    return cnci


def _cnci_with_nat(world: FakeWorld) -> snnet.Cnci:
    cnci = _cnci(world)
    cnci.enable_nat(["eth0"])
    return cnci


def _bridge(cnci: snnet.Cnci) -> str:
    return str(cnci.topology()["subnets"]["10.1.0.0/24"]["bridge"])


SET_UPS: dict[str, tuple[Callable[[FakeWorld], Any], Call]] = {
    "first vm": (_cn, lambda node: node.create_vnic(vm(9))),
    "first container": (_cn, lambda node: node.create_vnic(container(9))),
    "second vm": (_cn, lambda node: node.create_vnic(vm(9, subnet_number=2))),
    "queues": (_cn, lambda node: node.create_vnic(vm(9, queues=3))),
    "cnci vnic": (_cn, lambda node: node.create_cnci_vnic(port(1))),
    "first node": (_cnci, lambda node: node.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")),
    "second node": (_cnci, lambda node: node.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.22")),
    "mesh": (_cnci, lambda node: node.update_neighbors(neighbors(11, 30, 31))),
    "entry": (_cnci, lambda node: node.dhcp("10.1.0.0/24").add_entry("10.1.0.9", hostname="a")),
    "nat": (_cnci, lambda node: node.enable_nat(["eth0"])),
    "forward": (
        _cnci_with_nat,
        lambda node: node.allow_external("eth0", _bridge(node)),
    ),
    "port": (
        _cnci,
        lambda node: node.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9"),
    ),
    "public": (
        _cnci,
        lambda node: node.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0"),
    ),
}


def _with_vnics(world: FakeWorld) -> snnet.ComputeNode:
    node = _cn(world)
    node.create_vnic(container(9))
    node.create_cnci_vnic(port(1))
    return node


def _with_everything(world: FakeWorld) -> snnet.Cnci:
    cnci = _cnci(world)
    cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.21")
    cnci.update_neighbors(neighbors(11, 30))
    cnci.enable_nat(["eth0"])
    cnci.allow_external("eth0", _bridge(cnci))
    cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to="10.1.0.9")
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    return cnci


TEAR_DOWNS: dict[str, tuple[Callable[[FakeWorld], Any], Call]] = {
    "last vnic": (_with_vnics, lambda node: node.destroy_vnic(container(9))),
    "cnci vnic": (_with_vnics, lambda node: node.destroy_cnci_vnic(port(1))),
    "reset": (_with_vnics, lambda node: node.reset_network()),
    "node": (
        _with_everything,
        lambda node: node.del_remote_subnet("10.2.0.0/24", 8, "192.0.2.21"),
    ),
    "mesh": (_with_everything, lambda node: node.update_neighbors([])),
    "nat": (_with_everything, lambda node: node.disable_nat()),
    "forward": (
        _with_everything,
        lambda node: node.deny_external("eth0", _bridge(node)),
    ),
    "port": (
        _with_everything,
        lambda node: node.remove_port_forward(protocol="tcp", device="eth0", port=80),
    ),
    "public": (
        _with_everything,
        lambda node: node.remove_public_ip("203.0.113.5"),
    ),
    "shutdown": (_with_everything, lambda node: node.shutdown()),
}


def _operations(prepare: Callable[[FakeWorld], Any], call: Call) -> int:
    """How many operations the call takes when nothing fails."""
    world = FakeWorld("gre")
    seen: list[int] = []

    class Count:
        def applied(self, plan: snnet.Plan) -> None:
            seen.append(len(plan))

    node = prepare(world)
    node.listeners.register(Count())
    call(node)
    return sum(seen)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", SET_UPS)
def test_a_failed_set_up_leaves_the_host_exactly_as_before(name: str) -> None:
    prepare, call = SET_UPS[name]
    count = _operations(prepare, call)
    assert count >= 1
    for at in range(1, count + 1):
        world = FakeWorld("gre")
        node = prepare(world)
        before, known, fds = world.text(), node.topology(), _descriptors()
        world.kernel.fail(at=at, error="ENOMEM")
        with pytest.raises(snnet.Exhausted, match="Cannot allocate memory") as caught:
            call(node)
        assert isinstance(caught.value, snnet.ApiError)
        assert caught.value.errno is not None
        assert world.text() == before, f"operation {at} of {count}"
        assert node.topology() == known
        assert _descriptors() == fds
        assert node.verify() == []
        call(node)
        assert world.text() != before
        assert node.verify() == []


@pytest.mark.parametrize("name", TEAR_DOWNS)
def test_an_unfinished_tear_down_lists_what_is_left_and_is_finished_later(name: str) -> None:
    prepare, call = TEAR_DOWNS[name]
    count = _operations(prepare, call)
    clean = FakeWorld("gre")
    call(prepare(clean))
    for at in range(1, count + 1):
        world = FakeWorld("gre")
        node = prepare(world)
        world.kernel.fail(at=at, error="EBUSY")
        with pytest.raises(snnet.Incomplete) as caught:
            call(node)
        # A zone that has to keep a link has to stay with it.
        left = [noun for noun in caught.value.leftovers if not isinstance(noun, Zone)]
        assert len(left) == 1 or left == [], left
        assert node.drivers.find(caught.value.leftovers).keys() == {
            noun.key for noun in caught.value.leftovers
        }
        assert "EBUSY" in str(caught.value)
        call(node)
        assert world.text() == clean.text(), f"operation {at} of {count}"
        assert node.verify() == []


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_the_del_event_comes_with_the_call_that_removed_the_tunnel(at: int) -> None:
    world = FakeWorld("gre")
    node = world.node()
    made = node.create_vnic(container(9)).vnic
    world.kernel.fail(at=at, error="EBUSY")
    events, infos = [], []
    with pytest.raises(snnet.Incomplete) as caught:
        node.destroy_vnic(container(9))
    gone: Any = caught.value
    tunnel_left = any(isinstance(noun, Tunnel) for noun in gone.leftovers)
    assert tunnel_left == (gone.tunnel_event is None)
    vnic_left = not keyed(gone.leftovers).keys().isdisjoint(keyed(made.nouns()))
    assert vnic_left == bool(node.topology().vnics) == (gone.container_info is None)
    events.append(gone.tunnel_event)
    infos.append(gone.container_info)
    gone = node.destroy_vnic(container(9))
    events.append(gone.tunnel_event)
    infos.append(gone.container_info)
    assert sum(event is not None for event in events) == 1
    assert sum(info is not None for info in infos) == 1


def test_a_rollback_that_fails_is_fatal_and_lists_what_is_left(fake: FakeWorld) -> None:
    node = fake.node()
    before = fake.text()
    fake.kernel.fail(at=4, error="ENOMEM")
    fake.kernel.fail(at=6, error="EBUSY")
    with pytest.raises(snnet.FatalError, match=r"create_vnic v9 .*ENOMEM.*repair\(\)") as caught:
        node.create_vnic(vm(9))
    assert len(caught.value.leftovers) == 1
    assert node.verify() != []
    node.destroy_vnic(vm(9))
    assert fake.text() == before


def test_a_rollback_need_not_remove_what_is_gone(fake: FakeWorld) -> None:
    node = fake.node()
    fake.kernel.fail(at=4, error="ENOMEM")
    fake.kernel.fail(at=6, error="ENODEV")
    with pytest.raises(snnet.Exhausted) as caught:
        node.create_vnic(vm(9))
    assert caught.value.state is snnet.State.ROLLED_BACK


def test_repair_heals_a_failed_rollback(fake: FakeWorld) -> None:
    node = fake.node()
    fake.kernel.fail(at=4, error="ENOMEM")
    fake.kernel.fail(at=6, error="EBUSY")
    with pytest.raises(snnet.FatalError):
        node.create_vnic(vm(9))
    node.repair()
    assert node.verify() == []
    node.create_vnic(vm(9))
    assert node.verify() == []


def test_a_driver_that_cannot_do_it_says_so_before_anything_is_touched() -> None:
    world = FakeWorld("gre")
    world.kernel = snnet.FakeKernel(gaps={"gretap"})
    world.kernel.add_uplink("eth0", "192.0.2.11/24")
    node = world.node()
    before = world.text()
    world.kernel.fail(at=1)
    with pytest.raises(snnet.Unsupported, match=r"this kernel has no gretap.*vxlan") as caught:
        node.create_vnic(vm(9))
    assert caught.value.operation is not None
    assert len(world.kernel.pending_failures) == 1
    assert world.text() == before


def test_a_rebuild_announces_no_end_that_did_not_come() -> None:
    world = FakeWorld("gre")
    first = world.node()
    first.create_vnic(vm(9))
    tap = first.topology().vnics[0].link_name
    first.close()
    world.delete(tap)
    second = world.node(init=False)
    for at in (1, 2, 3):
        world.kernel.fail(at=at, error="EBUSY")
    report = second.init()
    assert report.tunnel_events == []
    assert len(report.orphans) == 3
    (event,) = second.rebuild_topology().tunnel_events
    assert event.type is snnet.TunnelEventType.DEL
    assert world.links() == []
