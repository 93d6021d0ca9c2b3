"""Many threads, the caller's own namespace, and lost events."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.watch import LinkWatch
from snnet.contract import Add, Bridge, Exhausted, Remove, Sysctl, Tap
from snnet.system.host import RealHost
from snnet.system.netns import in_netns

pytestmark = pytest.mark.kernel


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_eight_threads_make_fifty_taps_each(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    done(Add(Bridge(name="br", mtu=1500)))
    errors: list[Any] = []

    def work(thread: int) -> None:
        taps = [
            Tap(name=f"t{thread}-{n}", mtu=1400, master="br", alias=f"{thread} {n}")
            for n in range(50)
        ]
        errors.extend(backend.apply(list(map(Add, taps))).errors.values())
        for tap in taps:
            found = backend.find(tap)
            if found is None or tap.differences(found):
                errors.append(tap)
        errors.extend(backend.apply(list(map(Remove, taps))).errors.values())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {key[1] for key in backend.snapshot([Tap])} == set()


def test_the_callers_own_namespace_is_served_without_a_thread(netns: str) -> None:
    """And holds no tun file in stock."""
    outside = RealHost(netns, owner="cn:test")

    def inside() -> int:
        host = RealHost(owner="cn:test")
        backend = NetlinkBackend(host)
        assert backend.apply([Add(Tap(name="t"))]).errors == {}
        threads = threading.active_count()
        before = open_files()
        assert backend.apply([Remove(Tap(name="t")), Add(Tap(name="t"))]).errors == {}
        assert open_files() == before
        assert threading.active_count() == threads
        backend.close()
        host.close()
        return 0

    assert in_netns(outside.netns.fd, inside) == 0
    outside.close()


# Watching


def test_lost_events_are_said(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    with backend.watch() as watch:
        assert isinstance(watch, LinkWatch)
        watch._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        done(*(Add(Tap(name=f"t{n}")) for n in range(20)))
        with pytest.raises(Exhausted, match="new snapshot"):
            watch.read(0)


@pytest.mark.usefixtures("many_descriptors")
def test_a_process_with_many_descriptors_watches(
    backend: NetlinkBackend, done: Callable[..., Any]
) -> None:
    with backend.watch() as watch:
        done(Add(Tap(name="t")))
        assert "t" in [event.name for event in watch.read(5)]


def test_parameters_of_a_namespace_need_no_thread(
    netns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of them is opened once, and stays with its namespace whatever appears there."""
    host = RealHost(netns, owner="cn:test")
    before = open_files()
    backend = NetlinkBackend(host)
    name = "net.ipv6.conf.{}.disable_ipv6"
    assert backend.apply([Add(Bridge(name="br", mtu=1500)), Add(Tap(name="t", master="br"))]).done
    entered: list[object] = []
    monkeypatch.setattr("snnet.backends.netlink.sysctls.in_netns", lambda *a: entered.append(a))
    assert backend.apply([Add(Bridge(name="new")), Add(Tap(name="u", master="new"))]).done == {0, 1}
    assert backend.find(Sysctl(name=name.format("t"))) == Sysctl(name=name.format("t"), value="1")
    assert backend.find(Sysctl(name=name.format("br"))) == Sysctl(name=name.format("br"), value="0")
    assert backend.find(Sysctl(name=name.format("gone"))) is None
    assert entered == []
    backend.close()
    backend.close()
    assert open_files() == before
    host.close()
