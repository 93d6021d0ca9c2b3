"""A store for tests: its documents are lost when the process ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnet.contract import Store, Write


class MemoryStore(Store):
    """Keeps documents as JSON text, so that other values fail here too."""

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, dict[str, str]] = {}

    def read(self, table: str) -> dict[str, dict[str, Any]]:
        """See :meth:`snnet.contract.Store.read`."""
        with self._lock:
            return {key: json.loads(text) for key, text in self._tables.get(table, {}).items()}

    def write(self, writes: Sequence[Write]) -> None:
        """See :meth:`snnet.contract.Store.write`; durable for as long as the object lives."""
        texts = [json.dumps(write.document) for write in writes]
        with self._lock:
            for write, text in zip(writes, texts, strict=True):
                table = self._tables.setdefault(write.table, {})
                if write.document is None:
                    table.pop(write.key, None)
                else:
                    table[write.key] = text

    def close(self) -> None:
        """Does nothing."""
