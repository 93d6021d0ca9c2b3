"""The backend that runs the commands an administrator would type."""

from __future__ import annotations

from collections.abc import Iterable
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

from .checks import check_change, index_like, is_name, referred
from .errors import ABSENT, Refused, translated
from .links import Links
from .neighbours import ForwardingEntries, Neighbours, Proxies
from .network import Addresses, Paths, Routes
from .shell import Shell
from .support import Support
from .sysctls import Sysctls

_LINKS: frozenset[type[Link]] = frozenset(
    {Bridge, Tap, Veth, Macvtap, Gretap, Gre, Vxlan, Geneve, Other}
)


class IprouteShellBackend(Driver):
    """Links, addresses, routes, neighbours, forwarding entries and sysctls of one host.

    For hosts without pyroute2, and for looking at what is done: every operation is
    the commands that ``render`` prints, run by ``ip``, ``bridge`` and ``sysctl``.  It
    keeps nothing open, no process, socket or thread.  Each command takes one or two
    milliseconds, each removal of a link its 16 ms in the kernel.

    Multi-queue taps that hand out descriptors are not for it, nor is watching.
    """

    name: ClassVar[str] = "iproute_shell"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset(
        _LINKS | {Address, Route, Path, Neighbour, ProxyNeighbour, Fdb, Sysctl}
    )
    host: Host

    def __init__(self, host: Host) -> None:
        self.host = host
        shell = Shell(host.netns.descriptor_for("iproute_shell", "backend"))
        self._links = Links(shell)
        self._support = Support(shell)
        self._tables: dict[type[Noun], Any] = {
            **dict.fromkeys(_LINKS, self._links),
            Address: Addresses(shell),
            Route: Routes(shell),
            Path: Paths(shell),
            Neighbour: Neighbours(shell),
            ProxyNeighbour: Proxies(shell),
            Fdb: ForwardingEntries(shell, self._links),
            Sysctl: Sysctls(shell),
        }

    def missing(self, noun: Noun) -> str | None:
        """See :meth:`snnet.contract.Driver.missing`."""
        if type(noun) not in self.carries:
            return f"the iproute_shell backend does not carry {type(noun).__name__}"
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
        try:
            found: list[Noun] = list(chain.from_iterable(t.snapshot() for t in tables.values()))
        except (Refused, OSError) as error:
            raise translated(error, "list what is on the host") from error
        return keyed(noun for noun in found if isinstance(noun, wanted))

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        table: Any = self._links if isinstance(noun, Link) else self._tables.get(type(noun))
        link = None if isinstance(noun, Path) else getattr(noun, "link", None)
        if table is None or (link is not None and not is_name(link)):
            return None
        try:
            self._must_exist(index_like([link]))
            found: Noun | None = table.find(noun)
        except (Refused, OSError) as error:
            if isinstance(error, Refused) and error.number in ABSENT:
                return None
            raise translated(error, f"look up {' '.join(noun.key)}") from error
        return found

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`."""
        noun = operation.noun
        verb = getattr(self._tables.get(type(noun)), _VERBS[type(operation)], None)
        if verb is None:
            raise Unsupported(
                f"cannot {operation}: the iproute_shell backend has no such operation",
                operation=operation,
            )
        try:
            self._must_exist(index_like(referred(noun)))
            if isinstance(operation, Change):
                if not isinstance(noun, Link):
                    check_change(noun, operation.old)
                verb(noun, operation.old)
            else:
                verb(noun)
        except (Refused, OSError) as error:
            raise translated(error, operation) from error

    def _must_exist(self, names: Iterable[str]) -> None:
        for name in names:
            self._links.look_up(name)

    def watch(self) -> Watch:
        """Raises ``Unsupported``.

        ``ip monitor`` would have to run from one read to the next: a process that
        somebody has to end, and that outlives us when we are killed.  Two listings
        compared would not show what came and went in between.
        """
        raise Unsupported(
            "the iproute_shell backend has no stream of link events, for it keeps no process "
            "running: set backend 'netlink', or compare snapshots"
        )

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`; there is nothing to let go of."""


_VERBS: dict[type[Operation], str] = {Add: "add", Change: "change", Remove: "remove"}
