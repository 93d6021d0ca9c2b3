"""What a driver is: six verbs over nouns, opened on a host.

Backends (links, addresses, routes ...), firewalls and DHCP servers have the
same shape; each carries its own nouns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from .noun import IPNetwork, Key, Noun
from .operations import Operation, Outcome

Check = Callable[[], None]
"""Called before each operation; raises ``Timeout`` or ``Cancelled`` to stop."""


class Host(ABC):
    """Where a driver works: one network namespace and its small records.

    ``owner`` is role and id of the node ("cn:cn-1").  ``networks`` are the
    data-centre networks the node was configured with.
    """

    owner: str
    networks: tuple[IPNetwork, ...]

    @abstractmethod
    def record(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        """A small JSON document of the namespace, locked and written back on exit.

        All nodes in one namespace share it.  When the block raises, nothing
        is written.
        """

    @abstractmethod
    def claim(self, timeout: float) -> AbstractContextManager[None]:
        """Keep other processes from running the same owner in the namespace.

        Waits up to ``timeout`` seconds, then raises ``Conflict`` naming the pid.
        Held until the context ends.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of descriptors; may be repeated."""


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link appeared or changed (``gone`` False), or went away (True)."""

    name: str
    index: int
    gone: bool


class Watch(ABC):
    """A stream of link events since it was opened."""

    @abstractmethod
    def read(self, timeout: float) -> list[LinkEvent]:
        """Events that came since the last read, waiting up to ``timeout`` seconds.

        An empty list means none came.  Raises ``Exhausted`` when events were
        lost: take a new snapshot.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop watching; may be repeated."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Driver(ABC):
    """Carries out operations on the nouns in ``carries``, on one host.

    Opened as ``DriverClass(host)``.  Safe to call from any number of threads.
    """

    name: ClassVar[str]
    carries: ClassVar[frozenset[type[Noun]]]
    host: Host

    @abstractmethod
    def missing(self, noun: Noun) -> str | None:
        """Why this noun cannot be carried here and what to do, or None if it can.

        Looks at the noun's class and kind, not at its names.  Must be cheap
        to repeat.
        """

    @abstractmethod
    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """Everything on the host of these types (default: all it carries), as found.

        A type stands for its subclasses too: ``Link`` is every link.
        Foreign objects are included.  Consistent: an interrupted dump is retried.
        """

    @abstractmethod
    def find(self, noun: Noun) -> Noun | None:
        """The object that the noun names, as it is now, or None.

        Reads only the fields that make up ``noun.key``; the others may have any value.
        ``Link(name=...)`` or any subclass of it finds the link of that name, of whatever
        kind; ``Path(remote=...)`` and ``Sysctl(name=...)`` need no other field.  Returns
        None for a noun of a class that the driver does not carry, and for a name that no
        object can have.  The cost does not grow with the number of objects on the host.
        """

    @abstractmethod
    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
    ) -> Outcome:
        """Carry out the operations in order.

        Each is all-or-nothing.  ``check`` is called before each one.  The
        first error ends the work, unless ``keep_going`` (a tear-down), when
        the rest is still tried.  Never raises for an operation's failure:
        the outcome says what took effect and what did not.
        """

    @abstractmethod
    def watch(self) -> Watch:
        """Open a stream of link events.  Raises ``Unsupported`` where there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of sockets and threads; changes nothing on the host; may be repeated."""

    def commands(self, operation: Operation) -> Sequence[str] | None:
        """The operation as shell commands, or None to have the standard ones."""
        return None

    def transfer(self, operations: Sequence[Operation]) -> Outcome:
        """As ``apply(keep_going=True)``, for nouns that move to this driver or from it.

        What they serve goes on: connections that the rules let through are not cut.
        """
        return self.apply(operations, keep_going=True)

    def obstacles(self) -> Sequence[str]:
        """What others have set on the host that breaks what this driver has set.

        A line each, naming whose it is and what to do.  Only looked at when
        somebody asks (``verify()``): it may read all that is there.
        """
        return ()

    def dump(self) -> str:
        """What this driver has set on the host, as text for people."""
        return "\n".join(sorted(str(noun) for noun in self.snapshot().values()))
