"""Taps and their descriptors."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Add, Exists, Link, Rejected, Remove, Tap
from snnet.system.netns import in_netns

pytestmark = pytest.mark.kernel

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 2, 0x1000, 0x4000, 0x100


def open_tap(backend: NetlinkBackend, name: str, flags: int) -> None:
    """Open the tap as a VM would, and close it again."""

    def attach() -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("=16sH22x", name.encode(), flags))
        finally:
            os.close(fd)

    in_netns(backend.host.netns.fd, attach)


@pytest.mark.parametrize("extra", [0, IFF_VNET_HDR])
def test_one_queue_is_opened_by_name(
    backend: NetlinkBackend, done: Callable[..., Any], extra: int
) -> None:
    tap = Tap(name="t", mac="fe:00:00:00:00:01", mtu=1400, alias="a tap")
    assert done(Add(tap)).fds == {}
    open_tap(backend, "t", IFF_TAP | IFF_NO_PI | extra)
    found = backend.find(tap)
    assert found is not None
    assert not tap.differences(found)
    done(Remove(tap))


def test_several_queues_come_as_descriptors(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    tap = Tap(name="t", queues=4, multi_queue=True, alias="a tap")
    outcome = done(Add(tap))
    fds = outcome.fds["t"]
    assert len(fds) == 4
    for fd in fds:
        request = fcntl.ioctl(fd, 0x800454D2, bytes(40))  # TUNGETIFF
        name, flags = struct.unpack_from("=16sH", request)
        assert name.rstrip(b"\0") == b"t"
        wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
        assert flags & wanted == wanted
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    found = backend.find(tap)
    assert isinstance(found, Tap)
    assert found.multi_queue
    assert found.queues == 4
    outcome.close_fds()
    assert backend.find(tap) is not None  # it is persistent
    done(Remove(tap))


def test_too_many_queues_leave_nothing(backend: NetlinkBackend) -> None:
    before = len(os.listdir("/proc/self/fd"))
    outcome = backend.apply([Add(Tap(name="t", queues=257, multi_queue=True))])
    assert isinstance(outcome.error, Rejected)
    assert outcome.fds == {}
    assert backend.find(Link(name="t")) is None
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_a_tap_that_is_there_is_never_taken_over(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    done(Add(Tap(name="t", queues=2, multi_queue=True))).close_fds()
    for tap in (Tap(name="t"), Tap(name="t", queues=2, multi_queue=True)):
        outcome = backend.apply([Add(tap)])
        assert isinstance(outcome.error, Exists)
        assert outcome.fds == {}
    assert backend.find(Link(name="t")) is not None
