"""The calls of one ``reconcile``, run one by one, with an item for each object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from snnet.contract import Incomplete, Noun, Nouns, SnnetError, keyed

from .call import Call, R
from .deadline import Deadline
from .engine import Engine
from .news import Whole
from .results import Reconciled, ReconciledItem
from .spaces import cut_off

T = TypeVar("T")


class Steps(Generic[R]):
    """Runs the calls of one reconcile, and records an item for each object.

    With ``whole`` the reconcile is atomic: the first error is raised.
    """

    def __init__(self, engine: Engine[R], deadline: Deadline, whole: Whole | None) -> None:
        self.engine = engine
        self.result = Reconciled()
        self._deadline = deadline
        self._whole = whole
        self._there: Nouns | None = None
        self._followed = engine.followed()

    def run(self, call: Call[R, Any, Any, T]) -> T:
        try:
            return self.engine.run(call, self._deadline, self._whole)
        except Incomplete as error:
            self.result.events += error.events
            raise

    def attempt(
        self, key: tuple[str, ...], action: str, *calls: Call[R, Any, Any, T]
    ) -> list[T] | None:
        """Run calls for one object; the first error is in its item, or raised if atomic."""
        try:
            results = [self.run(call) for call in calls]
        except SnnetError as error:
            self.failed(key, error)
            return None
        self.note(key, action)
        return results

    def note(self, key: tuple[str, ...], action: str) -> None:
        self.result.items.append(ReconciledItem(key, action))

    def failed(self, key: tuple[str, ...], error: SnnetError) -> None:
        if self._whole is not None:
            raise error
        self.result.items.append(ReconciledItem(key, "failed", error))

    @property
    def atomic(self) -> bool:
        return self._whole is not None

    def intact(self, nouns: Iterable[Noun]) -> bool:
        """Whether all the nouns were on the host as wanted at the first call of this method.

        Where somebody follows what others change, they are.
        """
        if self._followed:
            return True
        with self.engine.look(self._deadline, self._whole) as host:
            there = self._there
            if there is None:
                there = host.seen(self.engine.records).ours
                broken = cut_off(host, there, keyed(self.engine.records.nouns()))
                self._there = there = {key: there[key] for key in there.keys() - broken}
            return not any(
                key not in there or noun.differences(there[key])
                for key, noun in host.carried(nouns).items()
            )


@contextmanager
def steps_of(engine: Engine[R], deadline: Deadline, *, atomic: bool) -> Iterator[Steps[R]]:
    """Yield the steps of one reconcile; if atomic, a failure of one undoes all of them."""
    if not atomic:
        yield Steps(engine, deadline, None)
        return
    with engine.together("reconcile", deadline) as whole:
        yield Steps(engine, deadline, whole)
