"""Multicast reaches the guest of a macvtap, or neighbour discovery would not find the guest."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from snnet import plugins
from snnet.contract import Add, Change, Driver, Macvtap
from snnet.core.vnics import CnciVnic
from snnet.lab.taps import open_macvtap
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace

pytestmark = pytest.mark.kernel

MAC = "02:00:00:00:00:09"
FILTERED = Macvtap(name="m", lower="eth0", mac=MAC, all_multicast=False)
WHOLE = Macvtap(name="m", lower="eth0", mac=MAC)
_GROUPS = range(8)
"""The filter has 256 bits, and a group of these that shares one with a group of the host's
passes: that all of them do happens once in 10**12 runs."""


@pytest.fixture
def host() -> Iterator[Namespace]:
    with closing(Namespace("host")) as namespace:
        namespace.ip(
            [
                "link add eth0 type veth peer name wire",
                "link set eth0 up",
                "link set wire up",
            ]
        )
        yield namespace


@pytest.fixture(params=["netlink", "iproute_shell"])
def driver(host: Namespace, request: pytest.FixtureRequest) -> Iterator[Driver]:
    with closing(RealHost(host.fd, owner="cn:x")) as opened:
        driver = plugins.open_driver(plugins.BACKENDS, request.param, opened)
        with closing(driver):
            yield driver


def heard(host: Namespace, fd: int) -> set[int]:
    """The groups of ``_GROUPS`` whose frames the guest receives."""
    found = set()
    with host.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as wire:
        host.call(lambda: wire.bind(("wire", 0)))
        for group in _GROUPS:
            target = bytes([0x33, 0x33, 0xFF, 0, 0x42, group])
            wire.send(target + bytes.fromhex("0200000000aa86dd") + bytes(60))
    while select.select([fd], [], [], 0.3)[0]:
        frame = os.read(fd, 2048)
        if frame[:5] == b"\x33\x33\xff\0\x42":
            found.add(frame[5])
    return found


def test_a_macvtap_passes_all_multicast(host: Namespace, driver: Driver) -> None:
    """One that does not, as others or an older snnet made it, is changed in place."""
    do = _doer(driver)
    do(Add(FILTERED))
    made = driver.find(FILTERED)
    assert isinstance(made, Macvtap)
    vnic = CnciVnic(tenant_id="t", vnic_id="v", instance_id="i", link=made)
    fd = open_macvtap(host, vnic)
    try:
        assert heard(host, fd) != set(_GROUPS)
        do(Change(WHOLE, FILTERED))
        assert heard(host, fd) == set(_GROUPS)
    finally:
        os.close(fd)


def _doer(driver: Driver) -> Callable[[Add | Change], None]:
    def do(operation: Add | Change) -> None:
        assert driver.apply([operation]).error is None

    return do
