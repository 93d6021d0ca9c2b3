"""The plugin's documents in a cluster: what each means for VNICs and addresses.

An endpoint is a VNIC of the cluster, an address in use is a claim of it, and a network may
be one that the plugin created.  A document and what it means are written in one commit, so
that they agree whenever the process is killed.  The host's agent does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Generic, TypeVar, cast

from snnet import cluster
from snnet.cluster import keys, networks, stored, vnics
from snnet.cluster.addresses import holder
from snnet.cluster.drafts import Draft, committed, seen
from snnet.config import VnicRole
from snnet.contract import Conflict, Delete, Entry, IPAddress, Put, Reading, Registry, Stale
from snnet.contract.addresses import address_of, gateway_of
from snnet.contract.registries import Write
from snnet.core.addressing import mac_for

from .pools import Pools
from .state import Address, Changes, Document, Endpoint, Network, Pool, State, Table

R = TypeVar("R", bound=Document)
Place = tuple[tuple[str, str], IPAddress]
"""Tenant and network, and an address of it."""

_log = logging.getLogger("snnet.docker")


class ClusterState(State):
    """All documents of a plugin, and in the same commits what they mean for the cluster."""

    batch = 9
    """A document with its VNIC, claims and conditions takes at most 11 operations."""

    def __init__(
        self, registry: Registry, node: str, name: str, clock: Callable[[], float]
    ) -> None:
        super().__init__(registry, keys.docker(node, name))
        self.manager = keys.docker_manager(node, name)
        """Whose VNICs and claims are the plugin's."""
        self._node = node
        self._clock = clock

    def _commit(self, changes: Changes) -> None:
        own = [self._write(*change) for change in changes.items()]
        committed(self._registry, lambda: self._meaning(own, changes))

    def _meaning(self, own: Iterable[Write], changes: Changes) -> Draft[None]:
        """These documents, and what the cluster must have once they are written."""
        after = _After(self, changes)
        draft: Draft[None] = Draft(None, [*own])
        for (table, key), document in changes.items():
            before = self._tables[table].get(key)
            if isinstance(document, Network) and before is None and document.made:
                _add(draft, self._network_made(document))
            elif isinstance(document, Endpoint) and before is None and document.made:
                network = after.networks.get(document.network_id)
                assert network is not None, "the caller has checked that"
                _add(draft, self._vnic_made(network, document))
            elif isinstance(before, Endpoint) and document is None and before.made:
                _add(draft, self._vnic_gone(before))
        places = dict.fromkeys(self._places(changes, after))
        claims = self._registry.read(*(_claim_key(place) for place in places))
        for place in places:
            _add(draft, self._claim(place, claims, after))
        return draft

    # -- networks and VNICs ------------------------------------------------------------

    def _network_made(self, network: Network) -> Draft[cluster.Network]:
        wanted = cluster.Network(
            name=network.subnet_id, tenant=network.tenant_id, subnet=network.subnets
        )
        reading = self._registry.read(*networks.creation_reads(wanted))
        draft = networks.creation(wanted, frozenset({"subnet"}), reading)
        if not draft.writes:
            raise Conflict(f"{wanted.title} was created just now: try again")
        return draft

    def _vnic_made(self, network: Network, endpoint: Endpoint) -> Draft[cluster.Vnic]:
        made = cluster.Vnic(
            name=endpoint.vnic_id,
            tenant=endpoint.tenant_id,
            network=endpoint.subnet_id,
            node=self._node,
            role=VnicRole.TENANT_CONTAINER,
            ip=endpoint.ips,
            mac=endpoint.mac,
            mtu=network.mtu,
            managed_by=self.manager,
        )
        name = keys.vnic_name(made.tenant, made.name)
        scope = endpoint.scope
        fence = keys.macs(*scope)
        reading = self._registry.read(keys.network(*scope), name, keys.addresses(*scope), fence)
        found = networks.needed_network(reading, *endpoint.scope)
        if found.subnet != network.subnets:
            raise Conflict(f"{found.title} has another subnet now: create Docker's network again")
        if name in reading.entries:
            raise Conflict(f"{made.title} is there already: try again")
        vnics.check_mac(made, reading)
        draft = vnics.bare_creation(made, found.revision)
        draft.expected |= seen(reading, [fence])
        if made.mac != mac_for(made.ip):
            draft.writes.append(Put(fence, {}))
        return draft

    def _vnic_gone(self, endpoint: Endpoint) -> Draft[Any]:
        key = keys.vnic(self._node, endpoint.tenant_id, endpoint.vnic_id)
        entry = self._registry.read(key).entries.get(key)
        if entry is None or entry.document.get("managed_by") != self.manager:
            return Draft(None)
        return vnics.bare_deletion(stored.salvage(cluster.Vnic, key, entry))

    # -- claims of addresses -----------------------------------------------------------

    def _places(self, changes: Changes, after: _After) -> Iterator[Place]:
        """The addresses whose claims the changes may change."""
        for (table, key), document in changes.items():
            for one in (self._tables[table].get(key), document):
                if isinstance(one, Endpoint) and one.made:
                    yield from ((one.scope, ip) for ip in one.ips)
                elif isinstance(one, Address):
                    pool = self.pools.get(one.pool_id) or after.pools.get(one.pool_id)
                    if pool is not None:
                        yield (pool.scope, one.ip)

    def _claim(self, place: Place, reading: Reading, after: _After) -> Draft[Any]:
        """Claim an address, or give it back, as the documents say."""
        key, wanted = _claim_key(place), self._wanted(place, after)
        entry = reading.entries.get(key)
        if entry is not None and not self._is_ours(entry, place, after):
            if wanted is None:
                return Draft(None)
            raise Conflict(f"{place[1]} belongs to {holder(entry)}: choose another address")
        document = None if entry is None else entry.document
        if wanted == document:
            return Draft(None)
        write = Delete(key) if wanted is None else Put(key, wanted)
        return Draft(None, [write], seen(reading, [key]))

    def _wanted(self, place: Place, after: _After) -> Mapping[str, Any] | None:
        """Return the claim that an address needs: the VNIC's, ours before that, or None."""
        scope, ip = place
        for endpoint in after.endpoints.all():
            if endpoint.made and endpoint.scope == scope and ip in endpoint.ips:
                return {"vnic": endpoint.vnic_id, "mac": endpoint.mac, "node": self._node}
        pools = [pool for pool in after.pools.all() if pool.scope == scope and ip in pool.subnet]
        if any(ip == gateway_of(pool.subnet) for pool in pools):
            return None  # the concentrator's address needs no claim
        found = Pools(after, self._clock).holder(pools, ip)
        return None if found is None else {"managed_by": self.manager}

    def _is_ours(self, entry: Entry, place: Place, after: _After) -> bool:
        if entry.document.get("managed_by") == self.manager:
            return True
        scope, ip = place
        named = (entry.document.get("vnic"), entry.document.get("node"))
        return any(
            one.made and one.scope == scope and ip in one.ips and named == (one.vnic_id, self._node)
            for one in (*self.endpoints.all(), *after.endpoints.all())
        )

    def claimed(self, scope: tuple[str, str]) -> set[IPAddress]:
        """The addresses of a network that VNICs or others have, or whose MACs they have."""
        claims = self._registry.read(keys.addresses(*scope)).entries.values()
        found = {
            _place(claim.key)[1]
            for claim in claims
            if claim.document.get("managed_by") != self.manager
        }
        macs = (str(claim.document.get("mac")) for claim in claims)
        return found | {ip for mac in macs if (ip := address_of(mac))}

    # -- repair ------------------------------------------------------------------------

    def tidy(self) -> None:
        """Remove VNICs and claims of the plugin's that no document of it stands for.

        There are some after its documents were lost, and where Docker did not release an
        address.
        """
        with self.lock:
            held = self._registry.read(keys.ADDRESSES, f"{keys.VNICS}{self._node}/")
            for entry in held.entries.values():
                if entry.document.get("managed_by") == self.manager:
                    draft = self._tidied(entry, held)
                    if not draft.writes:
                        continue
                    with suppress(Stale):  # it changed just now: the next sweep looks again
                        self._registry.commit(draft.writes, draft.expected)

    def _tidied(self, entry: Entry, reading: Reading) -> Draft[Any]:
        if entry.key.startswith(keys.ADDRESSES):
            return self._claim(_place(entry.key), reading, _After(self, {}))
        vnic = stored.salvage(cluster.Vnic, entry.key, entry)
        known = ((one.tenant_id, one.vnic_id) for one in self.endpoints.all() if one.made)
        if (vnic.tenant, vnic.name) in known:
            return Draft(None)
        _log.warning("%s of %s has no container any more", vnic.title, self.manager)
        return vnics.deletion(vnic, self._registry.read(*vnics.deletion_reads(vnic)), force=True)


