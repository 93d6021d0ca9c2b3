"""Bridges: who may join, and what follows the ports."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import Add, Change, Gre

from .steps import add, bridge, do, link, refusal, remove, tap


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


def test_a_master_must_be_there_and_a_bridge(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), tap("t0"))
    assert refusal(kernel, Add(tap("t1", "nowhere"))) == "ENODEV"
    assert refusal(kernel, Add(tap("t1", "t0"))) == "EOPNOTSUPP"
    assert refusal(kernel, Add(tap("t1", "lo"))) == "EOPNOTSUPP"


def test_what_no_bridge_takes(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"))
    assert refusal(kernel, Add(bridge("b1", master="b0"))) == "ELOOP"
    lo = link(kernel, "lo")
    assert refusal(kernel, Change(replace(lo, master="b0"), lo)) == "EINVAL"
    gre = Gre(name="g0", local=IPv4Address("192.0.2.1"), tunnel_key=1, master="b0")
    assert refusal(kernel, Add(gre)) == "EINVAL"


def test_1023_ports(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0", mac="02:00:00:00:00:01", mtu=1500), bridge("b1"))
    add(kernel, *(tap(f"t{number}", "b0") for number in range(1023)))
    assert refusal(kernel, Add(tap("more", "b0"))) == "EXFULL"
    add(kernel, tap("more", "b1"))
    found = link(kernel, "more")
    assert refusal(kernel, Change(replace(found, master="b0"), found)) == "EXFULL"
    remove(kernel, tap("t7"))
    do(kernel, Change(replace(found, master="b0"), found))


def test_mtu_follows_the_smallest_port(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), tap("t0", "b0", mtu=1450), tap("t1", "b0", mtu=1400))
    assert link(kernel, "b0").mtu == 1400
    found = link(kernel, "t1")
    do(kernel, Change(replace(found, mtu=1300), found))
    assert link(kernel, "b0").mtu == 1300
    remove(kernel, tap("t1"))
    assert link(kernel, "b0").mtu == 1450
    remove(kernel, tap("t0"))
    assert link(kernel, "b0").mtu == 1500


@pytest.mark.parametrize("at_creation", [True, False])
def test_mtu_that_was_set_stays(kernel: FakeKernel, at_creation: bool) -> None:
    add(kernel, bridge("b0", mtu=1458 if at_creation else None))
    if not at_creation:
        found = link(kernel, "b0")
        do(kernel, Change(replace(found, mtu=1458), found))
    add(kernel, tap("t0", "b0", mtu=1300), tap("t1", "b0", mtu=1500))
    assert link(kernel, "b0").mtu == 1458


def test_mac_follows_the_lowest_port(kernel: FakeKernel) -> None:
    add(
        kernel,
        bridge("b0"),
        tap("t0", "b0", mac="fe:00:00:00:00:09"),
        tap("t1", "b0", mac="fe:00:00:00:00:05"),
    )
    assert link(kernel, "b0").mac == "fe:00:00:00:00:05"
    found = link(kernel, "t1")
    do(kernel, Change(replace(found, mac="fe:00:00:00:00:0a"), found))
    assert link(kernel, "b0").mac == "fe:00:00:00:00:09"
    remove(kernel, tap("t0"), tap("t1"))
    found = link(kernel, "b0")
    assert found.mac == "00:00:00:00:00:00"
    do(kernel, Change(replace(found, alias="still ours"), found))


def test_mac_that_was_set_stays(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0", mac="02:00:00:00:00:77"))
    add(kernel, tap("t0", "b0", mac="00:00:00:00:00:09"))
    assert link(kernel, "b0").mac == "02:00:00:00:00:77"


def test_a_port_moves_from_bridge_to_bridge(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), bridge("b1"), tap("t0", "b0", mtu=1400))
    found = link(kernel, "t0")
    do(kernel, Change(replace(found, master="b1"), found))
    assert (link(kernel, "b0").mtu, link(kernel, "b1").mtu) == (1500, 1400)
    moved = link(kernel, "t0")
    do(kernel, Change(replace(moved, master=None), moved))
    assert link(kernel, "b1").mtu == 1500
