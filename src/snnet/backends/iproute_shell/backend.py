"""The backend that runs the commands that an administrator would type."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from snnet.backends.iproute2.kinds import CODECS
from snnet.backends.linux import check_change
from snnet.backends.tables import NON_LINKS, TableBackend
from snnet.contract import (
    Address,
    Alarm,
    Attached,
    BridgeFdb,
    Change,
    Fdb,
    Host,
    Link,
    Namespace,
    Neighbour,
    Noun,
    Operation,
    Other,
    Path,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    SnnetError,
    Sysctl,
    Unsupported,
    Watch,
    error_for,
)
from snnet.contract.links import is_link_name
from snnet.system.changes import KernelChanges

from .checks import index_like, referred
from .errors import ABSENT, Refused, translated
from .links import Links
from .namespaces import Attachments, Namespaces
from .neighbours import BridgeEntries, ForwardingEntries, Neighbours, Proxies
from .network import Addresses, Paths, Policies, Routes
from .shaping import Redirects, Shapers
from .shell import Shell
from .support import Support
from .sysctls import Sysctls

_LINKS: frozenset[type[Link]] = frozenset({*CODECS, Other})


class IprouteShellBackend(TableBackend):
    """Links, addresses, routes, neighbours, forwarding entries and sysctls of one host.

    Use it on hosts without pyroute2, or to see what is done: it carries out each operation
    with the commands that ``render`` prints (``ip``, ``bridge``, ``tc`` and ``sysctl``).  It keeps
    no process and no thread open, and two sockets once it has announced an address.  Each
    command takes one or two milliseconds; each removal of a link takes 16 ms in the kernel.

    It supports neither multi-queue taps that return descriptors nor ``watch``.
    """

    name: ClassVar[str] = "iproute_shell"
    carries: ClassVar[frozenset[type[Noun]]] = _LINKS | NON_LINKS
    refusals = (Refused, OSError)

    def __init__(self, host: Host) -> None:
        netns = host.netns.descriptor_for(self.name, "backend")
        shell = Shell(netns)
        links = Links(shell)
        self._routes = Routes(shell)
        tables = {
            Link: links,
            Address: Addresses(shell),
            Route: self._routes,
            Path: Paths(shell),
            PolicyRule: Policies(shell),
            Neighbour: Neighbours(shell),
            ProxyNeighbour: Proxies(shell),
            Fdb: ForwardingEntries(shell, links),
            BridgeFdb: BridgeEntries(shell, links),
            Sysctl: Sysctls(shell),
            Shaper: Shapers(shell, links),
            Redirect: Redirects(shell, links),
            Namespace: Namespaces(shell, netns),
            Attached: Attachments(shell, links),
        }
        super().__init__(host, tables, Support(shell))

    def translated(self, refusal: Refused | OSError, what: Operation | str) -> SnnetError:
        return translated(refusal, what)

    def is_absence(self, refusal: Refused | OSError) -> bool:
        return isinstance(refusal, Refused) and refusal.number in ABSENT

    def routes_of(self, protocol: int) -> Collection[Route]:
        """See :meth:`snnet.contract.Driver.routes_of`; the kernel lists those of the protocol."""
        try:
            return self._routes.of(protocol)
        except self.refusals as refusal:
            raise translated(refusal, f"list the routes of protocol {protocol}") from refusal

    def find(self, noun: Noun) -> Noun | None:
        """See :meth:`snnet.contract.Driver.find`."""
        link = None if isinstance(noun, Path) else getattr(noun, "link", None)
        if link is not None and (not is_link_name(link) or self._taken_for_an_index([link])):
            return None
        return super().find(noun)

    def perform(self, operation: Operation) -> Sequence[int] | None:
        """See :meth:`snnet.contract.Driver.perform`."""
        noun = operation.noun
        if name := self._taken_for_an_index(referred(noun)):
            raise error_for(
                errno.ENODEV, str(operation), detail=f"no link {name}", operation=operation
            )
        if isinstance(operation, Change) and not isinstance(noun, Link):
            check_change(noun, operation.old)
        return super().perform(operation)

    def _taken_for_an_index(self, names: Iterable[object]) -> str | None:
        """Return the first name that no link has and that ``ip`` would read as an index."""
        return next((name for name in index_like(names) if not self.find(Link(name=name))), None)

    def alarm(self) -> Alarm:
        """The kernel tells of links, addresses, routes, neighbours and rules."""
        return KernelChanges(self.host.netns.fd)

    def unreported(self) -> Collection[type[Noun]]:
        """Of parameters the kernel tells little (netconf), of proxy entries nothing."""
        return (Sysctl, ProxyNeighbour, Shaper, Redirect)

    def watch(self) -> Watch:
        """Raises ``Unsupported``.

        ``ip monitor`` would have to run between reads: a process that must be ended, and
        that outlives this one if it is killed.  Comparing two listings would miss links
        that appear and disappear in between.
        """
        raise Unsupported(
            "the iproute_shell backend has no stream of link events, because it keeps no "
            "process running: set backend 'netlink', or compare snapshots"
        )
