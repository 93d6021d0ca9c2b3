"""The order in which listeners hear of what came true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from snnet.core.events import ContainerEvent, TunnelEvent

from .deadline import Deadline
from .results import Event

Tell = Callable[[], None]

PATIENCE = 5.0
"""Seconds that a call without a limit waits for its turn."""


class Turn:
    """The place of one call among those that have events of the same subnets."""

    __slots__ = ("left", "subnets", "tell")

    def __init__(self, events: Sequence[Event]) -> None:
        self.subnets = frozenset(_subnets(events))
        self.tell: Tell
        self.left = False
        """Whether its call has returned, so that whoever tells before it tells this too."""


class Outbox:
    """Has listeners hear of each subnet in the order in which its events came true.

    A call takes its turn while it publishes, and tells when everybody before it about the
    same subnets has told.  If a listener takes longer than the call may, the call returns, and
    the thread that is telling tells this too: a listener may wait for a call that has to wait for
    the listener.  What a listener's own call has to tell about any subnet comes after that
    listener has returned.
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

    def tell(self, turn: Turn, tell: Tell, deadline: Deadline) -> None:
        """Tell when it is this turn's time; an error of ``tell`` is raised."""
        if not turn.subnets:
            tell()
            return
        turn.tell = tell
        later: list[Turn] | None = getattr(self._telling, "later", None)
        if later is not None:
            later.append(turn)
            return
        waiting = self._telling.later = [turn]
        try:
            while waiting:
                self._tell(waiting.pop(0), deadline)
        finally:
            while waiting:
                self._end(waiting.pop(0))
            del self._telling.later

    def _tell(self, turn: Turn, deadline: Deadline) -> None:
        left = False
        try:
            with self._changed:
                first = partial(self._is_first, turn)
                left = turn.left = not self._changed.wait_for(first, deadline.within(PATIENCE))
            if not left:
                turn.tell()
        finally:
            if not left:
                self._end(turn)

    def _is_first(self, turn: Turn) -> bool:
        return turn is next(other for other in self._turns if other.subnets & turn.subnets)

    def _end(self, turn: Turn) -> None:
        """Let the next ones tell; those whose calls have returned are told here."""
        with self._changed:
            self._turns.remove(turn)
            self._changed.notify_all()
            following = [one for one in self._turns if one.left and self._is_first(one)]
            for one in following:
                one.left = False
            self._telling.later[:0] = following


def _subnets(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """The subnets of which something came or went."""
    found: list[tuple[str, ...]] = []
    for event in events:
        if isinstance(event, TunnelEvent):
            found.append((event.tenant_id, event.subnet_id))
        elif event.event is not ContainerEvent.INFO:
            found.append((event.subnet_id,))
    return found
