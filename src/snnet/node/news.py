"""What listeners hear of calls: one question before a plan, and one outcome after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from snnet.contract import ApiError, Plan, SnnetError, State
from snnet.plugins import Listeners

from .outbox import Outbox, Turn
from .results import Event


class News:
    """What the listeners of a node hear of one call."""

    def __init__(self, node: object, listeners: Listeners) -> None:
        self.events: list[Event] = []
        """What came true."""
        self._node = node
        self._listeners = listeners
        self._plan = Plan()
        self._error: SnnetError | None = None
        self._turn: Turn | None = None

    def happened(self, events: Sequence[Event], outbox: Outbox) -> None:
        """Take what came true, and a turn to tell it; the lock of the records is held."""
        self.events += events
        if self._listeners and self._turn is None:
            self._turn, self._outbox = outbox.take(events), outbox

    def ask(self, plan: Plan) -> None:
        """Ask all listeners; Veto where one refuses."""
        self._plan = plan
        self._listeners.before_apply(self._node, plan)

    def forget(self) -> None:
        """Tell nothing of the plan: the call tries another one."""
        self._plan = Plan()

    def fail(self, what: str, error: BaseException, state: State) -> None:
        """Have listeners hear that the call ``what`` failed, unless it had failed before.

        ``state`` is what an error that is not snnet's left on the host.
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
        if self._turn is None:
            self._tell()
            return
        turn, self._turn = self._turn, None
        self._outbox.tell(turn, self._tell)

    def _tell(self) -> None:
        if self._error is not None:
            if self._plan:
                self._listeners.failed(self._node, self._plan, self._error)
        elif self._plan or self.events:
            self._listeners.applied(self._node, self._plan, self.events)


class Whole:
    """Several calls that keep the whole node between them; listeners hear of them at the end."""

    def __init__(self) -> None:
        self.news: list[News] = []

    @contextmanager
    def telling(self) -> Iterator[Whole]:
        """Tell the listeners after the block, whatever becomes of it."""
        try:
            yield self
        finally:
            for one in self.news:
                one.tell()
