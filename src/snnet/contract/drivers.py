"""What a driver is: six verbs over nouns, opened on a host.

Backends (links, addresses, routes ...), firewalls and DHCP servers have the
same shape; each carries its own nouns.  A driver must have ``missing``,
``snapshot``, ``find``, ``perform``, ``watch`` and ``close``; all other methods
have defaults.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from .applying import NO_SESSION, Applying
from .host import Host
from .noun import Key, Noun
from .operations import Check, Operation, Outcome


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
    """The name of its entry point."""

    carries: ClassVar[frozenset[type[Noun]]]
    """The classes of nouns that it knows, also those that ``missing`` declares gaps."""

    batching: ClassVar[bool] = False
    """Whether the driver has ``batch`` and ``perform_all``."""

    host: Host
    """The host that it works on.  A backend sets it to the host it was opened with, unless
    it brings a host of its own, as the fake kernel does; the node's firewall and DHCP
    server are opened on the host of its backend."""

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
    def perform(self, operation: Operation) -> Sequence[int] | None:
        """Carry out one operation, whole or not at all; called by ``apply`` alone.

        Returns the descriptors of a multi-queue tap that was added, one a queue, and
        otherwise None.  Raises the ``SnnetError`` that says why the operation failed
        (``error_for`` makes one of an errno); nothing of it is left then, whatever is
        raised.  An ``Add`` of what is there already raises ``Exists``; a ``Change`` or a
        ``Remove`` of what is not there, or belongs to somebody else by now, raises
        ``Missing``; what the driver cannot do raises ``Unsupported``.
        """

    @abstractmethod
    def watch(self) -> Watch:
        """Open a stream of link events.  Raises ``Unsupported`` where there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of sockets and threads; changes nothing on the host; may be repeated."""

    # What follows has defaults: a driver overrides what it can do better.

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
        into: Outcome | None = None,
    ) -> Outcome:
        """Carry out the operations in order.

        ``check`` is called before each one; when it raises, that ends the work.  The
        first error ends the work, unless ``keep_going`` (a tear-down): then the rest is
        still tried.  Never raises for an operation's failure: the outcome says what took
        effect and what did not.

        ``into``: the outcome to fill in, and to return.  When ``KeyboardInterrupt`` or
        another exception that is no ``Exception`` ends ``apply``, this outcome says what
        was done until then, and in ``unsure`` what was under way.
        """
        outcome = Outcome() if into is None else into
        Applying(self, operations, outcome, keep_going=keep_going).run(check)
        return outcome

    def session(self, operations: Sequence[Operation]) -> AbstractContextManager[object]:
        """A context that is open while one ``apply`` carries out these operations.

        For a lock, or for what is read once for all of them.  A ``SnnetError`` that is
        raised on entering becomes the error of the first operation.
        """
        return NO_SESSION

    def batch(self, operation: Operation) -> Hashable | None:
        """What the operation may be carried out together with; None for nothing.

        Operations that follow each other and have equal values go to ``perform_all``.
        """
        return None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """Carry out several operations of one batch: all of them or none.

        For drivers that override ``batch``.  When it raises a ``SnnetError``, the
        operations are tried again in smaller batches, and singly by ``perform``, to
        find out which of them fail; so the error needs to say nothing about that.
        """
        raise NotImplementedError(f"{type(self).__name__} has batch() without perform_all()")

    def commands(self, operation: Operation) -> Sequence[str] | None:
        """The operation as shell commands, or None to have the standard ones."""
        return None

    def transfer(self, operations: Sequence[Operation]) -> Outcome:
        """As ``apply(keep_going=True)``, for nouns that move to this driver or from it.

        What they serve goes on: connections that the rules let through are not cut.
        """
        return self.apply(operations, keep_going=True)

    def epoch(self) -> Hashable | None:
        """A value that changes when somebody else may have changed what this driver set.

        While it stays the same, what the driver has set is there unless the driver itself
        removed it.  None, the default, means that the driver cannot say; the caller then
        has to look.  Must be cheap.
        """
        return None

    def obstacles(self) -> Sequence[str]:
        """What others have set on the host that breaks what this driver has set.

        A line each, naming whose it is and what to do.  Only looked at when
        somebody asks (``verify()``): it may read all that is there.
        """
        return ()

    def dump(self) -> str:
        """What this driver has set on the host, as text for people."""
        return "\n".join(sorted(str(noun) for noun in self.snapshot().values()))
