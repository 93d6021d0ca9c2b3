"""What tests on the real kernel share: samples of long loops, and one Docker at a time."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

EVERY = int(os.environ.get("SNNET_TEST_SAMPLE", "1"))
"""One of so many turns is taken."""


# The workers of one run must find the same tests.
_FIRST = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(EVERY)


def sampled(items: Sequence[T], every: int = EVERY) -> Sequence[T]:
    """Return the items to make tests of: in a sample one of so many, others in each run.

    At least one: a test without items would be skipped.
    """
    return items[_FIRST % min(every, len(items)) :: every] if items else items


def turns(first: int, stride: int = 1) -> Iterator[int]:
    """Count up from ``first``; with SNNET_TEST_SAMPLE=N by N, from one of the first N numbers.

    ``stride`` is for loops that are longer still: in a sample they count by N times as many.
    """
    step = EVERY * stride if EVERY > 1 else 1
    return count(first + random.randrange(step), step)


@contextmanager
def docker_alone() -> Iterator[None]:
    """Hold the machine's only place for Docker daemons: two sets of them disturb each other."""
    with Path(tempfile.gettempdir(), "snnet-test-docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