class _Overlay(Generic[R]):
    """A table as it will be."""

    def __init__(self, table: Table[R], changes: Changes) -> None:
        name = table.kind.table
        self._table = table
        self._changes = {key: value for (of, key), value in changes.items() if of == name}

    def get(self, key: str) -> R | None:
        if key in self._changes:
            return cast("R | None", self._changes[key])
        return self._table.get(key)

    def all(self) -> list[R]:
        kept = [one for one in self._table.all() if one.key not in self._changes]
        return kept + [cast("R", one) for one in self._changes.values() if one is not None]


class _After:
    """All documents as they will be once changes are written."""

    def __init__(self, state: State, changes: Changes) -> None:
        self.pools: _Overlay[Pool] = _Overlay(state.pools, changes)
        self.addresses: _Overlay[Address] = _Overlay(state.addresses, changes)
        self.networks: _Overlay[Network] = _Overlay(state.networks, changes)
        self.endpoints: _Overlay[Endpoint] = _Overlay(state.endpoints, changes)


def _claim_key(place: Place) -> str:
    scope, ip = place
    return keys.address(*scope, ip)


def _place(key: str) -> Place:
    """The address that a claim is of."""
    *_, tenant, network, ip = key.rstrip("/").split("/")
    return (tenant, network), ip_address(ip)


def _add(draft: Draft[None], other: Draft[Any]) -> None:
    # Two endpoints may rewrite the same fence.
    draft.writes += [write for write in other.writes if write not in draft.writes]
    draft.expected |= other.expected
