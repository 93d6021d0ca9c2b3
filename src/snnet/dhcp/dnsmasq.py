"""The DHCP driver ``dnsmasq``: one dnsmasq process for each scope, found by its folder."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from snnet.contract import (
    Add,
    Change,
    DhcpLease,
    DhcpScope,
    Driver,
    Host,
    InvalidRequest,
    Key,
    Missing,
    Noun,
    Operation,
    Remove,
    Unsupported,
    Watch,
    error_for,
)
from snnet.system.host import RealHost
from snnet.system.netns import in_netns
from snnet.system.process import find_program, missing_program

from . import settings
from .account import serving_account
from .alarm import Served, ServerAlarm
from .bridge import index_of
from .removal import remove_together
from .resolvers import name_of, name_servers
from .service import Memory, Service, links_of, needs_no_restart

IPV6_PREFIX_MIN = 64
"""dnsmasq refuses ranges of a shorter prefix (``dhcp-range`` in src/option.c)."""


class Dnsmasq(Driver):
    """Serves each scope with its own dnsmasq, in the network namespace of the host.

    A dnsmasq outlives this process.  The next driver with the same owner, namespace and
    runtime directory finds it in ``snapshot()`` and keeps it running.  If dnsmasq has ended,
    or the bridge was recreated, the scope is found as not running; a ``Change`` starts it
    again with the leases that still fit.  ``find()`` and ``snapshot()`` return the scopes of
    this owner only: a foreign server cannot be queried.

    Guests get DNS at the gateway, unless the scope says no.  It resolves the names of the
    scope's entries, and asks the servers of /etc/netns/NAME/resolv.conf, or else those of
    /etc/resolv.conf that the namespace reaches, for others.  These files are read when the
    scope is added, changed, reloaded or restarted.
    """

    name = "dnsmasq"
    batching: ClassVar[bool] = True
    carries = frozenset({DhcpScope})

    def __init__(self, host: Host) -> None:
        if not isinstance(host, RealHost):
            raise InvalidRequest("dnsmasq needs a real host, not a fake one", field="dhcp")
        self.host: RealHost = host
        self._locks: dict[str, threading.Lock] = {}
        self._memory = Memory()

    def missing(self, noun: Noun) -> str | None:
        if not isinstance(noun, DhcpScope):
            return f"dnsmasq does not carry {type(noun).__name__}"
        for subnet in noun.subnets:
            if subnet.version == 6 and subnet.prefixlen < IPV6_PREFIX_MIN:
                return (
                    f"dnsmasq cannot serve {subnet}: choose an IPv6 subnet of /{IPV6_PREFIX_MIN} "
                    "or longer"
                )
        return None if find_program("dnsmasq") else missing_program("dnsmasq")

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        wanted = (DhcpScope,) if types is None else tuple(types)
        if DhcpLease in wanted:
            return self._leases() | self.snapshot(set(wanted) - {DhcpLease})
        if not issubclass(DhcpScope, wanted):
            return {}
        found: dict[Key, Noun] = {}
        with _api_errors("list the dhcp scopes"):
            for link, index in self._indexes(links_of(self.host)).items():
                if (scope := Service(self.host, link, self._memory).inspected(index)) is not None:
                    found[scope.key] = scope
        return found

    def _leases(self) -> dict[Key, Noun]:
        with _api_errors("list the dhcp leases"):
            return {
                lease.key: lease
                for link in links_of(self.host)
                for lease in Service(self.host, link).leases()
            }

    def find(self, noun: Noun) -> Noun | None:
        if not isinstance(noun, DhcpScope) or not _is_link_name(link := noun.link):
            return None
        with _api_errors(f"look up the dhcp scope on {link}"):
            return Service(self.host, link, self._memory).scope(self._indexes([link])[link])

    def pid(self, scope: DhcpScope) -> int | None:
        """Return the pid of the process that serves the scope, or None."""
        with _api_errors(f"look up the process of {scope}"):
            return Service(self.host, scope.link, self._memory).pid()

    def reload(self, scope: DhcpScope) -> None:
        """Write the files of the scope again and make the running dnsmasq read them.

        Raise ``Missing`` if it is not running.
        """
        with self._service(scope, f"reload {scope}") as service:
            service.reload(service.running().scope)

    def perform(self, operation: Operation) -> None:
        """See :meth:`snnet.contract.Driver.perform`.

        A ``Change`` of entries or of ``reserved`` reloads.  A ``Change`` of the MTU or domain
        restarts, and so does one that gives a leased address to another guest.  A restart drops
        leases that the new scope does not have.
        """
        scope = operation.noun
        if not isinstance(scope, DhcpScope):
            raise Unsupported(f"cannot {operation}: {self.missing(scope)}", operation=operation)
        with self._service(scope, str(operation)) as service:
            if isinstance(operation, Add):
                settings.check(scope)
                service.add(scope)
            elif isinstance(operation, Change):
                old = operation.old
                settings.check(scope, old if isinstance(old, DhcpScope) else None)
                service.change(scope)
            else:
                remove_together([service])

    def batch(self, operation: Operation) -> str | None:
        """Removals go together: each server takes a while to end."""
        removes = isinstance(operation, Remove) and isinstance(operation.noun, DhcpScope)
        return "scopes to remove" if removes else None

    def perform_all(self, operations: Sequence[Operation]) -> None:
        """Remove several scopes; see :meth:`snnet.contract.Driver.perform_all`."""
        scopes = {operation.noun.key: operation.noun for operation in operations}
        if len(scopes) < len(operations):
            raise Missing("a scope is removed twice")
        with contextlib.ExitStack() as stack:
            services = [
                stack.enter_context(self._service(scope, "remove several dhcp scopes"))
                for _, scope in sorted(scopes.items())  # as all who hold several do
                if isinstance(scope, DhcpScope)
            ]
            remove_together(services)

    def obstacles(self) -> Sequence[str]:
        """Name servers of the host that guests cannot ask, if there are no others."""
        if not any(isinstance(noun, DhcpScope) and noun.dns for noun in self.snapshot().values()):
            return ()
        found = name_servers(self.host.netns.fd)
        if found.asked or not found.left_out:
            return ()
        name = name_of(self.host.netns.fd) or "NAME"
        return [
            f"name server {', '.join(found.left_out)} in {found.path} is not in this network "
            "namespace, so that guests resolve no names of the outside: write others to "
            f"/etc/netns/{name}/resolv.conf, then reload the scopes"
        ]

    def watch(self) -> Watch:
        raise Unsupported("dnsmasq has no link events: watch the backend instead")

    def alarm(self) -> ServerAlarm:
        """Watch the processes and the files of all scopes of this owner."""
        with _api_errors("watch the dhcp servers"):
            return ServerAlarm(self._served)

    def _served(self) -> Served:
        services = [Service(self.host, link) for link in links_of(self.host)]
        pids = [pid for service in services if (pid := service.pid()) is not None]
        return pids, [service.path for service in services]

    def close(self) -> None:
        """Does nothing; every dnsmasq continues."""

    def commands(self, operation: Operation) -> Sequence[str] | None:
        scope = operation.noun
        if not isinstance(scope, DhcpScope):
            return None
        path = Service(self.host, scope.link, self._memory).path
        start = shlex.join(settings.command_line(scope, path, serving_account()))
        pid = f'"$(cat {shlex.quote(str(path / settings.PID))})"'
        if isinstance(operation, Add):
            return [f"mkdir -m 0750 {shlex.quote(str(path))}", start]
        if isinstance(operation, Change) and isinstance(operation.old, DhcpScope):
            if needs_no_restart(operation.old, scope):
                return [f"kill -HUP {pid}"]
            return [f"kill {pid}", start]
        return [f"kill {pid}", f"rm -r {shlex.quote(str(path))}"]

    @contextlib.contextmanager
    def _service(self, scope: DhcpScope, what: str) -> Iterator[Service]:
        """Yield the service of the scope, for this thread only."""
        # setdefault is atomic; work on other scopes goes on in parallel.
        with self._locks.setdefault(scope.link, threading.Lock()), _api_errors(what):
            yield Service(self.host, scope.link, self._memory)

    def _indexes(self, links: Iterable[str]) -> dict[str, int | None]:
        """Return the current ifindex of each link in the namespace."""
        names = list(links)
        if not names:
            return {}
        return in_netns(self.host.netns.fd, lambda: {name: index_of(name) for name in names})


def _is_link_name(text: str) -> bool:
    """Whether a link could have this name: 1 to 15 bytes (IFNAMSIZ, linux/if.h)."""
    return text.isprintable() and "/" not in text and 1 <= len(text.encode()) <= 15


@contextlib.contextmanager
def _api_errors(what: str) -> Iterator[None]:
    """Turn a refusal of the system into the ``ApiError`` of its errno."""
    try:
        yield
    except OSError as error:
        raise error_for(error.errno or 0, what, detail=str(error)) from error
