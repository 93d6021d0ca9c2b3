"""The backend among threads, event loops and forks, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.watch import LinkWatch
from snnet.contract import Add, Bridge, Exhausted, Exists, LinkEvent, Remove, Tap, Veth
from snnet.system.host import RealHost
from snnet.system.netns import in_netns
from tests.conftest import ip

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


def test_of_many_who_add_one_link_one_wins(backend: NetlinkBackend) -> None:
    outcomes: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(backend.apply([Add(Tap(name="t", alias=str(n)))]))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.done == {0} for outcome in outcomes) == 1
    assert all(isinstance(o.error, Exists) for o in outcomes if o.errors)


def test_inside_a_running_event_loop(backend: NetlinkBackend) -> None:
    async def main() -> None:
        tap = Tap(name="t", alias="a tap")
        assert backend.apply([Add(tap)]).errors == {}
        assert await asyncio.to_thread(backend.find, tap) is not None
        assert backend.apply([Remove(tap)]).errors == {}

    asyncio.run(main())


def test_after_a_fork(backend: NetlinkBackend) -> None:
    first = [Tap(name=f"p{n}", alias="parent") for n in range(3)]
    assert backend.apply([Add(tap) for tap in first[:1]]).errors == {}
    child = os.fork()
    if child == 0:
        code = 1
        try:
            taps = [Tap(name=f"c{n}", alias="child") for n in range(3)]
            outcome = backend.apply(list(map(Add, taps)))
            code = 0 if not outcome.errors and backend.find(taps[2]) else 2
        finally:
            os._exit(code)
    assert backend.apply([Add(tap) for tap in first[1:]]).errors == {}
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert {key[1] for key in backend.snapshot([Tap])} == {"p0", "p1", "p2", "c0", "c1", "c2"}


def test_no_descriptor_is_left(netns: str) -> None:
    before = open_files()
    host = RealHost(netns, owner="cn:test")
    backend = NetlinkBackend(host)
    nouns = [Bridge(name="br"), Veth(name="v", peer="p"), Tap(name="t")]
    for _ in range(5):
        assert backend.apply(list(map(Add, nouns))).errors == {}
        assert backend.apply([Add(Tap(name="t"))]).errors
        backend.snapshot()
        with backend.watch() as watch:
            watch.read(0)
        assert backend.apply(list(map(Remove, reversed(nouns)))).errors == {}
    backend.close()
    backend.close()
    host.close()
    assert open_files() == before


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


def test_events_of_links(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    bridge, tap = Bridge(name="br"), Tap(name="t", master="br")
    done(Add(bridge))
    with backend.watch() as watch:
        assert watch.read(0) == []
        done(Add(tap))
        found = backend.find(tap)
        assert found is not None
        events = watch.read(1)
        assert LinkEvent("t", found.index, False) in events
        assert not any(event.gone for event in events)
        done(Remove(tap))
        events = watch.read(1)
        assert [event for event in events if event.gone] == [LinkEvent("t", found.index, True)]


def test_a_watch_waits(backend: NetlinkBackend, netns: str) -> None:
    with backend.watch() as watch:
        timer = threading.Timer(
            0.2, ip, ["link", "add", "new0", "type", "bridge"], {"netns": netns}
        )
        timer.start()
        assert watch.read(10)[0].name == "new0"
        timer.join()


def test_lost_events_are_said(backend: NetlinkBackend, done: Callable[..., Any]) -> None:
    with backend.watch() as watch:
        assert isinstance(watch, LinkWatch)
        watch._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        done(*(Add(Tap(name=f"t{n}")) for n in range(20)))
        with pytest.raises(Exhausted, match="new snapshot"):
            watch.read(0)
