"""The registry in a file: commits, the way to the watches, and what idle watches cost."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import snnet
from snnet.contract import Put, Registry

from .timing import Result, each, median

COMMITS, LATENCIES, IDLE = 300, 300, 5.0


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="snnet-") as folder:
        url = f"sqlite://{folder}/registry.db"
        with snnet.open_registry(url) as registry:
            took = each(lambda n: registry.commit([Put(f"k/{n}", {"n": n})]), range(COMMITS))
            yield Result("registry: commits of one document", 1 / took, "a second")
            many = [[Put(f"m/{n}/{i}", {"n": n}) for i in range(100)] for n in range(20)]
            took = each(lambda writes: registry.commit(writes), many)
            yield Result("registry: documents, 100 a commit", 100 / took, "a second")
            took = median(each(lambda _: registry.read("m/7/"), [None]) for _ in range(200))
            yield Result("registry: a reading of 100 documents", took * 1e6, "us")
            for watches in (1, 100):
                delays = sorted(_latencies(registry, url, watches))
                name = f"registry: commit to watch, {watches} watching"
                yield Result(f"{name}, median", median(delays) * 1000, "ms")
                yield Result(f"{name}, p99", delays[int(len(delays) * 0.99)] * 1000, "ms")
        yield Result(
            "registry: 10 opened, each with an idle watch", _idle(url) * 100, "% of a core", 1.0
        )


def _latencies(registry: Registry, url: str, watches: int) -> list[float]:
    """Seconds from the call of a commit in another process to the return of each ``next``."""
    after = registry.read().revision
    delays: list[float] = []

    def follow() -> None:
        watch = registry.watch("now", after=after)
        seen = -1
        while seen < LATENCIES - 1:
            for change in watch.next():
                assert change.entry is not None
                seen = change.entry.document["n"]
                delays.append(time.monotonic() - change.entry.document["at"])
        watch.close()

    threads = [threading.Thread(target=follow) for _ in range(watches)]
    for thread in threads:
        thread.start()
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(url,))
    writer.start()
    for thread in threads:
        thread.join()
    writer.join()
    return delays


def _write(url: str) -> None:
    with snnet.open_registry(url) as registry:
        for number in range(LATENCIES):
            registry.commit([Put("now", {"n": number, "at": time.monotonic()})])
            time.sleep(0.01)


def _idle(url: str) -> float:
    """The share of a core that ten registries with a waiting watch and a session take."""
    with ExitStack() as opened:
        for number in range(10):
            registry = opened.enter_context(snnet.open_registry(url))
            registry.session(3600)
            watch = registry.watch(f"idle/{number}", after=registry.read().revision)
            threading.Thread(target=watch.next, daemon=True).start()
        time.sleep(2)  # the last looks after the last commit
        began, started = time.process_time(), time.monotonic()
        time.sleep(IDLE)
        return (time.process_time() - began) / (time.monotonic() - started)
