"""The control of one DHCP scope of a concentrator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from snnet.checks import Address, check_address, check_families, check_mac
from snnet.contract import Change, Conflict, DhcpEntry, DhcpLease, DhcpScope, Operation
from snnet.contract.addresses import mac_of
from snnet.core.addressing import Networks, check_guests
from snnet.core.cnci_records import CnciRecords
from snnet.core.names import check_hostname
from snnet.core.wanted import check_entries

from .calls.scopes import Alter, ChangeScope, is_running, known_scope
from .deadline import CancelToken, Deadline
from .engine import Engine

MakeDeadline = Callable[[str, float | None, CancelToken | None], Deadline]


class ScopeControl:
    """The DHCP and DNS server of one subnet.

    In IPv4 subnets of /20 or smaller every address has an entry from the start; in larger
    ones, and in IPv6, only addresses with an added entry get a lease.  Added entries survive
    reload, restart and a new process.
    """

    def __init__(
        self,
        ready: Callable[[], Engine[CnciRecords]],
        deadline: MakeDeadline,
        networks: Networks,
    ) -> None:
        self._ready = ready
        self._deadline = deadline
        self._networks = networks
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
        with self._ready().look() as host:
            return is_running(self._scope(), host)

    def held(self) -> list[DhcpLease]:
        """The leases that guests hold now."""
        link = self._scope().link
        with self._ready().look() as host:
            return [lease for lease in host.leases() if lease.link == link]

    def add_entry(
        self,
        address: Address | tuple[Address, ...],
        mac: str | None = None,
        hostname: str | None = None,
    ) -> DhcpEntry:
        """Lease ``address`` to ``mac`` (default: ``mac_for(address)``) from now on.

        Of one address or one of each family; returns the entry of the first, IPv4 where
        there is one.  Adding the same entry again is not an error.  Raises Conflict if
        another added entry has the address, or the MAC with an address of that family.
        """
        ips = check_families(address, "address", check_address)
        check_guests(ips, self._networks, "address")
        mac = mac_of(ips[0]) if mac is None else check_mac(mac, "mac")
        hostname = None if hostname is None else check_hostname(hostname, "hostname")
        entries = [DhcpEntry(mac=mac, address=ip, hostname=hostname) for ip in ips]
        self._change("add_entry", lambda scope: with_entries(scope, entries))
        return entries[0]

    def add_entries(self, entries: Iterable[DhcpEntry]) -> None:
        """Add many entries, all or none of them, with one reload of the server.

        Raises like ``add_entry``, and names the entry.
        """
        new = check_entries(entries, self._networks)
        self._change("add_entries", lambda scope: with_entries(scope, new))

    def remove_entry(self, address: Address) -> None:
        """Remove the added entry of the address; an unknown address is not an error."""
        ip = check_address(address, "address")
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
            return known_scope(engine.records, self._networks)

    def _change(self, what: str, change: Callable[[DhcpScope], DhcpScope]) -> None:
        def operations(scope: DhcpScope, _: Callable[[], bool]) -> list[Operation]:
            new = change(scope)
            return [] if new == scope else [Change(new, scope)]

        self._apply(what, operations)

    def _apply(self, what: str, alter: Alter) -> None:
        """Run operations on the scope alone."""
        engine, call = self._ready(), ChangeScope(what, self._networks, alter)
        engine.run(call, self._deadline(call.what, None, None))


def with_entries(scope: DhcpScope, entries: Iterable[DhcpEntry]) -> DhcpScope:
    """Return the scope with these entries; Conflict if another has an address or a MAC."""
    # Hashing an address takes four times as long as its number.
    addresses = {_number(entry): entry for entry in scope.entries}
    macs = {(entry.mac, entry.address.version): entry for entry in scope.entries}
    added: list[DhcpEntry] = []
    for entry in entries:
        same = addresses.get(_number(entry))
        if same == entry:
            continue
        mac = (entry.mac, entry.address.version)
        other = same or macs.get(mac)
        if other is not None:
            raise Conflict(f"{other.address} belongs to {other.mac}: remove that entry first")
        addresses[_number(entry)] = macs[mac] = entry
        added.append(entry)
    return replace(scope, entries=(*scope.entries, *added)) if added else scope


def _switch(scope: DhcpScope, now: bool, wanted: bool) -> list[Operation]:
    """Return the operations that start or stop the server."""
    new, old = replace(scope, running=wanted), replace(scope, running=now)
    return [Change(new, old)] if wanted != now else []


def _number(entry: DhcpEntry) -> tuple[int, int]:
    return entry.address.version, int(entry.address)
