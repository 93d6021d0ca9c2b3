"""The backend that uses netlink directly."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from snnet.backends.tables import NON_LINKS, TableBackend
from snnet.contract import (
    Address,
    Alarm,
    Attached,
    BridgeFdb,
    Fdb,
    Host,
    Key,
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
    Remove,
    Route,
    Shaper,
    SnnetError,
    Sysctl,
    Watch,
)
from snnet.system.changes import KernelChanges

from . import parameters
from .addresses import Addresses
from .errors import ABSENT, translated
from .kernel import Kernel
from .kinds import CODECS
from .links import Links
from .namespaces import Attachments, Namespaces
from .neighbours import BridgeEntries, ForwardingEntries, Neighbours, Proxies
from .policies import Policies
from .removal import remove_together
from .routes import Paths, Routes
from .shaping import Disciplines
from .support import Support
from .sysctls import Sysctls
from .watch import LinkWatch

_LINKS: frozenset[type[Link]] = frozenset({*CODECS, Other})


class NetlinkBackend(TableBackend):
    """Links, addresses, routes, neighbours, forwarding entries and sysctls of one host.

    It holds a few netlink sockets and no thread.  It can be used from any thread, inside a
    running event loop, and after a fork (the child opens its own sockets).
    """

    name: ClassVar[str] = "netlink"
    batching: ClassVar[bool] = True
    carries: ClassVar[frozenset[type[Noun]]] = _LINKS | NON_LINKS
    refusals = (OSError,)

    def __init__(self, host: Host) -> None:
        netns = host.netns.descriptor_for(self.name, "backend")
        self._kernel = Kernel(netns)
        self._sysctls = Sysctls(netns)
        self.links = Links(self._kernel, self._sysctls)
        self._addresses = Addresses(self._kernel)
        self._routes = Routes(self._kernel)
        disciplines = Disciplines(self._kernel)
        tables = {
            Link: self.links,
            Address: self._addresses,
            Route: self._routes,
            Path: Paths(self._kernel),
            PolicyRule: Policies(self._kernel),
            Neighbour: Neighbours(self._kernel),
            ProxyNeighbour: Proxies(self._kernel),
            Fdb: ForwardingEntries(self._kernel, self.links),
            BridgeFdb: BridgeEntries(self._kernel, self.links),
            Sysctl: self._sysctls,
            Shaper: disciplines.shapers,
            Redirect: disciplines.redirects,
            Namespace: Namespaces(netns),
            Attached: Attachments(self._kernel, self.links.look_up),
        }
        super().__init__(host, tables, Support(self._kernel))

    def translated(self, refusal: OSError, what: Operation | str) -> SnnetError:
        return translated(refusal, what)

    def is_absence(self, refusal: OSError) -> bool:
        return refusal.errno in ABSENT

    def find_all(self, nouns: Collection[Noun]) -> dict[Key, Noun]:
        """See :meth:`snnet.contract.Driver.find_all`; many parameters are read at once."""
        found: dict[Key, Noun] = {}
        if sum(isinstance(noun, Sysctl) for noun in nouns) >= parameters.MANY:
            try:
                found = parameters.listed(nouns, self.links.parsed())
            except OSError as error:
                raise translated(error, "list the objects on the host") from error
        return found | super().find_all([noun for noun in nouns if noun.key not in found])

    def addresses(self, link: str) -> Collection[Address]:
        """See :meth:`snnet.contract.Driver.addresses`; the kernel lists those of the link."""
        try:
            return self._addresses.on(link)
        except OSError as error:
            if self.is_absence(error):
                return ()
            raise translated(error, f"list the addresses of {link}") from error

    def routes_of(self, protocol: int) -> Collection[Route]:
        """See :meth:`snnet.contract.Driver.routes_of`; the kernel lists those of the protocol."""
        try:
            return self._routes.of(protocol)
        except OSError as error:
            raise translated(error, f"list the routes of protocol {protocol}") from error

    def batch(self, operation: Operation) -> str | None:
        """Return the same value for all removals of links: they go in one request."""
        removes_link = isinstance(operation, Remove) and isinstance(operation.noun, Link)
        return "links to remove" if removes_link else None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """Remove several links; see :meth:`snnet.contract.Driver.perform_all`."""
        links = [operation.noun for operation in operations if isinstance(operation.noun, Link)]
        try:
            remove_together(self.links, links)
        except OSError as error:
            raise translated(error, "remove several links") from error

    def watch(self) -> Watch:
        """See :meth:`snnet.contract.Driver.watch`."""
        return LinkWatch(self.host.netns.fd)

    def alarm(self) -> Alarm:
        """The kernel tells of links, addresses, routes, neighbours and rules."""
        return KernelChanges(self.host.netns.fd)

    def unreported(self) -> Collection[type[Noun]]:
        """Of parameters the kernel tells little (netconf), of proxy entries nothing.

        Of queueing disciplines it tells even when one is only looked at.
        """
        return (Sysctl, ProxyNeighbour, Shaper, Redirect)

    def close(self) -> None:
        """See :meth:`snnet.contract.Driver.close`."""
        super().close()
        self.links.close()
        self._sysctls.close()
        self._kernel.close()
