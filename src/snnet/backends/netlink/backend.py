"""The backend that speaks netlink to the kernel itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar

from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Driver,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Host,
    Key,
    Link,
    Macvtap,
    Neighbour,
    Noun,
    Operation,
    Other,
    Path,
    ProxyNeighbour,
    Remove,
    Route,
    Sysctl,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
    Watch,
    keyed,
)

from .addresses import Addresses
from .errors import ABSENT, translated
from .kernel import Kernel
from .links import Links
from .neighbours import ForwardingEntries, Neighbours, Proxies
from .removal import remove_together
from .routes import Paths, Routes
from .support import Support
from .sysctls import Sysctls
from .watch import LinkWatch

_LINKS: frozenset[type[Link]] = frozenset(
    {Bridge, Tap, Veth, Macvtap, Gretap, Gre, Vxlan, Geneve, Other}
)


class NetlinkBackend(Driver):
    """Links, addresses, routes, neighbours, forwarding entries and sysctls of one host.

    Holds a few netlink sockets, no thread; usable from any thread, inside a
    running event loop, and after a fork (the child opens sockets of its own).
    """

    name: ClassVar[str] = "netlink"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset(
        _LINKS | {Address, Route, Path, Neighbour, ProxyNeighbour, Fdb, Sysctl}
    )
    host: Host

    def __init__(self, host: Host) -> None:
        self.host = host
        netns = host.netns.descriptor_for("netlink", "backend")
        self._kernel = Kernel(netns)
        self.links = Links(self._kernel)
        self._support = Support(self._kernel)
        entries = ForwardingEntries(self._kernel, self.links)
        self._tables: dict[type[Noun], Any] = {
            **dict.fromkeys(_LINKS, self.links),
            Address: Addresses(self._kernel),
            Route: Routes(self._kernel),
            Path: Paths(self._kernel),
            Neighbour: Neighbours(self._kernel),
            ProxyNeighbour: Proxies(self._kernel),
            Fdb: entries,
            Sysctl: Sysctls(netns),
        }

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the netlink backend does not carry {type(noun).__name__}"
        return self._support.missing(noun)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.snapshot`.

        Leaves out what the kernel makes by itself: IPv6 link-local addresses,
        connected routes, learned neighbours and forwarding entries.  Of the
        sysctls it shows the forwarding ones.
        """
        wanted = tuple(self.carries if types is None else types)
        tables = {
            id(table): table for kind, table in self._tables.items() if issubclass(kind, wanted)
        }
        found: Iterable[Noun] = chain.from_iterable(t.snapshot() for t in tables.values())
        return keyed(noun for noun in found if isinstance(noun, wanted))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        table: Any = self.links if isinstance(noun, Link) else self._tables.get(type(noun))
        if table is None:
            return None
        try:
            found: Noun | None = table.find(noun)
        except ValueError:  # a name or MAC that no object can have
            return None
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise translated(error, f"look up {' '.join(noun.key)}") from error
        return found

    def perform(self, operation: Operation) -> Sequence[int] | None:
        """See :meth:`snnet.contract.Driver.perform`."""
        noun = operation.noun
        verb = getattr(self._tables.get(type(noun)), _VERBS[type(operation)], None)
        if verb is None:
            raise Unsupported(
                f"cannot {operation}: the netlink backend has no such operation",
                operation=operation,
            )
        try:
            if isinstance(operation, Change):
                verb(noun, operation.old)
                return None
            fds: Sequence[int] | None = verb(noun)
        except OSError as error:
            raise translated(error, operation) from error
        return fds

    def batch(self, operation: Operation) -> str | None:
        """Links that are removed one after the other go in one request."""
        removes_link = isinstance(operation, Remove) and isinstance(operation.noun, Link)
        return "links to remove" if removes_link else None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """See :meth:`snnet.contract.Driver.perform_all`; called for removals of links only."""
        links = [operation.noun for operation in operations if isinstance(operation.noun, Link)]
        try:
            remove_together(self.links, links)
        except OSError as error:
            raise translated(error, "remove several links") from error

    def watch(self) -> Watch:
        """See :meth:`snnet.contract.Driver.watch`."""
        return LinkWatch(self.host.netns.fd)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        self.links.close()
        self._kernel.close()


_VERBS: dict[type[Operation], str] = {Add: "add", Change: "change", Remove: "remove"}
