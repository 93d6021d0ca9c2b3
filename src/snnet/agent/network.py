"""The network role: the concentrators that run on a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress

from snnet.cluster.claims import id_of
from snnet.contract import Driver, InvalidRequest, SnnetError
from snnet.core.addressing import written
from snnet.core.concentrators import Concentrator
from snnet.core.requests import SubnetId, why_not_mtu
from snnet.core.subnets import CnciSubnet
from snnet.node import Cnci, ComputeNode
from snnet.node.results import ReconciledItem

from . import requests
from .compute import PATIENCE
from .statuses import Said, wait_after
from .wanted import TenantWanted

_log = logging.getLogger("snnet.agent")


class NetworkRole:
    """Runs the concentrators that are placed on a host.

    ``open_cnci`` opens a tenant's concentrator in its network namespace, on the host of
    ``backend``, for a context.
    """

    def __init__(
        self, open_cnci: Callable[[Concentrator], AbstractContextManager[Cnci]], backend: Driver
    ) -> None:
        self._open, self._backend = open_cnci, backend
        self.running: dict[str, Cnci] = {}
        self.retry_in: float | None = None
        """Seconds after which what could not be shut down is tried again, if there is some."""
        self._tries = 0
        self._contexts: dict[str, ExitStack] = {}
        """What closes each of them."""
        self._done: dict[str, tuple[TenantWanted, list[ReconciledItem]]] = {}
        """What was carried out without an error, and is left to the look for drift."""

    def stop(
        self, made: Mapping[str, Concentrator], keep: Iterable[str] = ()
    ) -> dict[str, SnnetError]:
        """Shut down the concentrators of all other tenants; return why some could not be.

        Also those that only an earlier agent ran, of which ``made`` has the host's sides:
        their DHCP servers would live on in a namespace without a name.  ``retry_in`` says when
        to try again.
        """
        left: dict[str, SnnetError] = {}
        for tenant in (self.running.keys() | made.keys()) - set(keep):
            try:
                self._shut_down(tenant, made.get(tenant))
            except SnnetError as error:
                _log.warning("the concentrator of %s is not removed yet: %s", tenant, error)
                left[tenant] = error
            if tenant in self.running:
                self._let_go(tenant)
        self.retry_in = wait_after(self._tries) if left else None
        self._tries = self._tries + 1 if left else 0
        return left

    def _shut_down(self, tenant: str, side: Concentrator | None) -> None:
        """Shut down what is there, also where it does not fit the configuration any more."""
        if tenant in self.running:
            self.running[tenant].shutdown()
        elif side is not None and self._is_there(side):
            with self._open(side) as cnci:
                # Of another topology, or of a former pool, it has no uplink that is known now.
                with suppress(InvalidRequest):
                    cnci.init()
                cnci.shutdown()

    def _is_there(self, side: Concentrator) -> bool:
        try:
            with self._backend.inside(side.netns, side.namespace.alias):
                return True
        except SnnetError:  # no namespace of this node has the name now
            return False

    def leave(self, made: Mapping[str, Concentrator]) -> dict[str, TenantWanted | None]:
        """Shut down concentrators whose namespace was replaced; return what each one had.

        After somebody deleted a namespace, and a repair created it again, its name leads to a new
        one, which is empty.
        """
        left: dict[str, TenantWanted | None] = {}
        for tenant in self.running.keys() & made.keys():
            if not self._is_elsewhere(self.running[tenant], made[tenant]):
                continue
            _log.warning("the concentrator of %s has a new namespace", tenant)
            known = self._done.get(tenant)
            left[tenant] = known[0] if known else None
            try:
                # Its DHCP servers keep the old one alive.
                self.running[tenant].shutdown()
            except SnnetError as error:
                _log.warning("the old concentrator of %s: %s", tenant, error)
            self._let_go(tenant)
        return left

    def _is_elsewhere(self, cnci: Cnci, side: Concentrator) -> bool:
        try:
            with self._backend.inside(side.netns, side.namespace.alias) as backend:
                return backend.host.netns != cnci.backend.host.netns
        except SnnetError:  # no namespace of this node has the name now
            return False

    def follow(self, made: Mapping[str, Concentrator]) -> bool:
        """Set concentrators up again in the namespaces that replaced theirs.

        Return whether there are any.  What fails is left to ``carry_out``.
        """
        left = self.leave(made)
        for tenant, item in left.items():
            try:
                if item is not None:
                    self._reconcile(item, made[tenant])
            except SnnetError as error:
                _log.warning("the concentrator of %s: %s", tenant, error)
        return bool(left)

    def hold(self, tenants: Iterable[str], made: Mapping[str, Concentrator]) -> None:
        """Follow concentrators that stay as they are, so that drift of theirs is repaired."""
        for tenant in tenants:
            self._done.pop(tenant, None)
            try:
                self._running(tenant, made.get(tenant))
            except SnnetError as error:
                _log.warning("the concentrator of %s: %s", tenant, error)

    def gateways(self, node: ComputeNode, tenants: Container[str]) -> dict[SubnetId, CnciSubnet]:
        """The concentrators' sides of the host's subnets, of these tenants.

        Only in topology "mesh" others must know them.
        """
        if not node.site.mesh:
            return {}
        sides = {
            (tenant, side.networks): side
            for tenant, cnci in self.running.items()
            if tenant in tenants
            for side in cnci.topology().subnets
        }
        return {
            subnet.id: sides[subnet.tenant_id, subnet.networks]
            for subnet in node.topology().subnets
            if (subnet.tenant_id, subnet.networks) in sides
        }

    def close(self) -> None:
        """Let go of all concentrators, and leave them running."""
        for tenant in tuple(self.running):
            self._let_go(tenant)

    def _let_go(self, tenant: str) -> None:
        self._done.pop(tenant, None)
        del self.running[tenant]
        self._contexts.pop(tenant).close()

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
                limit = self.running[tenant].site.mtu
                yield from _said(item, done, side, errors.get(tenant), limit)

    def _running(self, tenant: str, side: Concentrator | None) -> Cnci:
        """The tenant's concentrator, opened if it is not yet."""
        cnci = self.running.get(tenant)
        if cnci is None:
            if side is None:
                raise SnnetError("the host's side is not there yet")
            with ExitStack() as opened:
                cnci = opened.enter_context(self._open(side))
                cnci.init()
                self.running[tenant], self._contexts[tenant] = cnci, opened.pop_all()
        return cnci

    def _reconcile(self, item: TenantWanted, side: Concentrator) -> list[ReconciledItem]:
        known = self._done.pop(item.tenant, None)
        if known is None or known[0] != item:
            known = (item, self._carried_out(item, side))
        if not any(part.error for part in known[1]):
            self._done[item.tenant] = known
        return known[1]

    def _carried_out(self, item: TenantWanted, side: Concentrator) -> list[ReconciledItem]:
        return (
            self._running(item.tenant, side)
            .reconcile(
                subnets=requests.subnets(item, side.links),
                # Where the host translates, its guests' IPv6 addresses mean nothing outside.
                nat=[{"device": side.uplink, "nat66": side.ip6 is not None}],
                exits=[
                    (side.uplink, net.subnet)
                    for net in item.networks
                    if id_of(net) not in item.refused
                ],
                forwards=requests.forwards(item, side.uplink),
                public_ips=requests.public_ips(item, side.uplink),
                timeout=PATIENCE,
            )
            .items
        )


def _said(
    item: TenantWanted,
    done: Iterable[ReconciledItem],
    side: Concentrator,
    host_error: SnnetError | None,
    limit: int,
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
        error = item.refused.get(id_of(network)) or error_of("subnet", name)
        error = error or error_of("exit", name) or error_of("nat")
        error = error or item.clashes.get(id_of(network))
        if network.mtu is not None:  # its guests have what the path carries
            error = error or why_not_mtu(network.subnet, network.mtu, limit)
        yield Said(id_of(network), network.revision, error=error, details={"netns": side.netns})
    for forward in item.forwards:
        errors = (error_of(forward.protocol, str(port)) for port in forward.port)
        error = item.refused.get(id_of(forward)) or next(filter(None, errors), None)
        yield Said(id_of(forward), forward.revision, error=error)
    for public in item.public_ips:
        error = item.refused.get(id_of(public)) or error_of(str(public.address))
        yield Said(id_of(public), public.revision, error=error)
