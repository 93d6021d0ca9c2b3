"""Long loops on the real kernel: CI takes a sample of their turns, all others take each."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count

EVERY = int(os.environ.get("SNNET_TEST_SAMPLE", "1"))
"""One of so many turns is taken."""


def turns(first: int) -> Iterator[int]:
    """Count up from ``first``; with SNNET_TEST_SAMPLE=N by N, from one of the first N numbers."""
    return count(first + random.randrange(EVERY), EVERY)
