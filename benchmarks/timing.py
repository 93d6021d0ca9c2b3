"""Timing in bursts, so that the figures of one run can be compared."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Result:
    """One figure and its target; with target None it is only reported."""

    name: str
    value: float
    unit: str
    target: float | None = None
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    def __str__(self) -> str:
        sign = "at least" if self.more_is_better else "at most"
        target = "" if self.target is None else f"   target: {sign} {self.target:g}"
        verdict = {None: "", True: "  met", False: "  MISSED"}[self.met]
        return f"{self.name:<58}{self.value:>12,.2f} {self.unit:<10}{target}{verdict}"


Clock = Callable[[], float]


def with_programs() -> float:
    """Seconds of processor time, of this process and of the programs that it waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + spent.ru_utime + spent.ru_stime


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return the seconds that the work takes, without garbage collection.

    By ``time.process_time`` those of the processor, which others' work does not change much.
    """
    gc.collect()
    gc.disable()
    try:
        start = clock()
        work()
        return clock() - start
    finally:
        gc.enable()


def each(
    work: Callable[[object], object], items: Sequence[object], clock: Clock = time.perf_counter
) -> float:
    """Return the seconds for one item, over a burst of them."""

    def burst() -> None:
        for item in items:
            work(item)

    return seconds(burst, clock) / len(items)


__all__ = ["Result", "each", "median", "seconds", "with_programs"]
