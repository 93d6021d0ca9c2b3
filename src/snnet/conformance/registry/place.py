"""Where the registry under test is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from snnet.contract import TTL_MIN, Registry


class RegistryPlace:
    """One set of documents, empty at first, and how it is opened and compacted.

    ``open`` opens it; with ``processes`` it can be pickled and works in other processes
    too.  ``compact`` makes a registry forget what happened up to a revision.  ``outlives``
    says that documents are kept while no registry is open.  ``ttl`` is the shortest time to
    live, in seconds, that sessions really get.
    """

    def __init__(
        self,
        open: Callable[[], Registry],
        compact: Callable[[Registry, int], None],
        *,
        processes: bool = True,
        outlives: bool = True,
        ttl: float = TTL_MIN,
    ) -> None:
        self._open = open
        self.compact = compact
        self.processes = processes
        self.outlives = outlives
        self.ttl = ttl
        self._opened = ExitStack()

    @property
    def opener(self) -> Callable[[], Registry]:
        return self._open

    def open(self) -> Registry:
        """Open another registry on the same documents; it is closed at the end of the test."""
        return self._opened.enter_context(self._open())

    def close(self) -> None:
        self._opened.close()
