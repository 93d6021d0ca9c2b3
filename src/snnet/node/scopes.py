"""The control of one DHCP scope of a concentrator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Network

from snnet.config import Address, check_mac
from snnet.contract import Change, Conflict, DhcpEntry, DhcpScope, Operation
from snnet.contract.addresses import mac_of
from snnet.core.addressing import check_guest, check_ipv4
from snnet.core.cnci_records import CnciRecords
from snnet.core.names import check_hostname
from snnet.core.wanted import check_entries

from .calls.scopes import Alter, ChangeScope, is_running, known_scope
from .deadline import NO_LIMIT, CancelToken, Deadline
from .engine import Engine

MakeDeadline = Callable[[str, float | None, CancelToken | None], Deadline]


class ScopeControl:
    """The DHCP and DNS server of one subnet.

    In subnets of /20 or smaller every address has an entry from the start; in larger
    subnets only addresses with an added entry get a lease.  Added entries survive
    reload, restart and a new process.
    """

    def __init__(
        self,
        ready: Callable[[], Engine[CnciRecords]],
        deadline: MakeDeadline,
        network: IPv4Network,
    ) -> None:
        self._ready = ready
        self._deadline = deadline
        self._network = network
        self._scope()

    @property
    def entries(self) -> tuple[DhcpEntry, ...]:
        """All static leases, added and generated."""
        return tuple(self._scope().leases())

    @property
    def added(self) -> tuple[DhcpEntry, ...]:
        """The entries added here."""
        return self._scope().entries

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        with self._ready().look(NO_LIMIT) as host:
            return is_running(self._scope(), host)

    def add_entry(
        self, address: Address, mac: str | None = None, hostname: str | None = None
    ) -> DhcpEntry:
        """Lease ``address`` to ``mac`` (default: ``mac_for(address)``) from now on.

        Adding the same entry again is not an error.  Raises Conflict if another added
        entry has the address or the MAC.
        """
        ip = check_guest(check_ipv4(address, "address"), self._network, "address")
        entry = DhcpEntry(
            mac=mac_of(ip) if mac is None else check_mac(mac, "mac"),
            address=ip,
            hostname=None if hostname is None else check_hostname(hostname, "hostname"),
        )
        self._change("add_entry", lambda scope: with_entries(scope, [entry]))
        return entry

    def add_entries(self, entries: Iterable[DhcpEntry]) -> None:
        """Add many entries, all or none of them, with one reload of the server.

        Raises like ``add_entry``, and names the entry.
        """
        new = check_entries(entries, self._network)
        self._change("add_entries", lambda scope: with_entries(scope, new))

    def remove_entry(self, address: Address) -> None:
        """Remove the added entry of the address; an unknown address is not an error."""
        ip = check_ipv4(address, "address")
        self._change(
            "remove_entry",
            lambda scope: replace(
                scope, entries=tuple(entry for entry in scope.entries if entry.address != ip)
            ),
        )

    def reload(self) -> None:
        """Make the server read its entries again."""
        self._apply("reload", lambda scope, _: [Change(scope, scope)])

    def start(self) -> None:
        """Start the server if it is not running."""
        self._apply("start", lambda scope, running: _switch(scope, running(), True))

    def stop(self) -> None:
        """Stop the server; the node keeps the scope and its entries for ``start()``."""
        self._apply("stop", lambda scope, running: _switch(scope, running(), False))

    def restart(self) -> None:
        """Stop the server if it is running, and start it; leases are kept."""
        self._apply(
            "restart",
            lambda scope, running: [
                *_switch(scope, running(), False),
                *_switch(scope, False, True),
            ],
        )

    def _scope(self) -> DhcpScope:
        engine = self._ready()
        with engine.claims.lock:
            return known_scope(engine.records, self._network)

    def _change(self, what: str, change: Callable[[DhcpScope], DhcpScope]) -> None:
        def operations(scope: DhcpScope, _: Callable[[], bool]) -> list[Operation]:
            new = change(scope)
            return [] if new == scope else [Change(new, scope)]

        self._apply(what, operations)

    def _apply(self, what: str, alter: Alter) -> None:
        """Run operations on the scope alone."""
        engine, deadline = self._ready(), self._deadline(f"dhcp {what}", None, None)
        engine.run(ChangeScope(what, self._network, alter), deadline)


def with_entries(scope: DhcpScope, entries: Iterable[DhcpEntry]) -> DhcpScope:
    """Return the scope with these entries; Conflict if another has an address or a MAC."""
    addresses = {entry.address: entry for entry in scope.entries}
    macs = {entry.mac: entry for entry in scope.entries}
    added: list[DhcpEntry] = []
    for entry in entries:
        same = addresses.get(entry.address)
        if same == entry:
            continue
        other = same or macs.get(entry.mac)
        if other is not None:
            raise Conflict(f"{other.address} belongs to {other.mac}: remove that entry first")
        addresses[entry.address] = macs[entry.mac] = entry
        added.append(entry)
    return replace(scope, entries=(*scope.entries, *added)) if added else scope


def _switch(scope: DhcpScope, now: bool, wanted: bool) -> list[Operation]:
    """Return the operations that start or stop the server."""
    new, old = replace(scope, running=wanted), replace(scope, running=now)
    return [Change(new, old)] if wanted != now else []
