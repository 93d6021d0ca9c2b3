"""One DHCP scope of a concentrator, in the caller's hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from snnet.config import Address, check_mac
from snnet.contract import (
    Change,
    Conflict,
    DhcpEntry,
    DhcpScope,
    InvalidRequest,
    Operation,
    Plan,
)
from snnet.contract.dhcp import mac_of
from snnet.core.addressing import check_guest, check_ipv4
from snnet.core.names import check_hostname

from .claims import Claim

if TYPE_CHECKING:
    from .cnci import Cnci


class ScopeControl:
    """The DHCP and DNS server of one subnet.

    For subnets of /20 and longer every address has an entry from the start;
    for larger ones only those added here get a lease.  Added entries survive
    reload, restart and a new process.
    """

    def __init__(self, cnci: Cnci, network: IPv4Network) -> None:
        self._cnci = cnci
        self._network = network
        self._scope()

    @property
    def entries(self) -> tuple[DhcpEntry, ...]:
        """Every static lease, added and generated."""
        return tuple(self._scope().leases())

    @property
    def added(self) -> tuple[DhcpEntry, ...]:
        """The entries added here."""
        return self._scope().entries

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        found = self._cnci._drivers.of(self._scope()).find(self._scope())
        return isinstance(found, DhcpScope) and found.running

    def add_entry(
        self, address: Address, mac: str | None = None, hostname: str | None = None
    ) -> DhcpEntry:
        """Lease ``address`` to ``mac`` (default: ``mac_for(address)``), from now on.

        The same entry again is harmless; an address or a MAC that another
        added entry has is a Conflict.
        """
        ip = check_guest(check_ipv4(address, "address"), self._network, "address")
        entry = DhcpEntry(
            mac=mac_of(ip) if mac is None else check_mac(mac, "mac"),
            address=ip,
            hostname=None if hostname is None else check_hostname(hostname, "hostname"),
        )

        def added(scope: DhcpScope) -> DhcpScope:
            if entry in scope.entries:
                return scope
            for other in scope.entries:
                if other.address == entry.address or other.mac == entry.mac:
                    raise Conflict(
                        f"{other.address} belongs to {other.mac}: remove that entry first"
                    )
            return replace(scope, entries=(*scope.entries, entry))

        self._change("add_entry", added)
        return entry

    def remove_entry(self, address: Address) -> None:
        """Lease the address to nobody by an added entry; unknown is no error."""
        ip = check_ipv4(address, "address")
        self._change(
            "remove_entry",
            lambda scope: replace(
                scope, entries=tuple(entry for entry in scope.entries if entry.address != ip)
            ),
        )

    def reload(self) -> None:
        """Have the server read its entries again."""
        self._apply("reload", lambda scope: [Change(scope, scope)])

    def start(self) -> None:
        """Start the server if it does not run."""
        self._apply("start", lambda scope: self._running(scope, True))

    def stop(self) -> None:
        """Stop the server; the scope stays known, with its entries, until ``start()``."""
        self._apply("stop", lambda scope: self._running(scope, False))

    def restart(self) -> None:
        """Stop the server if it runs, and start it; leases stay."""
        self._apply(
            "restart",
            lambda scope: [*self._running(scope, False), *self._running(scope, True, False)],
        )

    def _running(self, scope: DhcpScope, wanted: bool, now: bool | None = None) -> list[Operation]:
        now = self.running if now is None else now
        new, old = replace(scope, running=wanted), replace(scope, running=now)
        return [Change(new, old)] if wanted != now else []

    def _scope(self) -> DhcpScope:
        self._cnci._check_ready()
        subnet = self._cnci._known.subnets.get(self._network)
        if subnet is None:
            raise InvalidRequest(
                f"{self._network} is not a subnet of this concentrator: add_remote_subnet it first",
                field="subnet",
            )
        return subnet.scope

    def _change(self, what: str, change: Callable[[DhcpScope], DhcpScope]) -> None:
        def operations(scope: DhcpScope) -> list[Operation]:
            new = change(scope)
            if new == scope:
                return []
            return [Change(new, scope)]

        self._apply(what, operations)

    def _apply(self, what: str, operations: Callable[[DhcpScope], list[Operation]]) -> None:
        """Run operations on the scope alone, and remember the scope they lead to."""
        cnci = self._cnci
        deadline = cnci._begin(f"dhcp {what}", None, None)
        claim = Claim(frozenset({("subnet", self._network)}))
        with cnci._telling() as told, cnci._claims.hold(lambda: claim, deadline):
            plan = Plan(tuple(operations(self._scope())))
            cnci._set_up(told, plan, deadline, f"dhcp {what} {self._network}")
            last = plan.operations[-1].noun if plan else None
            if isinstance(last, DhcpScope):  # nothing to do leaves it as it was
                with cnci._claims.lock:
                    subnet = cnci._known.subnets[self._network]
                    cnci._known.subnets[self._network] = replace(subnet, scope=last)
