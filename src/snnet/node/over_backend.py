"""What the drivers of a node's own have in common."""

from __future__ import annotations

from snnet.contract import Driver, Unsupported, Watch


class OverBackend(Driver):
    """Carries nouns by means of a backend, which its owner watches and closes."""

    def __init__(self, backend: Driver) -> None:
        self._backend = backend
        self.host = backend.host

    def watch(self) -> Watch:
        raise Unsupported(f"the driver {self.name!r} reports no events: watch the backend")

    def close(self) -> None:
        """Nothing is open."""
