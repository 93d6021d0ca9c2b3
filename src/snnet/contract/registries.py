"""The registry interface: what is wanted, as documents that several processes share.

Every promise here is one that etcd's transactions, leases and watches can keep
(etcd.io/docs, "API guarantees"), and etcd's limits hold for every registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Self

from .errors import ApiError, Conflict

REGISTRY = "sqlite:///var/lib/snnet/registry.db"
"""The registry of a host that has no other."""

Document = Mapping[str, Any]
"""A JSON object."""


class NoDocument(dict[str, Any]):
    """An empty document in place of a value that others wrote and that is no JSON object.

    Registries give it, so that one value does not hide all others.
    """

    def __init__(self) -> None:
        super().__init__()


COMMIT_MAX = 100
"""Writes and conditions of one commit together (etcd refuses more than 128 operations)."""

COMMIT_BYTES_MAX = 2**20
"""Bytes of all documents of one commit, as JSON (etcd refuses requests over 1.5 MiB)."""

KEY_MAX = 1024
"""Bytes of a key, and of a prefix."""

DEPTH_MAX = 100
"""Objects and lists within each other in one document; the document itself is the first."""

TTL_MIN = 1.0
"""Seconds that a session lives at least without being renewed."""


class Stale(Conflict):
    """A condition of a commit does not hold: read again, decide again.  Nothing was written.

    ``keys`` are those whose revision is not the expected one.
    """

    def __init__(self, message: str, *, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class Unavailable(ApiError):
    """The registry does not answer, or cannot store anything now.

    A commit that fails so may have been carried out all the same, unless ``unwritten``
    is set.  Read before you repeat what may not be done twice.
    """

    def __init__(self, message: str, *, unwritten: bool = False) -> None:
        super().__init__(message)
        self.unwritten = unwritten


class Compacted(ApiError):
    """A watch cannot tell what happened since its revision: read again, and watch from there."""


class SessionLost(ApiError):
    """A session's time to live has passed, and its documents are gone; open another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored document.  ``revision`` is that of the commit that wrote it."""

    key: str
    document: Document
    revision: int


@dataclass(frozen=True, slots=True)
class Reading:
    """All documents under some prefixes, as they were at one revision."""

    revision: int
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """By key, in the order of their keys."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``document`` under ``key``, in place of any other.

    A document with the id of a session goes with that session.
    """

    key: str
    document: Document
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the document ``key``; a missing one is not an error."""

    key: str


Write = Put | Delete


@dataclass(frozen=True, slots=True)
class Changed:
    """One document was written at ``revision``, or removed (``entry`` is None)."""

    key: str
    entry: Entry | None
    revision: int


class Registry(ABC):
    """Documents by key.  Any number of threads and processes use it at once.

    Keys are text of 1 to ``KEY_MAX`` bytes of UTF-8 without control characters.  A prefix
    is the beginning of a key, and "" that of all.  Each commit has a revision, a number
    greater than that of every commit before it; they start at 1, and 0 stands for "never".

    Opened as ``RegistryClass(url)``, where ``url`` is everything after "NAME:".  Methods
    raise ``InvalidRequest`` for bad keys, documents that are not JSON and commits over the
    limits, and ``Unavailable`` when the registry cannot answer.
    """

    @classmethod
    def missing(cls, url: str) -> str | None:
        """Return why opening would make a new registry, or None, the default: it makes none."""
        return None

    @abstractmethod
    def read(self, *prefixes: str) -> Reading:
        """Return the documents under any of the prefixes, all as of one revision.

        Sees every commit that returned before this call began.  Never returns a part.
        """

    @abstractmethod
    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        """Carry out all writes at once, or none; return the revision.  Durable on return.

        ``expected`` maps keys to the revision that each must have, 0 for "not there";
        otherwise ``Stale`` is raised.  No key may be written twice.  A ``Put`` with a
        session that has ended raises ``SessionLost``.  If nothing changes, because there is no
        write or only missing documents are removed, the present revision is returned.
        """

    @abstractmethod
    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        """Watch the documents under the prefixes from the first change after a revision.

        ``after`` is usually the revision of a ``Reading``; nothing between the two is lost.
        """

    def watch_groups(self, groups: Sequence[Sequence[str]], *, after: int) -> RegistryWatch:
        """Watch groups of prefixes whose documents do not depend on those of other groups.

        As ``watch`` of all these prefixes, but a commit that wrote under several groups may be
        reported in parts, one for each group, and those of different groups in any order.
        Override it where that costs less.
        """
        return self.watch(*chain.from_iterable(groups), after=after)

    @abstractmethod
    def session(self, ttl: float) -> Session:
        """Open a session that ends ``ttl`` seconds after its last renewal, or a little later.

        ``ttl`` is ``TTL_MIN`` or more.  Some registries round it up to whole seconds.
        """

    @abstractmethod
    def close(self) -> None:
        """Close files and connections.  Sessions are not ended: they run out.  May be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RegistryWatch(ABC):
    """Changes as they are committed.  Used by one thread at a time.

    Closing the registry closes its watches.
    """

    @abstractmethod
    def next(self, timeout: float | None = None) -> list[Changed]:
        """Wait for changes and return them in the order of their commits.

        The changes of one commit come together.  A document that was written several times
        may be reported with its last state only.  Returns an empty list after ``timeout``
        seconds (None: never), or when the watch was closed by another thread.  Raises
        ``Compacted`` when changes were lost; the watch is then of no more use.
        """

    @abstractmethod
    def close(self) -> None:
        """End the watch, and wake a ``next`` that waits.  May be repeated."""


class Session(ABC):
    """What shows that a process is alive: its documents are removed when it ends.

    Wall-clock steps neither end nor lengthen it.
    """

    id: str

    @abstractmethod
    def renew(self) -> None:
        """Start the time to live again.  Raises ``SessionLost`` if it has passed."""

    @abstractmethod
    def close(self) -> None:
        """End the session: remove its documents, in one commit.  May be repeated."""
