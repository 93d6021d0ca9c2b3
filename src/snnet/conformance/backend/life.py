"""The driver among other drivers, threads, event loops and forks; what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from snnet.contract import (
    Add,
    Bridge,
    Change,
    Driver,
    Exists,
    Link,
    LinkEvent,
    Outcome,
    Remove,
    SnnetError,
    Tap,
    Unsupported,
    Watch,
)

from .base import BackendTests, is_there, link
from .nouns import BRIDGE, TAP, VETH
from .place import Place
from .steps import PATIENCE, add, do, need, remove, within_patience

_THREADS = 8
_EACH = 5
_ROUNDS = 3


class LifeTests(BackendTests):
    def test_another_driver_sees_the_same(self, place: Place) -> None:
        """All state is on the host: a second driver finds, changes and removes it."""
        add(place, BRIDGE, TAP)
        with place.another() as other:
            assert other.snapshot() == place.driver.snapshot()
            assert isinstance(other.apply([Add(TAP)]).error, Exists)
            wanted = replace(TAP, master="br")
            assert other.apply([Change(wanted, TAP)]).errors == {}
        assert is_there(place, wanted)
        with place.another() as other:
            assert other.apply([Remove(wanted)]).errors == {}
        assert place.driver.find(TAP) is None

    def test_closing_changes_nothing(self, place: Place) -> None:
        """Closing may be repeated, and what the driver made stays."""
        with place.another() as other:
            need(place, BRIDGE, TAP)
            assert other.apply([Add(BRIDGE), Add(TAP)]).errors == {}
            other.close()
            other.close()
        assert is_there(place, BRIDGE)
        assert is_there(place, TAP)

    def test_opening_changes_nothing(self, place: Place) -> None:
        """Opening and closing a driver changes nothing."""
        before = place.driver.snapshot()
        with place.another():
            pass
        assert place.driver.snapshot() == before

    def test_no_descriptor_is_left(self, place: Place) -> None:
        """A closed driver leaves no descriptor and no thread in the process.

        What the process opens only once, at the first use, does not count.
        """
        need(place, TAP, VETH)
        _use(place)  # now open: what the process opens only once
        before = _open_files(), threading.active_count()
        _use(place)
        assert (_open_files(), threading.active_count()) == before

    def test_descriptors_do_not_grow(self, place: Place) -> None:
        """A driver may keep a few descriptors; the number does not grow with use."""
        need(place, TAP)
        tap = _with_queues(place.driver)
        counts = []
        for _ in range(_ROUNDS):
            for _ in range(3):
                do(place, Add(TAP), Remove(TAP))
                place.driver.apply([Add(tap), Add(tap)]).close_fds()
                remove(place, tap)
            counts.append(_open_files())
        assert counts[-1] <= counts[0] + 10, counts

    # -- threads ----------------------------------------------------------------------

    def test_threads_work_side_by_side(self, place: Place) -> None:
        """Many threads add, find and remove ports of one bridge without affecting each other."""
        add(place, BRIDGE)
        need(place, TAP)

        def work(number: int) -> list[Any]:
            taps = [
                Tap(name=f"t{number}-{n}", alias=f"{number} {n}", master="br") for n in range(_EACH)
            ]
            wrong: list[Any] = [*place.driver.apply(list(map(Add, taps))).errors.values()]
            for tap in taps:
                found = place.driver.find(tap)
                if found is None or tap.differences(found):
                    wrong.append(tap)
            place.driver.snapshot([Link])
            wrong += place.driver.apply([Remove(tap) for tap in taps[1:]]).errors.values()
            return wrong

        assert _in_threads(work) == [[]] * _THREADS
        left = {key[1] for key in place.driver.snapshot([Tap])}
        assert left == {f"t{number}-0" for number in range(_THREADS)}

    def test_of_many_who_add_one_link_one_wins(self, place: Place) -> None:
        """One thread adds the link; the others get ``Exists``."""
        need(place, TAP)

        def work(number: int) -> Outcome:
            return place.driver.apply([Add(replace(TAP, alias=str(number)))])

        outcomes = _in_threads(work)
        winners = [number for number, outcome in enumerate(outcomes) if outcome.done == {0}]
        assert len(winners) == 1
        assert all(isinstance(o.error, Exists) for o in outcomes if not o.done)
        assert link(place, Tap, "tap").alias == str(winners[0])

    # -- event loops and forks ----------------------------------------------------------

    def test_inside_a_running_event_loop(self, place: Place) -> None:
        """The driver works in a running event loop, blocking it, and in ``asyncio.to_thread``."""
        need(place, TAP)

        async def main() -> None:
            do(place, Add(TAP))
            assert place.driver.find(TAP) is not None
            assert TAP.key in await asyncio.to_thread(place.driver.snapshot)
            outcome = await asyncio.to_thread(place.driver.apply, [Remove(TAP)])
            assert outcome.errors == {}

        asyncio.run(main())
        assert place.driver.find(TAP) is None

    def test_after_a_fork(self, place: Place) -> None:
        """After a fork, parent and child can both use the driver."""
        add(place, Tap(name="before"))
        child = _fork(lambda: _childs_work(place.driver))
        add(place, Tap(name="parent"))
        place.driver.snapshot()
        assert child() == ""
        if place.survives_forks:
            assert is_there(place, Tap(name="child"))
        remove(place, Tap(name="before"), Tap(name="parent"))

    # -- watching -----------------------------------------------------------------------

    def test_links_are_watched(self, place: Place) -> None:
        """A watch reports links that appear, change or go, whatever causes it."""
        need(place, TAP)
        before = place.names()
        with _watch(place) as watch:
            assert _news(watch, before) == []
            add(place, TAP)
            index = link(place, Tap, "tap").index
            assert _heard(watch, LinkEvent("tap", index, False))
            do(place, Change(replace(TAP, mtu=1400), TAP))
            assert _heard(watch, LinkEvent("tap", index, False))
            remove(place, replace(TAP, mtu=1400))
            assert _heard(watch, LinkEvent("tap", index, True))
            place.make_bridge("theirs")
            index = link(place, Bridge, "theirs").index
            assert _heard(watch, LinkEvent("theirs", index, False))
            place.delete_link("theirs")
            assert _heard(watch, LinkEvent("theirs", index, True))

    def test_a_watch_begins_when_it_is_opened(self, place: Place) -> None:
        """A watch reports only later events; each watch has its own."""
        before = place.names()
        add(place, replace(BRIDGE, up=False))
        with _watch(place) as first, _watch(place) as second:
            assert _news(first, before) == []
            add(place, TAP)
            for watch in (first, second):
                assert _heard(watch, LinkEvent("tap", link(place, Tap, "tap").index, False))

    def test_a_watch_waits_up_to_its_timeout(self, place: Place) -> None:
        """``read`` waits up to its timeout; an empty list means that nothing came."""
        with _watch(place) as watch:

            def waits() -> bool:
                start = time.monotonic()
                return watch.read(0.05) == [] and 0.04 < time.monotonic() - start < PATIENCE

            assert within_patience(waits)  # the host's own links may come up meanwhile

    def test_a_watch_wakes_when_something_comes(self, place: Place) -> None:
        """``read`` returns as soon as there is an event, long before its timeout."""
        before = place.names()
        with _watch(place) as watch:
            timer = threading.Timer(0.1, place.make_bridge, ["theirs"])
            start = time.monotonic()
            timer.start()
            while not (heard := _news(watch, before, 2 * PATIENCE)):
                assert time.monotonic() - start < PATIENCE
            assert {event.name for event in heard} == {"theirs"}
            assert time.monotonic() - start < PATIENCE
            timer.join()

    def test_a_watch_closes_more_than_once(self, place: Place) -> None:
        """Closing a watch may be repeated, and changes no link."""
        before = place.driver.snapshot()
        watch = _watch(place)
        watch.close()
        watch.close()
        assert place.driver.snapshot() == before


def _use(place: Place) -> None:
    """Open one more driver, use it with and without success, and close it."""
    with place.another() as driver:
        tap = _with_queues(driver)
        for _ in range(3):
            outcome = driver.apply([Add(VETH), Add(tap), Add(tap)])
            assert outcome.done == {0, 1}
            outcome.close_fds()
            assert driver.apply([Add(replace(TAP, queues=3))]).error is not None
            too_many = driver.apply([Add(Tap(name="t", queues=257, multi_queue=True))])
            assert (too_many.done, too_many.fds) == (set(), {})
            assert driver.apply([Add(Tap(name="t", master="nowhere"))]).error is not None
            driver.snapshot()
            driver.find(VETH)
            try:
                with driver.watch() as watch:
                    watch.read(0)
            except Unsupported:
                pass
            gone = driver.apply([Remove(tap), Remove(VETH)])
            assert gone.errors == {}


def _with_queues(driver: Driver) -> Tap:
    """Return a tap that comes with descriptors, if the driver has such taps."""
    several = replace(TAP, queues=2, multi_queue=True)
    return several if driver.missing(several) is None else TAP


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Return the result of each thread; raise the first exception."""
    results: list[Any] = [None] * _THREADS

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _fork(work: Callable[[], None]) -> Callable[[], str]:
    """Do the work in a child; return a function that waits for it and returns its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "ended without a word"
        try:
            work()
            said = ""
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)

    def wait() -> str:
        with open(reader, encoding="utf-8") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return said

    return wait


def _childs_work(driver: Driver) -> None:
    tap = Tap(name="child")
    outcome = driver.apply([Add(tap), Add(Tap(name="passing")), Remove(Tap(name="passing"))])
    if outcome.error is not None:
        raise outcome.error
    found = driver.find(tap)
    if found is None or tap.key not in driver.snapshot() or tap.differences(found):
        raise SnnetError(f"the child finds {found}")


def _watch(place: Place) -> Watch:
    try:
        return place.driver.watch()
    except Unsupported as error:
        pytest.xfail(f"declared gap: {error}")


def _news(watch: Watch, before: set[str], timeout: float = 0) -> list[LinkEvent]:
    """Read once; leave out events of links that were there before: they may come up late."""
    return [event for event in watch.read(timeout) if event.name not in before]


def _heard(watch: Watch, wanted: LinkEvent) -> bool:
    """Whether the event arrives within ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if wanted in watch.read(0.05):
            return True
    return False
