"""Which pool belongs to which network, and who holds an address.

Docker does not tell the IPAM driver about networks, nor the network driver about pools.
A pool is linked to a network as soon as this is certain: when the network is created and
only one pool matches, or when its first endpoint has an address that only one pool
offered.  Addresses of pools without a link are not reclaimed before Docker releases them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from snnet.contract import Conflict, IPAddress

from .state import NETWORK, OFFERED, RETURNED, Address, Document, Documents, Endpoint, Network, Pool

GRACE = 120.0
"""Seconds after which Docker no longer continues an operation that it has begun.

Docker creates an endpoint right after it got the address, and releases the address right
after it deleted the endpoint.  It gives up a request that is not answered within 30 s.
"""


class Pools:
    """Reads pools and addresses, and computes the documents that a change needs.

    The caller holds the state's lock and writes the documents.
    """

    def __init__(self, state: Documents, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def now(self) -> float:
        """Unix time in seconds."""
        return self._clock()

    def stale(self, since: float) -> bool:
        """Whether ``since`` is more than GRACE away, in either direction if the clock was set."""
        return abs(self._clock() - since) > GRACE

    def address(self, pool: Pool, ip: IPAddress) -> Address | None:
        """The address's document in this pool, or None if it is free."""
        return self._state.addresses.get(f"{pool.id}/{ip}")

    def siblings(self, pool: Pool) -> list[Pool]:
        """The pools that share this pool's subnet and so its addresses, itself included."""
        if not pool.subnet_id:
            return [pool]
        return [other for other in self._state.pools.all() if other.scope == pool.scope]

    def holder(self, pools: Iterable[Pool], ip: IPAddress) -> str | None:
        """Who holds the address in one of the pools, or None if it is free in all."""
        for pool in pools:
            found = self.address(pool, ip)
            if found and not (
                found.holder in (OFFERED, RETURNED) and pool.network_id and self.stale(found.since)
            ):
                return found.holder
        return None

    # -- networks ----------------------------------------------------------------------

    def candidates(self, network: Network) -> list[Pool]:
        """The pools that may belong to the network.

        Docker asks our IPAM driver for a gateway for each of its networks, so the
        network's own addresses are in use in its pool.
        """
        return [
            pool
            for pool in self._state.pools.all()
            if pool.subnet in network.subnets
            and pool.network_id in ("", network.id)
            and pool.scope in (("", ""), network.scope)
            and (own := [ip for ip in network.own if ip in pool.subnet])
            and all(self.address(pool, ip) for ip in own)
        ]

    def certain(self, pools: Iterable[Pool]) -> list[Pool]:
        """Those of the candidates that must be a network's: of a subnet there is no other."""
        found: dict[object, list[Pool]] = {}
        for pool in pools:
            found.setdefault(pool.subnet, []).append(pool)
        return [same[0] for same in found.values() if len(same) == 1 and not same[0].network_id]

    def linked(self, pool: Pool, network: Network) -> list[Document]:
        """Documents that link the pool to the network, and its addresses to their holders."""
        link = {
            "network_id": network.id,
            "tenant_id": network.tenant_id,
            "subnet_id": network.subnet_id,
        }
        holders = {
            ip: one.id
            for one in self._state.endpoints.all()
            if one.network_id == network.id
            for ip in one.ips
        } | dict.fromkeys(network.own, NETWORK)
        return [
            pool.model_copy(update=link),
            *(
                found.model_copy(update={"holder": holder})
                for ip, holder in holders.items()
                if (found := self.address(pool, ip))
            ),
        ]

    # -- endpoints ---------------------------------------------------------------------

    def assigned(self, network: Network, endpoint: Endpoint) -> list[Document]:
        """Documents that give the endpoint its addresses.  Conflict if another one holds one."""
        return [
            document for ip in endpoint.ips for document in self._assigned(network, endpoint, ip)
        ]

    def _assigned(self, network: Network, endpoint: Endpoint, ip: IPAddress) -> list[Document]:
        candidates = [pool for pool in self.candidates(network) if ip in pool.subnet]
        pools = [pool for pool in candidates if pool.network_id]
        documents: list[Document] = []
        if not pools:
            offered = [
                pool
                for pool in candidates
                if (found := self.address(pool, ip)) and found.holder == OFFERED
            ]
            if len(offered) == 1:
                pools = offered
                documents = self.linked(offered[0], network)
        for pool in pools:
            found = self.address(pool, ip)
            if found and found.holder not in (OFFERED, RETURNED, endpoint.id):
                raise Conflict(
                    f"address {ip} belongs to {_holder_name(found.holder)}: choose another one"
                )
            owed = found.owed + (found.holder == RETURNED) if found else 0
            documents.append(self._held(pool, ip, endpoint.id, owed=owed))
        return documents

    def held_by(self, endpoint: Endpoint) -> list[Address]:
        """The documents of the endpoint's addresses that name it as the holder."""
        return [
            found
            for pool in self._state.pools.all()
            if pool.network_id == endpoint.network_id
            for ip in endpoint.ips
            if (found := self.address(pool, ip)) and found.holder == endpoint.id
        ]

    def returned(self, address: Address) -> Address:
        """The address without a holder, in use until Docker releases it."""
        change = {"holder": RETURNED, "owed": 0, "since": self._clock()}
        return address.model_copy(update=change)

    def offered(self, pool: Pool, ip: IPAddress, *, for_network: bool) -> Address:
        """The address as given to Docker."""
        if for_network:
            return self._held(pool, ip, NETWORK)
        found = self.address(pool, ip)
        owed = found.owed + (found.holder in (OFFERED, RETURNED)) if found else 0
        return self._held(pool, ip, OFFERED, owed=owed)

    def _held(self, pool: Pool, ip: IPAddress, holder: str, *, owed: int = 0) -> Address:
        return Address(pool_id=pool.id, ip=ip, holder=holder, owed=owed, since=self._clock())

    # -- what Docker has forgotten -----------------------------------------------------

    def abandoned(self) -> list[Document]:
        """Pools that Docker has forgotten, and their addresses.

        Docker forgets a pool if it gets no response to RequestPool, if it ends before it
        creates the network, or if it gets no response to ReleasePool.  A pool that names
        no subnet and has addresses in use may serve another network driver; it stays.
        """
        used: dict[str, list[Address]] = {}
        for address in self._state.addresses.all():
            used.setdefault(address.pool_id, []).append(address)
        served = {pool.network_id for pool in self._state.pools.all()}
        waiting = {one.scope for one in self._state.networks.all() if one.id not in served}
        gone: list[Document] = []
        for pool in self._state.pools.all():
            if not self.stale(pool.since):
                continue
            if pool.network_id:
                useless = self._state.networks.get(pool.network_id) is None
            else:
                named = bool(pool.subnet_id) and pool.scope not in waiting
                useless = named or pool.id not in used
            if useless:
                gone += [*used.get(pool.id, ()), pool]
        return gone


def _holder_name(holder: str) -> str:
    return "the network itself" if holder == NETWORK else f"endpoint {holder}"
