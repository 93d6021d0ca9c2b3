"""Which call works on what: calls that share nothing run side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from snnet.contract import InvalidRequest
from snnet.core.records import Thing as Thing

from .deadline import Deadline

Held = Callable[[Thing], bool]
"""Whether a call holds a thing for itself alone now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call needs: things that it holds exclusively, and things that it shares.

    ``everything`` is the whole node.
    """

    alone: frozenset[Thing] = frozenset()
    shared: frozenset[Thing] = frozenset()
    everything: bool = False

    def bars(self, other: Claim) -> bool:
        """Whether the two claims cannot be held at the same time."""
        return (
            self.everything
            or other.everything
            or not self.alone.isdisjoint(other.alone)
            or not self.alone.isdisjoint(other.shared)
            or not self.shared.isdisjoint(other.alone)
        )


WHOLE_NODE = Claim(everything=True)


def nobody(thing: Thing) -> bool:
    """Nothing else is held beside a claim of the whole node."""
    return False


@dataclass(eq=False, slots=True)
class _Holding:
    """A claim in use, and the thread of its call."""

    claim: Claim
    thread: int


class Claims:
    """Grants claims; at most ``limit`` calls work at the same time.

    ``lock`` also guards the node's records, so a claim is decided on the state that the
    call will read.  It is never held during work in the kernel.
    """

    def __init__(self, limit: int) -> None:
        # Written in C: no interrupt can arrive between the end of a block and the release.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._limit = limit
        self._held: list[_Holding] = []
        self._waiting = 0
        """Calls that wait for a claim."""
        self._draining = 0
        self._closed = False
        self._release: Callable[[], None] | None = None

    @contextmanager
    def hold(self, decide: Callable[[Held], Claim], deadline: Deadline) -> Iterator[Claim]:
        """Wait until the claim that ``decide`` returns is free, and hold it for the block.

        Calls ``decide`` again after every wait, with the lock held.  Raises Timeout or
        Cancelled as the deadline does, and InvalidRequest after ``close``.
        """
        mine = _Holding(WHOLE_NODE, threading.get_ident())
        # From here on, an interrupt may arrive at any instruction.
        try:
            with self.lock:
                mine.claim = self._wait(decide, deadline)
                self._held.append(mine)
            yield mine.claim
        finally:
            with self.lock:
                if mine in self._held:
                    self._held.remove(mine)
                release = None if self._held else self._release
                if self._waiting or self._closed:
                    self._changed.notify_all()
            if release is not None:
                release()

    def _wait(self, decide: Callable[[Held], Claim], deadline: Deadline) -> Claim:
        claim = decide(self._is_held)
        if self._free(claim):
            return claim
        draining = claim.everything
        # A call that waits for the whole node blocks new calls, or it would wait forever.
        self._draining += draining
        self._waiting += 1
        try:
            while not self._free(claim):
                deadline.check()
                self._changed.wait(deadline.patience())
                claim = decide(self._is_held)
            deadline.check()
        finally:
            self._waiting -= 1
            self._draining -= draining
        return claim

    def _free(self, claim: Claim) -> bool:
        if self._closed:
            raise InvalidRequest("the node is closed: make a new one")
        if claim.everything:
            return not self._held
        if self._draining or len(self._held) >= self._limit:
            return False
        return not (self._held and any(other.claim.bars(claim) for other in self._held))

    def _is_held(self, thing: Thing) -> bool:
        return any(thing in other.claim.alone for other in self._held)

    def close(self, release: Callable[[], None], patience: float) -> None:
        """Grant no more claims, and call ``release`` when all are released.

        Waits for this up to ``patience`` seconds, but not in a thread that holds a claim
        itself.  If claims are left, releasing the last one calls ``release``.
        """
        with self.lock:
            self._closed = True
            self._changed.notify_all()
            mine = threading.get_ident()
            if all(other.thread != mine for other in self._held):
                self._changed.wait_for(lambda: not self._held, patience)
            if self._held:
                self._release = release
                return
        release()
