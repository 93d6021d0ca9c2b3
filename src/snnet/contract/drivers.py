"""The driver interface: six verbs over nouns, opened on a host.

Backends (links, addresses, routes ...), firewalls and DHCP servers share this
interface; each carries its own nouns.  A driver must implement ``missing``,
``snapshot``, ``find``, ``perform``, ``watch`` and ``close``; all other methods
have defaults.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from .applying import NO_SESSION, Applying
from .errors import Unsupported
from .host import Host
from .namespaces import Namespace
from .network import Address, Route
from .noun import IPAddress, Key, Noun, Owned
from .operations import Check, Operation, Outcome
from .packets import Announcement, Dropped, HostPacket
from .translating import translate


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link appeared or changed (``gone`` False), or disappeared (True)."""

    name: str
    index: int
    gone: bool


class Watch(ABC):
    """A stream of the link events since it was opened."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        translate(cls)

    @abstractmethod
    def read(self, timeout: float) -> list[LinkEvent]:
        """Return the events since the last read; wait for one up to ``timeout`` seconds.

        Returns an empty list if there was no event.  Raises ``Exhausted`` if events
        were lost: take a new snapshot.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop watching.  May be called again."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Alarm(ABC):
    """Says whether something that a driver has set may have changed since it was last asked.

    It may also report changes without effect, and changes by the driver itself.
    """

    @abstractmethod
    def noticed(self) -> bool:
        """Whether something changed since the last call.  Never waits."""

    def extend(self) -> bool:
        """Report from now on also what the driver has set since the alarm was opened.

        No change is lost: ask ``noticed`` afterwards.  False, the default, means that the alarm
        cannot do this; the caller then opens another one.
        """
        return False

    def descriptors(self) -> Sequence[int]:
        """Return descriptors, of which one is readable if something happened since ``noticed``.

        They may change with each call of ``noticed`` or ``extend``.  An empty sequence, the
        default, means that the caller has to ask from time to time.
        """
        return ()

    @abstractmethod
    def close(self) -> None:
        """Let go of descriptors.  May be called again."""


class Hearing(ABC):
    """Hears other hosts on a link announce certain addresses."""

    @abstractmethod
    def heard(self) -> set[IPAddress]:
        """Return the addresses that others have announced since the last call.  Never waits."""

    @abstractmethod
    def close(self) -> None:
        """Let go of descriptors.  May be called again."""


