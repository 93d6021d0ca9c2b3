"""What an agent says about each object, as documents of the registry."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from snnet.cluster import keys
from snnet.cluster.claims import Id
from snnet.cluster.documents import FAILED, PENDING, READY
from snnet.contract import COMMIT_MAX, Delete, Document, Put, Registry
from snnet.contract.registries import Write

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before a failed object is tried again: doubled after each failure, up to the longest."""


@dataclass(frozen=True, slots=True)
class Said:
    """The outcome of trying one object of revision ``of``."""

    id: Id
    of: int
    error: str | None = None
    waits_for: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return FAILED if self.error else PENDING if self.waits_for else READY


def wait_after(failures: int) -> float:
    """Seconds to wait before the next try, after so many failures before this one."""
    return min(FIRST_WAIT * 2.0 ** min(failures, 20), LONGEST_WAIT) * random.uniform(0.8, 1.2)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Revision ``of`` failed ``count`` times in a row; the time of the next try on both clocks.

    Errors are not compared: some tell of what differs each time, such as a process id.
    """

    of: int
    count: int
    due: float
    retry_at: int

    @classmethod
    def now(cls, of: int, count: int) -> _Failure:
        wait = wait_after(count - 1)
        return cls(of, count, time.monotonic() + wait, round(time.time() + wait))


class Statuses:
    """What one node says: its status documents, and the ends of its tunnels.

    It writes those that changed, and says when to retry.
    The waits between tries of a failing object grow and are jittered, so that many
    agents do not try in step.
    """

    def __init__(self, registry: Registry, node: str) -> None:
        self._registry = registry
        self._node = node
        self._known: Mapping[str, Mapping[str, Any]] = {}
        """What the registry has; replaced as a whole, since other threads count in it."""
        self._failures: dict[Id, _Failure] = {}

    def learn(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in what an earlier agent of this node wrote, by key."""
        self._known = dict(documents)

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next failed object is due (time.monotonic), or None."""
        times = [failure.due for failure in self._failures.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    @property
    def counts(self) -> dict[str, int]:
        """How many objects are in each state."""
        states = [document.get("state") for document in self._known.values()]
        return {state: states.count(state) for state in (READY, PENDING, FAILED)}

    def write(
        self, said: Iterable[Said], tunnels: Mapping[str, Document] = MappingProxyType({})
    ) -> None:
        """Write what was said where it is new, and remove what nothing was said about.

        ``tunnels`` are this node's tunnels by key.  They are in the commit that says that a
        VNIC is ready, or in one before it.
        """
        documents = dict(tunnels)
        failing: dict[Id, _Failure] = {}
        for item in said:
            key = keys.status(self._node, *item.id)
            document: dict[str, Any] = {"state": item.state, "of": item.of}
            if item.error:
                failure = failing[item.id] = self._failed(item)
                document |= {"error": item.error, "retry_at": failure.retry_at}
            if item.waits_for:
                document["error"] = f"waits for {item.waits_for}"
            if item.details:
                document["details"] = dict(item.details)
            documents[key] = document
        self._failures = failing
        writes: list[Write] = [Delete(key) for key in self._known if key not in documents]
        writes += [
            Put(key, document)
            for key, document in documents.items()
            if self._known.get(key) != document
        ]
        for start in range(0, len(writes), COMMIT_MAX):
            part = writes[start : start + COMMIT_MAX]
            self._registry.commit(part)
            known = dict(self._known)
            for write in part:
                if isinstance(write, Delete):
                    known.pop(write.key, None)
                else:
                    known[write.key] = write.document
            self._known = known

    def _failed(self, item: Said) -> _Failure:
        """How often it failed in a row, and when to try again."""
        old = self._failures.get(item.id)
        if old is None or old.of != item.of:
            return _Failure.now(item.of, 1)
        return old if old.due > time.monotonic() else _Failure.now(item.of, old.count + 1)
