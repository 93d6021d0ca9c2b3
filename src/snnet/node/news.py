"""What listeners receive for a call: one question before its plan, one outcome after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from snnet.contract import ApiError, Plan, SnnetError, State
from snnet.plugins import Listeners

from .results import Event


class News:
    """What the listeners of a node receive for one call."""

    def __init__(self, node: object, listeners: Listeners) -> None:
        self.events: list[Event] = []
        """The events of what took effect."""
        self._node = node
        self._listeners = listeners
        self._plan = Plan()
        self._error: SnnetError | None = None

    def ask(self, plan: Plan) -> None:
        """Ask all listeners; raise Veto if one refuses."""
        self._plan = plan
        self._listeners.before_apply(self._node, plan)

    def forget(self) -> None:
        """Do not report the plan: the call tries another one."""
        self._plan = Plan()

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
        """Report the outcome; nothing if no listener was asked and nothing took effect."""
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
