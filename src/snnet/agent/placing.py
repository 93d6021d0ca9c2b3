"""Which network node runs which tenant's concentrator, and with which address.

Network nodes share the tenants out without a leader: each knows the same documents, computes
the same places, and commits those that fall to it, on the condition that nothing changed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from snnet.cluster import NodeInfo, keys
from snnet.cluster.placing import chosen
from snnet.cluster.views import read_nodes, read_placements
from snnet.contract import Delete, Entry, IPAddress, Put, Reading, Registry, Stale
from snnet.contract.registries import Write

LOOK_EVERY = 2.0
"""Seconds between two looks whether the concentrators of a node without an agent still answer."""

_log = logging.getLogger("snnet.agent")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that concentrators may have, and how to ask who answers for one.

    With an empty ``pool`` (topology "mesh") a concentrator is asked for by its host's address.
    """

    pool: Collection[IPAddress]
    answering: Callable[[Collection[IPAddress]], set[IPAddress]]


class Placer:
    """Places the concentrators that fall to one network node.

    ``addresses`` is None in topology "local", where concentrators have none.
    """

    def __init__(self, registry: Registry, node: str, addresses: Addresses | None) -> None:
        self._registry, self._me, self._addresses = registry, node, addresses
        self.retry_in: float | None = None
        """Seconds until somebody's concentrators have to be looked at again, or None."""

    def place(self, reading: Reading) -> None:
        """Commit the places that fall to this node.

        A tenant with a network has one concentrator.  It goes to the node that has the
        fewest.  It moves only from a node that drains or is not registered, or from one whose
        agent is gone if it does not answer itself either.
        """
        self.retry_in = None
        nodes = {node.name: node for node in read_nodes(reading)}
        placed = read_placements(reading)
        able = [
            node.name
            for node in nodes.values()
            if "network" in node.roles and node.alive and not node.draining
        ]
        homeless = [
            tenant
            for tenant in sorted(tenants(reading))
            if tenant not in placed or self._may_move(placed[tenant], nodes, able)
        ]
        shared = shared_out(homeless, able, placed.values())
        mine = [tenant for tenant, node in shared.items() if node == self._me]
        lost = [tenant for tenant in mine if tenant in placed]
        for tenant in self._silent(lost, placed, nodes):
            self._take_over(tenant, placed[tenant], nodes)
        claims: dict[str, Entry | None] = {
            key[len(keys.CONCENTRATOR_ADDRESSES) : -1]: entry
            for key, entry in reading.entries.items()
            if key.startswith(keys.CONCENTRATOR_ADDRESSES)
        }
        for tenant in mine:
            if tenant not in placed:
                self._found(tenant, None, claims)
        for tenant, entry in placed.items():
            here = entry.document.get("node") == self._me and "address" not in entry.document
            if self._addresses and here:
                self._found(tenant, entry, claims)

    def _may_move(self, entry: Entry, nodes: Mapping[str, NodeInfo], able: Collection[str]) -> bool:
        node = nodes.get(str(entry.document.get("node")))
        if node is None:
            return True
        return self._addresses is not None and bool(able) and (_leaves(node) or not node.alive)

    def _silent(
        self, lost: Iterable[str], placed: Mapping[str, Entry], nodes: Mapping[str, NodeInfo]
    ) -> Iterator[str]:
        """Yield the tenants whose concentrators may be taken over now."""
        asked: dict[IPAddress, list[str]] = {}
        for tenant in lost:
            document = placed[tenant].document
            node = nodes.get(str(document.get("node")))
            if node is None or _leaves(node):
                yield tenant
                continue
            address = document.get("address")
            if address is None and self._addresses and not self._addresses.pool:
                address = node.compute_ip
            if address is None:
                yield tenant
            else:
                asked.setdefault(ip_address(address), []).append(tenant)
        if asked:
            assert self._addresses is not None
            answered = self._addresses.answering(asked)
            for address, theirs in asked.items():
                if address not in answered:
                    yield from theirs
            if answered:
                self.retry_in = LOOK_EVERY

    def _take_over(self, tenant: str, entry: Entry, nodes: Mapping[str, NodeInfo]) -> None:
        old = str(entry.document.get("node"))
        expected = {entry.key: entry.revision}
        if old in nodes and not nodes[old].alive:
            expected[keys.alive(old)] = 0  # its agent may be back
        with suppress(Stale):
            self._registry.commit([Put(entry.key, {**entry.document, "node": self._me})], expected)
            _log.warning("the concentrator of %s moves here from %s", tenant, old)

    def _found(self, tenant: str, entry: Entry | None, claims: dict[str, Entry | None]) -> None:
        """Place a tenant here, with an address if there is a free one."""
        key = keys.concentrator(tenant)
        document = {**(entry.document if entry else {}), "node": self._me}
        expected = {key: entry.revision if entry else 0}
        writes: list[Write] = []
        address = self._free(tenant, claims)
        if address is not None:
            claim, known = keys.concentrator_address(address), claims.get(address)
            claims[address] = None
            document["address"], expected[claim] = address, known.revision if known else 0
            writes.append(Put(claim, {"tenant": tenant}))
        if entry is None or document != entry.document:
            with suppress(Stale):
                self._registry.commit([*writes, Put(key, document)], expected)

    def _free(self, tenant: str, claims: Mapping[str, Entry | None]) -> str | None:
        """The address that the tenant has claimed, or a free one, or None.

        Tenants begin to look at different addresses, so that few want the same.
        """
        pool = list(map(str, self._addresses.pool)) if self._addresses else []
        seed = int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:8], "big")
        order = [pool[(seed + step) % len(pool)] for step in range(len(pool))]
        own = {
            address
            for address, entry in claims.items()
            if entry is not None and entry.document.get("tenant") == tenant
        }
        claimed = (address for address in order if address in own)
        free = (address for address in order if address not in claims)
        return next(claimed, None) or next(free, None)

    def release(self, reading: Reading, running: Collection[str]) -> None:
        """Give up the places of tenants without networks, once nothing of them runs here."""
        having = tenants(reading)
        for tenant, entry in read_placements(reading).items():
            if entry.document.get("node") == self._me and tenant not in having | set(running):
                writes: list[Write] = [Delete(entry.key)]
                if "address" in entry.document:
                    writes.append(Delete(keys.concentrator_address(entry.document["address"])))
                with suppress(Stale):
                    self._registry.commit(writes, {entry.key: entry.revision})


def _leaves(node: NodeInfo) -> bool:
    """Whether the node itself removes the concentrators that it still has."""
    return node.draining or "network" not in node.roles


def tenants(reading: Reading) -> set[str]:
    """The tenants that have a network."""
    found = keys.objects(reading.entries, keys.NETWORKS)
    return {key.split("/")[2] for key, _ in found}


def shared_out(
    homeless: Iterable[str], able: Collection[str], placed: Iterable[Entry]
) -> dict[str, str]:
    """Return a node for each tenant: one that has the fewest, by rendezvous hashing among these."""
    loads = Counter(dict.fromkeys(able, 0))
    loads.update(node for entry in placed if (node := str(entry.document.get("node"))) in loads)
    shares: dict[str, str] = {}
    for tenant in homeless if loads else ():
        fewest = min(loads.values())
        least = [name for name, load in loads.items() if load == fewest]
        if choice := chosen(f"concentrator/{tenant}", least):
            shares[tenant] = choice
            loads[choice] += 1
    return shares
