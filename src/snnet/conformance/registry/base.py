"""What all tests of registries share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from snnet.contract import Changed, Registry, RegistryWatch

from .place import RegistryPlace

SOON = 10.0
"""Seconds within which what must happen happens, on a busy machine too."""

QUIET = 0.3
"""Seconds to wait for what must not happen."""


class Base:
    @pytest.fixture
    def place(self) -> RegistryPlace:
        raise NotImplementedError("give your class a fixture 'place'")

    @pytest.fixture
    def registry(self, place: RegistryPlace) -> Iterator[Registry]:
        yield place.open()
        place.close()


def collect(
    watch: RegistryWatch, until: Callable[[list[Changed]], bool], within: float = SOON
) -> list[Changed]:
    """Read the watch until the condition holds; return all changes in order."""
    deadline = time.monotonic() + within
    changes: list[Changed] = []
    while not until(changes):
        left = deadline - time.monotonic()
        assert left > 0, f"the watch reported only {changes}"
        changes += watch.next(left)
    return changes


def documents(registry: Registry, *prefixes: str) -> dict[str, object]:
    """The documents under the prefixes, by key."""
    return {key: entry.document for key, entry in registry.read(*prefixes).entries.items()}
