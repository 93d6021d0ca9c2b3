"""The order in which listeners hear of what came true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from snnet.core.events import ContainerEvent, TunnelEvent

from .results import Event

Tell = Callable[[], None]


class Turn:
    """The place of one call among those that have events of the same subnets."""

    __slots__ = ("subnets",)

    def __init__(self, events: Sequence[Event]) -> None:
        self.subnets = frozenset(_subnets(events))


class Outbox:
    """Has listeners hear of each subnet in the order in which its events came true.

    A call takes its turn while it publishes, and tells when everybody before it about the
    same subnets has told.  What a listener's own call has to tell about any subnet comes
    after that listener has returned, or the two would wait for each other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turns: list[Turn] = []
        self._telling = threading.local()

    def take(self, events: Sequence[Event]) -> Turn:
        """The next turn; the caller holds the lock of the records, and will ``tell``."""
        turn = Turn(events)
        if turn.subnets:
            with self._changed:
                self._turns.append(turn)
        return turn

    def tell(self, turn: Turn, tell: Tell) -> None:
        """Tell when it is this turn's time; an error of ``tell`` is raised."""
        if not turn.subnets:
            tell()
            return
        later: list[tuple[Turn, Tell]] | None = getattr(self._telling, "later", None)
        if later is not None:
            later.append((turn, tell))
            return
        waiting = self._telling.later = [(turn, tell)]
        try:
            while waiting:
                self._tell(*waiting.pop(0))
        finally:
            for left, _ in waiting:
                self._end(left)
            del self._telling.later

    def _tell(self, turn: Turn, tell: Tell) -> None:
        try:
            with self._changed:
                while not self._is_first(turn):
                    self._changed.wait()
            tell()
        finally:
            self._end(turn)

    def _is_first(self, turn: Turn) -> bool:
        for other in self._turns:
            if other.subnets & turn.subnets:
                break
        return other is turn

    def _end(self, turn: Turn) -> None:
        with self._changed:
            self._turns.remove(turn)
            self._changed.notify_all()


def _subnets(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """The subnets of which something came or went."""
    found: list[tuple[str, ...]] = []
    for event in events:
        if isinstance(event, TunnelEvent):
            found.append((event.tenant_id, event.subnet_id))
        elif event.event is not ContainerEvent.INFO:
            found.append((event.subnet_id,))
    return found
