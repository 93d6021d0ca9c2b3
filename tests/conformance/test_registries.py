"""The registry suite on every registry of snnet."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from snnet.conformance import RegistryPlace, RegistrySuite
from snnet.contract import Registry
from snnet.registries.memory import MemoryRegistry
from snnet.registries.sqlite import SqliteRegistry


def compact(registry: Registry, revision: int) -> None:
    assert isinstance(registry, (MemoryRegistry, SqliteRegistry))
    registry.compact(revision)


class TestMemory(RegistrySuite):
    @pytest.fixture
    def place(self, request: pytest.FixtureRequest) -> RegistryPlace:
        opener = partial(MemoryRegistry, request.node.nodeid)
        return RegistryPlace(opener, compact, processes=False, outlives=False)


class TestSqlite(RegistrySuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> RegistryPlace:
        return RegistryPlace(partial(SqliteRegistry, f"//{tmp_path}/registry.db"), compact)
