"""Which call works on what: calls that share nothing run side by side."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from snnet.core.records import Thing as Thing

from .deadline import Deadline

Held = Callable[[Thing], bool]
"""Whether a call holds a thing for itself alone now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call needs: things for itself alone, and things that it shares with others.

    ``everything`` is the whole node.
    """

    alone: frozenset[Thing] = frozenset()
    shared: frozenset[Thing] = frozenset()
    everything: bool = False


WHOLE_NODE = Claim(everything=True)


class Claims:
    """Hands out claims; at most ``limit`` calls work at once.

    ``lock`` guards the node's records too, so that a claim is decided on the state
    that the call will find.  It is never held through kernel work.
    """

    def __init__(self, limit: int) -> None:
        self.lock = threading.Condition()
        self._limit = limit
        self._working = 0
        self._draining = 0
        self._alone: set[Thing] = set()
        self._shared: Counter[Thing] = Counter()

    def take(self, decide: Callable[[Held], Claim], deadline: Deadline) -> Claim:
        """Wait until what ``decide`` asks for is free, and take it; ``release`` gives it back.

        Calls ``decide`` again after every wait, with the lock held.
        Raises Timeout or Cancelled as the deadline says.
        """
        with self.lock:
            claim = decide(self._alone.__contains__)
            if not self._free(claim):
                claim = self._wait(claim, decide, deadline)
            self._working = -1 if claim.everything else self._working + 1
            self._alone |= claim.alone
            for thing in claim.shared:
                self._shared[thing] += 1
            return claim

    def _wait(self, claim: Claim, decide: Callable[[Held], Claim], deadline: Deadline) -> Claim:
        draining = claim.everything
        # A call that wants the whole node stops newcomers, or it would wait for ever.
        self._draining += draining
        try:
            while not self._free(claim):
                deadline.check()
                self.lock.wait(deadline.patience())
                claim = decide(self._alone.__contains__)
            deadline.check()
        finally:
            self._draining -= draining
            if draining:
                self.lock.notify_all()
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

    def release(self, claim: Claim) -> None:
        """Give back what ``take`` returned."""
        with self.lock:
            self._working = 0 if claim.everything else self._working - 1
            self._alone -= claim.alone
            for thing in claim.shared:
                self._shared[thing] -= 1
                if not self._shared[thing]:
                    del self._shared[thing]
            self.lock.notify_all()
