"""The store suite on every store of snnet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snnet.conformance import StoreSuite
from snnet.contract import Store
from snnet.stores.memory import MemoryStore
from snnet.stores.sqlite import SqliteStore


class TestMemory(StoreSuite):
    outlives = False

    @pytest.fixture
    def open_store(self) -> Callable[[Path], Store]:
        return MemoryStore


class TestSqlite(StoreSuite):
    @pytest.fixture
    def open_store(self) -> Callable[[Path], Store]:
        return SqliteStore
