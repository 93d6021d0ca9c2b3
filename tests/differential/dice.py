"""Chance: drawn by hypothesis, which makes a failing draw small, or by a seed, which is fast."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

# pytest-xdist's workers have to find the same tests: it gives them an id of the run.
FRESH = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(2**32)
"""A seed that is another one each time; the names of the tests tell it."""


class Dice(Protocol):
    """What a draw needs of chance."""

    def pick(self, items: Sequence[T]) -> T: ...

    def percent(self, number: int) -> bool:
        """True so many times of a hundred."""


class Seeded:
    """The same numbers again for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def percent(self, number: int) -> bool:
        return self._random.randrange(100) < number


class Drawn:
    """From hypothesis's ``data()``."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, items: Sequence[T]) -> T:
        chosen: Any = self._data.draw(st.sampled_from(items))
        return chosen  # type: ignore[no-any-return]

    def percent(self, number: int) -> bool:
        return bool(self._data.draw(st.integers(0, 99)) >= 100 - number)
