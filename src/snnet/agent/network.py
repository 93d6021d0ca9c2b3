"""The network role: the concentrators that run on a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from snnet.cluster import Network, keys
from snnet.cluster.placing import chosen
from snnet.cluster.views import read_nodes, read_placements, stored
from snnet.contract import Delete, Put, Reading, Registry, SnnetError, Stale
from snnet.core.addressing import written
from snnet.core.concentrators import Concentrator
from snnet.node import Cnci
from snnet.node.results import ReconciledItem

from . import wanted as wants
from .compute import PATIENCE
from .statuses import Said
from .wanted import TenantWanted, id_of

_log = logging.getLogger("snnet.agent")


class NetworkRole:
    """Runs the concentrators that are placed on a host.

    ``open_cnci`` opens a tenant's concentrator in its network namespace.
    """

    def __init__(self, open_cnci: Callable[[Concentrator], Cnci]) -> None:
        self._open = open_cnci
        self.running: dict[str, Cnci] = {}

    def stop(self, made: Mapping[str, Concentrator], keep: Iterable[str] = ()) -> None:
        """Shut down the concentrators of all other tenants.

        Also those that only an earlier agent ran, of which ``made`` has the host's sides:
        their DHCP servers would live on in a namespace without a name.
        """
        for tenant in (self.running.keys() | made.keys()) - set(keep):
            try:
                self._running(tenant, made.get(tenant)).shutdown()
            except SnnetError as error:
                _log.warning("the concentrator of %s is not removed yet: %s", tenant, error)
            if tenant in self.running:
                self._let_go(tenant)

    def close(self) -> None:
        """Let go of all concentrators, and leave them running."""
        for tenant in tuple(self.running):
            self._let_go(tenant)

    def _let_go(self, tenant: str) -> None:
        self.running.pop(tenant).close()

    def carry_out(
        self,
        wanted: Mapping[str, TenantWanted],
        made: Mapping[str, Concentrator],
        errors: Mapping[str, SnnetError],
    ) -> Iterator[Said]:
        """Have each tenant's concentrator as wanted; say what became of its objects.

        ``made`` are the host's sides of the concentrators, and ``errors`` says why one of
        them is missing.
        """
        for tenant, item in wanted.items():
            side = made.get(tenant)
            try:
                if side is None:
                    raise errors.get(tenant) or SnnetError("the host's side is not there yet")
                done = self._reconcile(item, side)
            except SnnetError as error:
                _log.warning("the concentrator of %s: %s", tenant, error)
                for thing in (*item.networks, *item.forwards, *item.public_ips):
                    yield Said(id_of(thing), thing.revision, error=str(error))
            else:
                yield from _said(item, done, side, errors.get(tenant))

    def _running(self, tenant: str, side: Concentrator | None) -> Cnci:
        """The tenant's concentrator, opened if it is not yet."""
        cnci = self.running.get(tenant)
        if cnci is None:
            if side is None:
                raise SnnetError("the host's side is not there yet")
            cnci = self._open(side)
            try:
                cnci.init()
            except BaseException:
                cnci.close()
                raise
            self.running[tenant] = cnci
        return cnci

    def _reconcile(self, item: TenantWanted, side: Concentrator) -> list[ReconciledItem]:
        return (
            self._running(item.tenant, side)
            .reconcile(
                subnets=wants.subnets(item, side.links),
                nat=[side.uplink],
                exits=[(side.uplink, net.subnet) for net in item.networks],
                forwards=wants.forwards(item, side.uplink),
                public_ips=wants.public_ips(item, side.uplink),
                timeout=PATIENCE,
            )
            .items
        )


def _said(
    item: TenantWanted,
    done: Iterable[ReconciledItem],
    side: Concentrator,
    host_error: SnnetError | None,
) -> Iterator[Said]:
    failed = {part.key: part.error for part in done if part.error is not None}

    def error_of(*parts: str) -> str | None:
        """The error of an item whose key has all of these parts, or that of the host's side."""
        for key, error in failed.items():
            if all(part in map(str, key) for part in parts):
                return str(error)
        return None if host_error is None else str(host_error)

    for network in item.networks:
        # Without its way out a network is not what was wanted either.
        name = written(network.subnet)
        error = error_of("subnet", name) or error_of("exit", name) or error_of("nat")
        yield Said(id_of(network), network.revision, error=error, details={"netns": side.netns})
    for forward in item.forwards:
        errors = (error_of(forward.protocol, str(port)) for port in forward.port)
        error = item.refused.get(id_of(forward)) or next(filter(None, errors), None)
        yield Said(id_of(forward), forward.revision, error=error)
    for public in item.public_ips:
        error = item.refused.get(id_of(public)) or error_of(str(public.address))
        yield Said(id_of(public), public.revision, error=error)


def place(registry: Registry, reading: Reading, me: str) -> None:
    """Place the tenants' concentrators that this node should run and nobody does.

    Each tenant with a network has one concentrator.  Its node is chosen by rendezvous
    hashing among the network nodes whose agents are alive, so that all agents agree
    without a leader.  A tenant without a network loses its concentrator.
    """
    tenants = {network.tenant for network in stored(reading, Network)}
    nodes = [
        node.name
        for node in read_nodes(reading)
        if "network" in node.roles and node.alive and not node.draining
    ]
    placed = read_placements(reading)
    for tenant in sorted(tenants - placed.keys()):
        if chosen(f"concentrator/{tenant}", nodes) == me:
            with suppress(Stale):
                key = keys.concentrator(tenant)
                registry.commit([Put(key, {"node": me})], {key: 0})
    for tenant, entry in placed.items():
        if tenant not in tenants and entry.document.get("node") == me:
            with suppress(Stale):
                registry.commit([Delete(entry.key)], {entry.key: entry.revision})
