"""What keeps small documents across a process's death: a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Write:
    """Put ``document`` under ``key`` of ``table``, whatever is there; None removes it."""

    table: str
    key: str
    document: Document | None


class Store(ABC):
    """Tables of JSON documents by key, that outlive their process.

    Opened as ``StoreClass(folder)``: the folder (a ``pathlib.Path``) is there and its
    caller's alone; what the store keeps in it is made on first use.  One process at a
    time opens it.  Safe to call from any number of threads.
    """

    @abstractmethod
    def read(self, table: str) -> dict[str, dict[str, Any]]:
        """All documents of a table by key; empty for a table that nobody wrote to."""

    @abstractmethod
    def write(self, writes: Sequence[Write]) -> None:
        """Carry out all writes in order, or none; durable once it returns.

        Durable means that neither a killed process nor a power cut loses them.
        Removing what is not there is no error.  Raises ``SnnetError`` on failure.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files; may be repeated.  Nothing else may be called afterwards."""
