"""Several processes at once, killed at any instruction."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import pytest

from snnet.contract import Put, Registry, Stale, Unavailable

from .base import SOON, Base, collect
from .commits import add
from .place import RegistryPlace

Opener = Callable[[], Registry]

WRITERS = 4
ADDRESSES = 40
KILLS = 5


class Processes(Base):
    @pytest.fixture(autouse=True)
    def needs_processes(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__.startswith("test_processes"):
            place: RegistryPlace = request.getfixturevalue("place")
            if not place.processes:
                pytest.xfail("declared gap: only one process can use this registry")

    def test_processes_lose_no_update(self, place: RegistryPlace, registry: Registry) -> None:
        """A counter that many processes count up by compare-and-swap counts every one."""
        workers = [start(count, place.opener, 25) for _ in range(WRITERS)]
        for worker in workers:
            finish(worker)
        assert registry.read("n").entries["n"].document == {"n": 25 * WRITERS}

    def test_processes_see_each_other(self, place: RegistryPlace, registry: Registry) -> None:
        """A watch reports what another process commits."""
        watch = registry.watch("n", after=registry.read().revision)
        worker = start(count, place.opener, 10)
        collect(
            watch,
            lambda changes: any(c.entry and c.entry.document == {"n": 10} for c in changes),
            SOON * 3,
        )
        finish(worker)

    def test_processes_that_are_killed_lose_no_update(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """Each step of the counter is there with its entry in the log, or neither is.

        The processes are killed with ``kill -9`` at random, and the others go on.
        """
        dice = random.Random(1)
        workers = [start(log_steps, place.opener, name) for name in "abcd"]
        watch = registry.watch("n", after=registry.read().revision)
        for number in range(KILLS):
            collect(watch, lambda changes: bool(changes), SOON * 2)
            time.sleep(dice.random() * 0.05)
            victim = dice.randrange(len(workers))
            kill(workers[victim])
            workers[victim] = start(log_steps, place.opener, f"w{number}")
        for worker in workers:
            kill(worker)
        reading = registry.read("n", "log/")
        steps = sorted(key for key in reading.entries if key.startswith("log/"))
        assert steps == [f"log/{number:06}" for number in range(1, len(steps) + 1)]
        assert reading.entries["n"].document["n"] == len(steps)
        assert len(steps) >= KILLS

    def test_processes_claim_each_address_once(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """Addresses are claimed by the key that must not be there: none goes to two owners.

        Processes are killed between and within their commits.
        """
        dice = random.Random(2)
        workers = [start(claim, place.opener, str(number)) for number in range(WRITERS)]
        started = WRITERS
        while len(registry.read("address/").entries) < ADDRESSES:
            time.sleep(dice.random() * 0.2)
            victim = dice.randrange(WRITERS)
            if started < WRITERS + KILLS:
                kill(workers[victim])
                workers[victim] = start(claim, place.opener, str(started))
                started += 1
        for worker in workers:
            finish(worker)
        reading = registry.read("address/", "owner/")
        owners = {
            key.removeprefix("address/"): entry.document["owner"]
            for key, entry in reading.entries.items()
            if key.startswith("address/")
        }
        claims = {
            key.removeprefix("owner/"): entry.document["address"]
            for key, entry in reading.entries.items()
            if key.startswith("owner/")
        }
        assert {address: owner for owner, address in claims.items()} == owners
        assert len(owners) == len(claims) == ADDRESSES

    def test_processes_that_die_leave_their_session_to_run_out(
        self, place: RegistryPlace, registry: Registry
    ) -> None:
        """The documents of a killed process go when its session ends."""
        watch = registry.watch("alive", after=registry.read().revision)
        worker = start(live, place.opener, place.ttl)
        collect(watch, lambda changes: bool(changes), SOON * 3)
        kill(worker)
        (change,) = collect(watch, lambda changes: bool(changes), SOON)
        assert change.entry is None


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()


def finish(process: BaseProcess) -> None:
    process.join(SOON * 6)
    assert process.exitcode == 0
    process.close()


def count(opener: Opener, times: int) -> None:
    with opener() as registry:
        add(registry, "n", times)


def log_steps(opener: Opener, name: str) -> None:
    """Count for ever; each step writes the counter and a document of its own."""
    with opener() as registry:
        while True:
            entry = registry.read("n").entries.get("n")
            number, revision = (entry.document["n"], entry.revision) if entry else (0, 0)
            step = f"log/{number + 1:06}"
            try:
                registry.commit(
                    [Put("n", {"n": number + 1}), Put(step, {"by": name})],
                    {"n": revision, step: 0},
                )
            except (Stale, Unavailable):
                continue


def claim(opener: Opener, name: str) -> None:
    """Claim the lowest free address, again and again, until there is none."""
    number = 0
    with opener() as registry:
        while True:
            taken = set(registry.read("address/").entries)
            free = [f"address/{n:03}" for n in range(ADDRESSES) if f"address/{n:03}" not in taken]
            if not free:
                return
            owner = f"{name}-{number}"
            number += 1
            try:
                registry.commit(
                    [
                        Put(free[0], {"owner": owner}),
                        Put(f"owner/{owner}", {"address": free[0].removeprefix("address/")}),
                    ],
                    {free[0]: 0},
                )
            except (Stale, Unavailable):
                continue


def live(opener: Opener, ttl: float) -> None:
    with opener() as registry:
        session = registry.session(ttl)
        registry.commit([Put("alive", {}, session.id)])
        while True:
            time.sleep(ttl / 4)
            session.renew()
