"""Who works on what: requests that share nothing run side by side."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .deadline import Deadline

Thing = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request needs: things for itself alone, and things with others.

    ``everything`` is the whole node.
    """

    alone: frozenset[Thing] = frozenset()
    shared: frozenset[Thing] = frozenset()
    everything: bool = False


WHOLE_NODE = Claim(everything=True)


class Claims:
    """Hands out claims; at most ``limit`` requests work at once.

    ``lock`` guards the node's topology too, so that what a request needs is
    decided on the state it will find.  It is never held through kernel work.
    """

    def __init__(self, limit: int) -> None:
        self.lock = threading.Condition()
        self._limit = limit
        self._working = 0
        self._draining = 0
        self._alone: set[Thing] = set()
        self._shared: Counter[Thing] = Counter()

    @contextmanager
    def hold(self, decide: Callable[[], Claim], deadline: Deadline) -> Iterator[Claim]:
        """Wait until what ``decide`` asks for is free, and keep it for the block.

        ``decide`` is asked again after every wait, with the lock held.
        Raises Timeout or Cancelled as the deadline says.
        """
        claim = self._take(decide, deadline)
        try:
            yield claim
        finally:
            self._release(claim)

    def held(self, thing: Thing) -> bool:
        """Whether somebody has it for himself alone; for ``decide`` to ask."""
        return thing in self._alone

    def _take(self, decide: Callable[[], Claim], deadline: Deadline) -> Claim:
        with self.lock:
            claim = decide()
            draining = claim.everything
            # Whoever wants the whole node stops newcomers, or it would wait for ever.
            self._draining += draining
            try:
                while not self._free(claim):
                    deadline.check()
                    self.lock.wait(deadline.patience())
                    claim = decide()
                deadline.check()
            finally:
                self._draining -= draining
                if draining:
                    self.lock.notify_all()
            self._working = -1 if claim.everything else self._working + 1
            self._alone |= claim.alone
            self._shared.update(claim.shared)
            return claim

    def _free(self, claim: Claim) -> bool:
        if claim.everything:
            return self._working == 0
        return (
            0 <= self._working < self._limit
            and not self._draining
            and self._alone.isdisjoint(claim.alone)
            and self._alone.isdisjoint(claim.shared)
            and self._shared.keys().isdisjoint(claim.alone)
        )

    def _release(self, claim: Claim) -> None:
        with self.lock:
            self._working = 0 if claim.everything else self._working - 1
            self._alone -= claim.alone
            for thing in claim.shared:
                self._shared[thing] -= 1
                if not self._shared[thing]:
                    del self._shared[thing]
            self.lock.notify_all()
