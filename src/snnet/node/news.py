"""What listeners receive for a call: one question before its plan, one outcome after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from snnet.contract import NOTHING, ApiError, Plan, SnnetError, State
from snnet.plugins import Listeners

from .deadline import Deadline
from .outbox import Outbox, Turn
from .results import Event


class News:
    """What the listeners of a node receive for one call."""

    def __init__(self, node: object, listeners: Listeners, deadline: Deadline) -> None:
        self.events: list[Event] = []
        """The events of what took effect."""
        self.listening = bool(listeners)
        """Whether there are listeners: those that come during the call hear of later ones."""
        self.published = False
        """Whether the records have what took effect."""
        self._node = node
        self._listeners = listeners
        self._deadline = deadline
        self._plan = NOTHING
        self._error: SnnetError | None = None
        self._turn: Turn | None = None

    def happened(self, events: Sequence[Event], outbox: Outbox) -> None:
        """Take what came true, and a turn to tell it; the lock of the records is held."""
        self.published = True
        self.events += events
        if self.listening and self._turn is None:
            self._turn, self._outbox = outbox.take(events), outbox

    def ask(self, plan: Plan) -> None:
        """Ask all listeners; raise Veto if one refuses."""
        self._plan = plan
        if self.listening:
            self._listeners.before_apply(self._node, plan)

    def fail(self, what: str, error: BaseException, state: State) -> None:
        """Report to listeners that the call ``what`` failed, unless it has failed before.

        ``state`` is the state of the host after an error that is not an SnnetError.
        """
        if self._error is not None:
            return
        if not isinstance(error, SnnetError):
            said = ApiError(f"{what} was ended by {error!r}")
            said.state, said.__cause__ = state, error
            error = said
        self._error = error

    def tell(self) -> None:
        """Tell the outcome, in turn: nothing where nothing was asked and nothing came true."""
        if not self.listening:
            return
        if self._turn is None:
            self._tell()
            return
        turn, self._turn = self._turn, None
        self._outbox.tell(turn, self._tell, self._deadline)

    def _tell(self) -> None:
        if self._error is not None:
            if self._plan:
                self._listeners.failed(self._node, self._plan, self._error)
        elif self._plan or self.events:
            self._listeners.applied(self._node, self._plan, self.events)


class Whole:
    """Several calls that hold the whole node together; listeners are notified at the end."""

    def __init__(self) -> None:
        self.news: list[News] = []

    @contextmanager
    def telling(self) -> Iterator[Whole]:
        """Notify the listeners after the block, even if it raises."""
        try:
            yield self
        finally:
            for one in self.news:
                one.tell()
