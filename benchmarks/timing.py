"""Timing in bursts, so that one run compares like with like."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Result:
    """One figure, and the mark it is held against (None: it is only told)."""

    name: str
    value: float
    unit: str
    mark: float | None = None
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        if self.mark is None:
            return None
        return self.value >= self.mark if self.more_is_better else self.value <= self.mark

    def __str__(self) -> str:
        sign = "at least" if self.more_is_better else "at most"
        mark = "" if self.mark is None else f"   mark: {sign} {self.mark:g}"
        verdict = {None: "", True: "  met", False: "  MISSED"}[self.met]
        return f"{self.name:<58}{self.value:>12,.2f} {self.unit:<10}{mark}{verdict}"


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes, garbage collection aside."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    finally:
        gc.enable()


def each(work: Callable[[object], object], items: Sequence[object]) -> float:
    """Seconds an item takes, over a burst of them."""

    def burst() -> None:
        for item in items:
            work(item)

    return seconds(burst) / len(items)


__all__ = ["Result", "each", "median", "seconds"]
