"""Creates, changes and deletes objects of every kind, each in one commit with its claims."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from snnet.contract import Conflict, Missing, Reading, Registry

from . import keys, networks, rules, security, store, stored, vnics
from .addresses import AddressPool, epoch, holder
from .claims import Claim, Id
from .documents import Forward, Network, PublicIp, Vnic, Wanted
from .drafts import Draft, carry_out
from .security import SecurityGroup
from .views import read_nodes

W = TypeVar("W", bound=Wanted)


class Writer:
    """Creates, changes and deletes objects in a registry.

    Where there is ``given``, it names the fields that were asked for.  If the object is
    there already, these must be equal (``Conflict``), and the others stay as they are.
    What is ``reserved`` is given to nobody who does not ask for it.
    """

    def __init__(self, registry: Registry, reserved: Collection[Claim] = ()) -> None:
        self.registry = registry
        self._reserved = reserved
        self._pools: dict[tuple[str, str], AddressPool] = {}

    def create(self, wanted: Wanted, given: frozenset[str]) -> Wanted:
        """Create an object of any kind.  A group that is there gets these rules."""
        match wanted:
            case Network():
                return self.network(wanted, given)
            case Vnic():
                return self.vnic(wanted, given)
            case Forward():
                return self.forward(wanted, given)
            case PublicIp():
                return self.public_ip(wanted)
            case SecurityGroup():
                return self.set_group(wanted)
            case _:
                raise TypeError(f"no way to create a {type(wanted).__name__}")

    def network(self, wanted: Network, given: frozenset[str]) -> Network:
        reads = networks.creation_reads(wanted)
        return carry_out(
            self.registry,
            lambda: networks.creation(wanted, given, self.registry.read(*reads), self._reserved),
        )

    def vnic(self, wanted: Vnic, given: frozenset[str]) -> Vnic:
        place = (wanted.tenant, wanted.network)

        def decide() -> Draft[Vnic]:
            old = store.find(self.registry, Vnic, wanted.tenant, wanted.name)
            if old is not None:
                return vnics.repeated(old, wanted, given)
            reading = self.registry.read(
                keys.network(*place),
                keys.macs(*place),
                *(() if wanted.node else (keys.NODES, keys.ALIVE)),
                *security.reads(wanted),
            )
            network = networks.needed_network(reading, *place)
            vnics.check_fits(wanted, network)
            node = wanted.node or vnics.choose_node(
                wanted, read_nodes(reading), socket.gethostname()
            )
            placed = replace(wanted, node=node)
            made, pool = self._addressed(placed, network, epoch(reading, network))
            draft = vnics.creation(made, network.revision, pool)
            security.refer(made, reading, draft)
            return draft

        def stale() -> None:
            self._pools.pop(place, None)
            self._check_free(wanted)

        made = carry_out(self.registry, decide, stale)
        if place in self._pools:
            self._pools[place].take(made)
        return made

    def _addressed(self, placed: Vnic, network: Network, since: int) -> tuple[Vnic, AddressPool]:
        """A VNIC with addresses, and the pool they are from.

        What is remembered as taken may be free by now: a refusal rests on a new reading.
        """
        place = (network.tenant, network.name)
        while True:
            remembered = self._pools.get(place)
            pool = self._pool(network, since)
            try:
                made = replace(placed, ip=pool.choose(placed))
            except Conflict:
                if pool is not remembered:
                    raise
            else:
                if pool is not remembered or not pool.rival(made):
                    return made, pool
            self._pools.pop(place, None)

    def _pool(self, network: Network, since: int) -> AddressPool:
        """What is free in a network, known at least since the last VNIC with a MAC of its own."""
        place = (network.tenant, network.name)
        pool = self._pools.get(place)
        if pool is None or pool.network != network or pool.epoch != since:
            reading = self.registry.read(*AddressPool.reads(network))
            pool = self._pools[place] = AddressPool(network, reading, self._reserved)
        return pool

    def _check_free(self, wanted: Vnic) -> None:
        """Raise Conflict if an address that was asked for belongs to another VNIC."""
        for ip in wanted.ip:
            key = keys.address(wanted.tenant, wanted.network, ip)
            claim = self.registry.read(key).entries.get(key)
            if claim is not None and claim.document.get("vnic") != wanted.name:
                raise Conflict(f"{ip} belongs to {holder(claim)}: choose another address")

    def forward(self, wanted: Forward, given: frozenset[str]) -> Forward:
        nodes = read_nodes(self.registry.read(keys.NODES, keys.ALIVE))
        shared = rules.shares_ports(nodes)
        reads = rules.forward_reads(wanted, shared=shared)
        return carry_out(
            self.registry,
            lambda: rules.forward_creation(
                wanted, given, self.registry.read(*reads), shared=shared
            ),
        )

    def public_ip(self, wanted: PublicIp) -> PublicIp:
        reads = rules.public_ip_reads(wanted)
        return carry_out(
            self.registry,
            lambda: rules.public_ip_creation(wanted, self.registry.read(*reads)),
        )

    def group(self, wanted: SecurityGroup, given: frozenset[str]) -> SecurityGroup:
        reads = [keys.group(wanted.tenant, wanted.name), *security.reads(wanted)]
        return carry_out(
            self.registry,
            lambda: security.creation(wanted, given, self.registry.read(*reads)),
        )

    def set_group(self, wanted: SecurityGroup) -> SecurityGroup:
        """Create a group, or give the one that is there these rules."""
        key = keys.group(wanted.tenant, wanted.name)

        def decide() -> Draft[SecurityGroup]:
            reading = self.registry.read(key, *security.reads(wanted))
            entry = reading.entries.get(key)
            if entry is None:
                return security.creation(wanted, frozenset(), reading)
            old = stored.read(SecurityGroup, key, entry)
            return Draft(old) if old == wanted else security.update(old, wanted, reading)

        return carry_out(self.registry, decide)

    def update(self, kind: type[W], tenant: str, name: str, changes: Mapping[str, Any]) -> W:
        """Change fields of an object.  The same values again write nothing.

        Raises ``Missing``, or ``Conflict`` for a field that cannot be changed.
        """
        write: Callable[[Any, Any, Reading], Draft[Any]] = _UPDATES[kind]

        def decide() -> Draft[W]:
            old = store.need(self.registry, kind, tenant, name)
            new = store.changed(old, changes)
            if new == old:
                return Draft(old)
            target = getattr(new, "to", None)
            reads = [keys.vnic_name(tenant, target)] if target else security.reads(new)
            if isinstance(new, Vnic):
                reads = vnics.update_reads(new)
            if isinstance(new, Network):
                reads = [keys.NODES]
            return write(old, new, self.registry.read(*reads))

        return carry_out(self.registry, decide)

    def delete(
        self,
        kind: type[Wanted],
        tenant: str,
        name: str,
        *,
        force: bool = False,
        leave: Collection[Id] = (),
    ) -> None:
        """Delete an object, and with ``force`` what uses it.  An unknown one is no error.

        ``leave`` are rules that may lead to a VNIC that is deleted: the caller changes them next.
        """
        with suppress(Missing):
            if kind is Network:
                self._delete_network(tenant, name, force=force)
            else:
                carry_out(
                    self.registry,
                    lambda: self._deletion(kind, tenant, name, force=force, leave=leave),
                )

    def _deletion(
        self, kind: type[Wanted], tenant: str, name: str, *, force: bool, leave: Collection[Id]
    ) -> Draft[Any]:
        found = store.need(self.registry, kind, tenant, name, stored.salvage)
        if isinstance(found, Vnic):
            self._pools.pop((tenant, found.network), None)
            reading = self.registry.read(*vnics.deletion_reads(found))
            return vnics.deletion(found, reading, force=force, leave=leave)
        if isinstance(found, Forward):
            return rules.forward_deletion(found)
        if isinstance(found, SecurityGroup):
            return security.deletion(found, self.registry.read(*security.deletion_reads(tenant)))
        assert isinstance(found, PublicIp)
        return rules.public_ip_deletion(found)

    def _delete_network(self, tenant: str, name: str, *, force: bool) -> None:
        key = keys.network(tenant, name)
        found = store.need(self.registry, Network, tenant, name, stored.salvage)
        if not force and not found.closing:
            self._check_unused(found)
        closing = carry_out(
            self.registry, lambda: networks.closing(self.registry.read(key), tenant, name)
        )
        # Nothing new is put on a network that is closing; what was put there just now stays.
        try:
            if not force:
                self._check_unused(closing)
        except Conflict:
            carry_out(self.registry, lambda: networks.reopening(self.registry.read(key), closing))
            raise
        for user in self._users(closing):
            self.delete(Vnic, tenant, user, force=True)
        reads = networks.deletion_reads(closing)
        carry_out(self.registry, lambda: networks.deletion(closing, self.registry.read(*reads)))
        self._pools.pop((tenant, name), None)

    def _check_unused(self, network: Network) -> None:
        """Raise Conflict for a network with VNICs."""
        if users := self._users(network):
            raise Conflict(
                f"{network.title} has the VNICs {', '.join(users)}: delete them first, or use force"
            )

    def _users(self, network: Network) -> list[str]:
        """The names of a network's VNICs."""
        claims = self.registry.read(keys.addresses(network.tenant, network.name)).entries
        names = (claim.document.get("vnic") for claim in claims.values())
        return list(dict.fromkeys(str(name) for name in names if name))


_UPDATES: Mapping[type[Wanted], Callable[..., Draft[Any]]] = {
    Network: networks.update,
    Vnic: vnics.update,
    Forward: rules.forward_update,
    PublicIp: rules.public_ip_update,
    SecurityGroup: security.update,
}
