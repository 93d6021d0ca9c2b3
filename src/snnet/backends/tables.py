"""The base class of the backends for a real kernel: a table for each class of noun."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, ClassVar, Protocol

from snnet.contract import (
    Add,
    Address,
    Announcement,
    Attached,
    BridgeFdb,
    Change,
    Driver,
    Fdb,
    Hearing,
    Host,
    IPAddress,
    Key,
    Link,
    Namespace,
    Neighbour,
    Noun,
    Operation,
    Path,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Remove,
    Route,
    Shaper,
    SnnetError,
    Sysctl,
    Unsupported,
    keyed,
)
from snnet.system.announcer import Announcer
from snnet.system.hearing import LinkHearing
from snnet.system.named import named
from snnet.system.prober import answering

from .namespaces import opened

_log = logging.getLogger("snnet.backends")

NON_LINKS: frozenset[type[Noun]] = frozenset(
    {
        Address, Route, PolicyRule, Path, Neighbour, ProxyNeighbour, Fdb, BridgeFdb, Sysctl,
        Namespace, Attached, Shaper, Redirect,
    }
)  # fmt: skip
"""The nouns other than links that these backends carry."""

_TRAFFIC = (Shaper, Redirect)
"""What a kernel may lack in parts, so that its own error would not say what."""

_VERBS: dict[type[Operation], str] = {Add: "add", Change: "change", Remove: "remove"}


class Support(Protocol):
    """Finds out what this host and its kernel can create."""

    def missing(self, noun: Noun) -> str | None: ...


class TableBackend(Driver):
    """Links, addresses, routes, neighbours, forwarding entries and sysctls of one host.

    A table carries the nouns of one class.  It has ``find`` and ``snapshot``, and ``add``,
    ``change`` and ``remove`` as far as the nouns allow them.  Its methods raise
    ``SnnetError`` or one of ``refusals``.  Tables that are listed together have the same
    ``lister``, whose ``snapshot`` has the nouns of all of them.
    """

    refusals: ClassVar[tuple[type[Exception], ...]]
    """The exceptions that the tables raise when the kernel refuses something."""

    def __init__(self, host: Host, tables: Mapping[type[Noun], Any], support: Support) -> None:
        self.host = host
        self._tables = tables
        self._links = tables[Link]
        self._support = support
        self._listed: dict[tuple[type[Noun], ...], list[Any]] = {}
        """What lists the nouns of some types, by these types."""
        self._announcer = Announcer(host.netns.fd)

    def translated(self, refusal: Any, what: Operation | str) -> SnnetError:
        """Return a refusal as an error of snnet: ``what`` could not be done."""
        raise NotImplementedError

    def is_absence(self, refusal: Any) -> bool:
        """Whether the refusal of a look-up means that the object does not exist."""
        raise NotImplementedError

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the {self.name} backend does not carry {type(noun).__name__}"
        return self._support.missing(noun)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`.

        Objects that the kernel creates by itself are not included: IPv6 link-local
        addresses, connected routes, learned neighbours and forwarding entries.  Of
        the sysctls, only those for forwarding are included.
        """
        wanted = tuple(self.carries if types is None else types)
        if (tables := self._listed.get(wanted)) is None:
            kinds = [kind for kind in self.carries if issubclass(kind, wanted)]
            listers = [_lister(self._table(kind)) for kind in kinds]
            tables = self._listed[wanted] = [*{id(one): one for one in listers}.values()]
        try:
            found: list[Noun] = list(chain.from_iterable(table.snapshot() for table in tables))
        except self.refusals as refusal:
            raise self.translated(refusal, "list the objects on the host") from refusal
        return keyed(noun for noun in found if isinstance(noun, wanted))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        table = self._table(type(noun))
        if table is None:
            return None
        try:
            found: Noun | None = table.find(noun)
        except ValueError:
            if all(map(_is_possible, noun.key)):
                raise  # what the host answered is wrong, not what it was asked
            return None
        except self.refusals as refusal:
            if self.is_absence(refusal) or not all(map(_is_possible, noun.key)):
                return None
            raise self.translated(refusal, f"look up {' '.join(noun.key)}") from refusal
        return found

    def namespaces(self, prefix: str) -> Collection[Namespace]:
        """See :meth:`snnet.contract.Driver.namespaces`; those with other names are not entered."""
        found = (self.find(Namespace(name=name)) for name in named(prefix))
        return [noun for noun in found if isinstance(noun, Namespace) and noun.alias]

    def perform(self, operation: Operation) -> Sequence[int] | None:
        """See :meth:`snnet.contract.Driver.perform`."""
        noun = operation.noun
        verb = getattr(self._table(type(noun)), _VERBS[type(operation)], None)
        if verb is None or type(noun) not in self.carries:
            raise Unsupported(
                f"cannot {operation}: the {self.name} backend does not support this operation",
                operation=operation,
            )
        if isinstance(operation, Add) and type(noun) in _TRAFFIC and (gap := self.missing(noun)):
            raise Unsupported(f"cannot {operation}: {gap}", operation=operation)
        try:
            if isinstance(operation, Change):
                verb(noun, operation.old)
                return None
            fds: Sequence[int] | None = verb(noun)
        except self.refusals as refusal:
            raise self.translated(refusal, operation) from refusal
        return fds

    def inside(self, namespace: str, alias: str | None = None) -> AbstractContextManager[Driver]:
        """See :meth:`snnet.contract.Driver.inside`."""
        return opened(type(self), self.host, namespace, alias)

    def announce(self, announcements: Sequence[Announcement]) -> None:
        """See :meth:`snnet.contract.Driver.announce`."""
        for one in announcements:
            try:
                if one.renew:
                    self._announcer.renew(one.link)
                if one.elsewhere and one.mac:
                    self._announcer.forget(one.elsewhere, one.mac)
                self._announcer.announce(one.link, one.address, one.mac)
            except OSError as error:
                _log.info("%s is not announced: %s", one, error)

    def answering(
        self, link: str, addresses: Collection[IPAddress], source: IPAddress, wait: float = 1.0
    ) -> set[IPAddress]:
        """See :meth:`snnet.contract.Driver.answering`."""
        return answering(self.host.netns.fd, link, addresses, source, wait)

    def hear(self, link: str, addresses: Collection[IPAddress]) -> Hearing:
        """See :meth:`snnet.contract.Driver.hear`."""
        return LinkHearing(self.host.netns.fd, link, addresses)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self._announcer.close()

    def _table(self, kind: type[Noun]) -> Any:
        return self._links if issubclass(kind, Link) else self._tables.get(kind)


def _is_possible(text: str) -> bool:
    """Whether the kernel, or a program, can be asked about an object of this name."""
    return "\0" not in text and text.encode(errors="replace") == text.encode(errors="ignore")


def _lister(table: Any) -> Any:
    return getattr(table, "lister", table)
