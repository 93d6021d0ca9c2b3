"""The store interface: small documents that outlive the process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write ``document`` under ``key`` of ``table``, replacing any other; None removes it."""

    table: str
    key: str
    document: Document | None


class Store(ABC):
    """Tables of JSON documents by key, which outlive the process.

    Opened as ``StoreClass(folder)``.  The folder (a ``pathlib.Path``) exists and belongs
    to the caller alone; the store creates its files in it on first use.  One process at a
    time opens a store, and any number of threads may call it.
    """

    @abstractmethod
    def read(self, table: str) -> dict[str, dict[str, Any]]:
        """Return all documents of a table by key; empty for a table never written to."""

    @abstractmethod
    def write(self, writes: Sequence[Write]) -> None:
        """Carry out all writes in order, or none of them; they are durable on return.

        Durable means that neither a killed process nor a power cut loses them.
        Removing a missing document is not an error.  Raises ``SnnetError`` on failure.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the files.  May be called again; no other method may be called afterwards."""