class Driver(ABC):
    """Carries out operations on the nouns in ``carries``, on one host.

    It is opened as ``DriverClass(host)``, and any number of threads may call it.  Its callers
    see only ``SnnetError``: an ``OSError`` that leaves a method becomes the class of its errno,
    and any other exception an ``ApiError`` that names the driver.
    """

    only_snnet_errors: ClassVar[bool] = False
    """Whether the driver itself ensures that it raises only ``SnnetError``."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.only_snnet_errors:
            translate(cls)

    name: ClassVar[str]
    """The name of its entry point."""

    carries: ClassVar[frozenset[type[Noun]]]
    """The classes of nouns that it knows, including those for which ``missing`` gives a reason."""

    batching: ClassVar[bool] = False
    """Whether the driver has ``batch`` and ``perform_all``."""

    host: Host
    """The host it works on.  A backend sets this to the host it was opened with, or, like
    the fake kernel, to a host of its own.  The node opens its firewall and its DHCP server
    on the host of its backend."""

    @abstractmethod
    def missing(self, noun: Noun) -> str | None:
        """Return why this noun cannot be carried here and what to do, or None if it can.

        The answer depends on the class and the kind of the noun, not on its names.
        Repeated calls must be cheap.
        """

    def uninstalled(self) -> str | None:
        """Return what is not installed without which it carries nothing, and what to do.

        None, the default, if there is nothing of the kind.  A node that may change its host does
        not start with such a firewall: guests would have no protection.
        """
        return None

    @abstractmethod
    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """Return everything on the host of these types (default: all it carries).

        A type includes its subclasses: ``Link`` is every link.  Foreign objects are
        included.  The result is consistent: an interrupted dump is retried.
        """

    @abstractmethod
    def find(self, noun: Noun) -> Noun | None:
        """Return the object with the key of this noun, as it is now, or None.

        Only the fields that make up ``noun.key`` matter; the others may have any value.
        ``Link(name=...)``, or any subclass of it, finds the link of that name whatever its
        kind; ``Path(remote=...)`` and ``Sysctl(name=...)`` need no other field.  Returns
        None for a noun of a class that the driver does not carry, and for a name that no
        object can have.  The cost does not grow with the number of objects on the host.
        """

    @abstractmethod
    def perform(self, operation: Operation) -> Sequence[int] | None:
        """Carry out one operation completely or not at all.  Only ``apply`` calls this.

        Returns one descriptor for each queue of a multi-queue tap that was added, and
        otherwise None.  Raises the ``SnnetError`` that says why the operation failed
        (``error_for`` makes one from an errno).  If it raises anything, nothing of the
        operation is left; a driver that cannot undo its part raises ``FatalError``.
        ``Add`` raises ``Exists`` if the object exists.  ``Change`` and ``Remove`` raise
        ``Missing`` if it does not exist, or is now a foreign object.  An operation that the
        driver cannot do raises ``Unsupported``.
        """

    @abstractmethod
    def watch(self) -> Watch:
        """Open a stream of link events.  Raises ``Unsupported`` if the driver has none."""

    @abstractmethod
    def close(self) -> None:
        """Close sockets and end threads; change nothing on the host.  May be called again."""

    # The methods below have defaults: a driver overrides what it can do better.

    def inside(self, namespace: str, alias: str | None = None) -> AbstractContextManager[Driver]:
        """Open this backend in a ``Namespace`` of its host, for the context.

        A backend that carries ``Namespace`` has this.  Raises ``Missing`` if there is no
        such namespace, or, with an ``alias``, if the one of this name does not have it.
        """
        raise Unsupported(f"the driver {self.name!r} cannot work in another namespace")

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
        into: Outcome | None = None,
        first: int = 0,
    ) -> Outcome:
        """Carry out the operations in order.

        ``check`` is called before each operation; if it raises, the work ends.  The first
        error ends the work too, unless ``keep_going`` is true (a tear-down): then the
        remaining operations are still tried.  Never raises for an operation that fails:
        the outcome says what took effect and what did not.

        ``into`` is the outcome to fill in and to return, in which the first operation has
        the position ``first``.  If ``KeyboardInterrupt`` or
        another exception that is not an ``Exception`` ends ``apply``, this outcome says
        what was done until then, and in ``unsure`` what was in progress.
        """
        outcome = Outcome() if into is None else into
        Applying(self, operations, outcome, keep_going=keep_going, first=first).run(check)
        return outcome

    def find_all(self, nouns: Collection[Noun]) -> dict[Key, Noun]:
        """Return the nouns that exist, as found by ``find``."""
        return {noun.key: found for noun in nouns if (found := self.find(noun)) is not None}

    def addresses(self, link: str) -> Collection[Address]:
        """Return the addresses of one link, as in a snapshot; only backends have them.

        Those of other links need not cost anything.
        """
        found = self.snapshot({Address}).values()
        return [one for one in found if isinstance(one, Address) and one.link == link]

    def routes_of(self, protocol: int) -> Collection[Route]:
        """Return the routes of one protocol, as in a snapshot; only backends have them.

        Those of others need not cost anything.
        """
        found = self.snapshot({Route}).values()
        return [one for one in found if isinstance(one, Route) and one.protocol == protocol]

    def namespaces(self, prefix: str) -> Collection[Namespace]:
        """Return the namespaces whose names begin with ``prefix``, as in a snapshot.

        Only backends have them.  Others need not cost anything: a host of containers has many.
        """
        found = self.snapshot({Namespace}).values()
        return [one for one in found if isinstance(one, Namespace) and one.name.startswith(prefix)]

    def owners(self) -> Collection[str]:
        """Return the owners that may have nouns of this driver on the host; perhaps more.

        Called for each new rule of some kinds, so it should be cheap, and after ``epoch``: what
        others set after that may be left out.
        """
        return {noun.owner for noun in self.snapshot().values() if isinstance(noun, Owned)}

    def session(self, operations: Sequence[Operation]) -> AbstractContextManager[object]:
        """Return a context that is open while one ``apply`` carries out these operations.

        Use it for a lock, or for data that is read once for all of them.  A ``SnnetError``
        raised on entering becomes the error of the first operation.
        """
        return NO_SESSION

    def batch(self, operation: Operation) -> Hashable | None:
        """Return a value that groups operations, or None for an operation on its own.

        Consecutive operations with equal values go to ``perform_all`` together.
        """
        return None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """Carry out several operations of one batch: all of them or none.

        For drivers that override ``batch``.  If it raises a ``SnnetError``, the operations
        are tried again in smaller batches, and at last one by one with ``perform``, to find
        out which of them fail; the error need not say which.  After a ``FatalError`` they are
        not: some may have taken effect.
        """
        raise NotImplementedError(f"{type(self).__name__} has batch() without perform_all()")

    def enforced(self) -> tuple[dict[Key, Noun], Sequence[str]]:
        """Return the nouns that the kernel enforces now, and what others changed of them.

        Unlike a snapshot, the result has nouns whose rules others moved to another place, and
        nouns that are not complete; a line for each of the latter names the rules.
        """
        return self.snapshot(), ()

    def commands(self, operation: Operation) -> Sequence[str] | None:
        """Return the operation as shell commands, or None for the standard commands."""
        return None

    def transfer(self, operations: Sequence[Operation]) -> Outcome:
        """Do ``apply(keep_going=True)`` for nouns that move to or from this driver.

        Traffic continues: connections that the rules allow are not cut.
        """
        return self.apply(operations, keep_going=True)

    def epoch(self) -> Hashable | None:
        """Return a value that changes when others may have changed what this driver set.

        While it stays the same, what the driver has set is there unless the driver itself
        removed it.  None, the default, means that the driver cannot say; the caller then
        has to look.  Must be cheap.
        """
        return None

    def alarm(self) -> Alarm | None:
        """Open an alarm for what this driver has set so far.

        None, the default, means that nothing reports changes; the caller then has to look
        from time to time.
        """
        return None

    def unreported(self) -> Collection[type[Noun]]:
        """Return the types of nouns that others can change without setting off the alarm.

        The caller looks them up from time to time, so ``find`` (for a firewall, ``snapshot``)
        must be cheap.
        """
        return ()

    def obstacles(self) -> Sequence[str]:
        """Return the foreign settings of the host that break what this driver has set.

        One line each: what it is, whose it is and what to do.  Only ``verify()`` calls
        this, so it may read everything on the host.
        """
        return ()

    def announce(self, announcements: Sequence[Announcement]) -> None:
        """Tell neighbours and bridges where addresses are now; only backends do this.

        Raises nothing: if an announcement is lost, neighbours find the address when their
        entries expire.
        """
        return

    def answering(
        self, link: str, addresses: Collection[IPAddress], source: IPAddress, wait: float = 1.0
    ) -> set[IPAddress]:
        """Return the addresses that other hosts on the link answer for; only backends do this.

        Each is asked for several times within ``wait`` seconds by ARP or neighbour discovery,
        from ``source``, the host's own address there.  Returns as soon as all have answered.
        """
        raise Unsupported(f"the driver {self.name!r} cannot ask who answers for an address")

    def hear(self, link: str, addresses: Collection[IPAddress]) -> Hearing | None:
        """Listen on a link for other hosts that announce these addresses; only backends do this.

        None, the default, means that the driver cannot.  The caller closes the result.
        """
        return None

    def tidy(self) -> None:
        """Remove what an interrupted change left of nouns of this host's owner that do not exist.

        Drivers whose changes take effect completely or not at all have nothing to do here.
        ``init()``, ``repair()`` and the removal of everything call this after their changes.
        """
        return

    def forward_chains(self) -> Mapping[str, str]:
        """Return the chains of iptables, "nft" or "legacy", that decide about our packets.

        An ACCEPT of others before them would bypass them.  Only firewalls have such chains.
        """
        return {}

    def stopped(self, packets: Sequence[HostPacket]) -> Sequence[str]:
        """Return the foreign rules of the host that drop some of these packets.

        One line each, like ``obstacles``, and only what is certain.  Only ``verify()`` calls
        this, on the firewall.
        """
        return ()

    def dropped(self) -> Sequence[Dropped]:
        """Return what the rules of this host's owner have dropped, as far as it was counted.

        Only firewalls have such counters.
        """
        return ()

    def dump(self) -> str:
        """Return what this driver has set on the host, as text for people."""
        return "\n".join(sorted(str(noun) for noun in self.snapshot().values()))
