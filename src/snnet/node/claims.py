"""Which call works on what: calls that share nothing run side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from snnet.contract import InvalidRequest
from snnet.core.records import Thing as Thing

from .deadline import NO_LIMIT, Deadline

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


class Holding:
    """A claim that is held during a ``with`` block.

    Whoever interrupts the end of the block has it given back with the object.
    """

    __slots__ = ("_claims", "_deadline", "_decide", "_number")

    def __init__(self, claims: Claims, decide: Callable[[Held], Claim], deadline: Deadline) -> None:
        self._number: int | None = None
        self._claims = claims
        self._decide = decide
        self._deadline = deadline

    def __enter__(self) -> Claim:
        self._number = number = id(self)
        return self._claims.take(number, self._decide, self._deadline)

    def __exit__(self, *_: object) -> None:
        if self._number is not None:
            self._claims.give_back(self._number)
            self._number = None

    __del__ = __exit__


class Claims:
    """Grants claims; at most ``limit`` calls work at the same time, beside those that only wait.

    ``lock`` also guards the node's records, so a claim is decided on the state that the
    call will read.  It is never held during work in the kernel.
    """

    def __init__(self, limit: int) -> None:
        # Written in C: no interrupt can arrive between the end of a block and the release.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._limit = limit
        self._held: dict[int, tuple[Claim, int]] = {}
        """Claims in use, by a number of their own, and the threads of their calls."""
        self._resting: set[int] = set()
        """Numbers of claims whose calls wait for the kernel."""
        self._draining = 0
        self._closed = False
        self._release: Callable[[], None] | None = None

    def hold(self, decide: Callable[[Held], Claim], deadline: Deadline = NO_LIMIT) -> Holding:
        """Wait until the claim that ``decide`` returns is free, and hold it for a block.

        Calls ``decide`` again after every wait, with the lock held.  Raises Timeout or
        Cancelled as the deadline does, and InvalidRequest after ``close``.
        """
        return Holding(self, decide, deadline)

    def take(self, number: int, decide: Callable[[Held], Claim], deadline: Deadline) -> Claim:
        """Wait until the claim is free, and hold it under this number."""
        with self.lock:
            claim = self._wait(decide, deadline)
            self._held[number] = claim, threading.get_ident()
        return claim

    def give_back(self, number: int) -> None:
        """Hold the claim of this number no more, if it was ever held."""
        with self.lock:
            self._held.pop(number, None)
            self._resting.discard(number)
            release = None if self._held else self._release
            self._changed.notify_all()
        if release is not None:
            release()

    def rest(self, claim: Claim) -> None:
        """Hold the claim on, and let another call work: from now on this one waits for the kernel.

        The kernel lets a link go after 16 ms and more, in which nothing is left to do.
        """
        with self.lock:
            for number, (held, _) in self._held.items():
                if held is claim:
                    self._resting.add(number)
            self._changed.notify_all()

    def _wait(self, decide: Callable[[Held], Claim], deadline: Deadline) -> Claim:
        claim = decide(self._is_held)
        if self._free(claim):
            return claim
        draining = claim.everything
        # A call that waits for the whole node blocks new calls, or it would wait forever.
        self._draining += draining
        try:
            while not self._free(claim):
                deadline.check()
                self._changed.wait(deadline.patience())
                claim = decide(self._is_held)
            deadline.check()
        finally:
            self._draining -= draining
        return claim

    def _free(self, claim: Claim) -> bool:
        if self._closed:
            raise InvalidRequest("the node is closed: make a new one")
        if claim.everything:
            return not self._held
        if self._draining or len(self._held) - len(self._resting) >= self._limit:
            return False
        return not (self._held and any(other.bars(claim) for other, _ in self._held.values()))

    def _is_held(self, thing: Thing) -> bool:
        return any(thing in other.alone for other, _ in self._held.values())

    def close(self, release: Callable[[], None], patience: float) -> None:
        """Grant no more claims, and call ``release`` when all are released.

        Waits for this up to ``patience`` seconds, but not in a thread that holds a claim
        itself.  If claims are left, releasing the last one calls ``release``.
        """
        with self.lock:
            self._closed = True
            self._changed.notify_all()
            mine = threading.get_ident()
            if all(thread != mine for _, thread in self._held.values()):
                self._changed.wait_for(lambda: not self._held, patience)
            if self._held:
                self._release = release
                return
        release()
