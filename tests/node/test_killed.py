"""A process killed at any instruction: the next one's ``init()`` reads and heals it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import pytest

import snnet
from snnet.contract import Operation
from snnet.node.host import HALF_BORN_GRACE
from tests.killed import Killed
from tests.node.conftest import make_world
from tests.node.world import FakeWorld, RealWorld, World, container, port, vm
from tests.sample import turns

Call = Callable[[snnet.ComputeNode], object]

RATES: dict[str, Any] = {"rate_to_guest": "50mbit", "rate_from_guest": "10mbit"}


def create_with_queues(node: snnet.ComputeNode) -> None:
    for fd in node.create_vnic(vm(9, queues=2)).vnic.fds:
        os.close(fd)


CREATES: dict[str, Call] = {
    "vm": lambda node: node.create_vnic(vm(9)),
    "container": lambda node: node.create_vnic(container(9)),
    "queues": create_with_queues,
    "rates": lambda node: node.create_vnic(container(9, **RATES)),
    "cnci vnic": lambda node: node.create_cnci_vnic(port(1)),
}


class Mortal(snnet.FakeKernel):
    """A fake kernel whose caller dies before a given operation, counted from now."""

    die_at: int | None = None

    def perform(self, operation: Operation) -> Sequence[int] | None:
        if self.die_at is not None:
            self.die_at -= 1
            if self.die_at < 0:
                self.die_at = None
                raise Killed
        return super().perform(operation)


def check_healed(world: World, before: str, call: Call) -> None:
    """What a killed call left is whole or gone, and the call still works."""
    node = world.node()
    assert node.verify() == []
    if not (node.topology().vnics or node.topology().cnci_vnics):
        assert world.text() == before
    call(node)
    assert node.verify() == []
    node.reset_network()
    assert world.text() == before
    node.close()


@pytest.mark.parametrize("name", CREATES)
def test_killed_before_any_operation_on_the_fake(name: str) -> None:
    call = CREATES[name]
    at = 0
    while True:
        world = FakeWorld("gre")
        world.kernel = kernel = Mortal()
        kernel.add_uplink("eth0", "192.0.2.11/24")
        before = world.text()
        node = world.node()
        kernel.die_at = at
        try:
            call(node)
        except Killed:
            check_healed(world, before, call)
        else:
            break
        at += 1
    assert at >= 1


def test_a_subnet_whose_last_port_is_gone_is_removed(fake: FakeWorld) -> None:
    """Its concentrator is told; a node that only looks on knows what is there."""
    with fake.node() as node:
        before = fake.text()
        fake.delete(node.create_vnic(vm(9)).vnic.link_name)
        ends = [vnic.subnet_id for vnic in (fake.node(read_only=True).topology().subnets)]
        assert ends == ["s1"]
        (event,) = node.rebuild_topology().tunnel_events
        assert event.type is snnet.TunnelEventType.DEL
        assert node.topology().subnets == ()
        assert fake.text() == before


@pytest.mark.parametrize("call", ["rebuild_topology", "repair", "reset_network"])
def test_a_link_that_may_just_be_made_is_waited_for(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Here whoever makes it fails, and takes it back."""
    node = fake.node()
    made = fake.link(node.create_vnic(container(9)).vnic.link_name)
    node.destroy_vnic(container(9))
    assert made is not None
    fake.add(replace(made, alias="", up=False, master=None, index=0))
    waits: list[float] = []

    def goes_away(seconds: float) -> None:
        waits.append(seconds)
        fake.delete(made.name)

    monkeypatch.setattr(time, "sleep", goes_away)
    assert [line for line in node.verify() if made.name in line]
    fake.node(read_only=True).rebuild_topology()
    assert waits == []
    assert getattr(node, call)().healed == []
    assert waits == [HALF_BORN_GRACE]


@pytest.mark.kernel
@pytest.mark.parametrize("name", CREATES)
def test_a_set_up_killed_before_and_after_any_change(real: RealWorld, name: str) -> None:
    if name == "queues" and not real.hands_out_queues:
        return
    before = real.text()
    stride = 5 if name == "rates" else 1  # it has the points of a container, and more
    for at in (stride * turn for turn in turns(0)):
        if not _dies(real, CREATES[name], at):
            break
        check_healed(real, before, CREATES[name])
    assert at >= 6, at


@pytest.mark.kernel
@pytest.mark.parametrize("name", sorted(CREATES.keys() - {"rates"}))
def test_a_set_up_with_iptables_killed(request: pytest.FixtureRequest, name: str) -> None:
    """Each family and table is a change of its own: what is left of some is not there for ever."""
    world = make_world(request, "netlink-vxlan-iptables")
    assert isinstance(world, RealWorld)
    before = world.text()
    for at in turns(0, 5):  # hundreds of points
        if not _dies(world, CREATES[name], at):
            break
        check_healed(world, before, CREATES[name])
    world.close()


@pytest.mark.kernel
def test_a_removal_killed_before_and_after_any_change(real_walled: RealWorld) -> None:
    """Also what the last noun takes along, such as a table, is not left to whoever is killed."""
    world = real_walled
    before = world.text()
    for at in turns(0, 5):
        with world.node() as node:
            node.create_vnic(vm(9))
        if not _dies(world, lambda node: node.destroy_vnic(vm(9)), at):
            break
        with world.node() as node:
            assert node.verify() == []
            node.destroy_vnic(vm(9))
            node.reset_network()
        assert world.text() == before, at
    assert world.text() == before


def _dies(world: RealWorld, call: Call, at: int) -> bool:
    """Make the call in a child that is killed at its request ``at``; whether it was."""
    child = os.fork()
    if child == 0:
        _live_and_die(world, call, at)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _live_and_die(world: RealWorld, call: Call, at: int) -> NoReturn:
    from snnet.firewall.nft import Nft
    from snnet.system import netlink, process

    left = [at]

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def step() -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def run(*args: Any, **named: Any) -> Any:
            step()
            result = function(*args, **named)
            step()
            return result

        return run

    try:
        node = world.node()
        netlink._Socket.exchange = mortal(netlink._Socket.exchange)  # type: ignore[method-assign]
        fcntl.ioctl = mortal(fcntl.ioctl)
        process._run = mortal(process._run)
        Nft.run = mortal(Nft.run)  # type: ignore[method-assign]
        call(node)
        os._exit(0)
    except BaseException:
        os._exit(1)
