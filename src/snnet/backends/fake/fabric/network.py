"""What all stations of a fabric share: the wire, the walk under way, what was learned."""

from __future__ import annotations

from ..state import Changes
from .walk import Learned, Walk
from .wire import Wire


class Network:
    """One wire and all that moves on it."""

    def __init__(self) -> None:
        self.wire = Wire(self)
        self.walk = Walk()
        self.learned = Learned()
        self.changes = Changes()
        """Counts the changes of every kernel of the fabric."""
        self._settled_at = -1

    def new_walk(self) -> Walk:
        """Start anew; what was learned is forgotten if anything changed since."""
        if self.changes.count != self._settled_at:
            self.learned = Learned()
            self._settled_at = self.changes.count
        self.walk = Walk()
        return self.walk
