"""Which addresses are whose, and which pool is which network's.

Docker tells the IPAM driver nothing of networks, and the network driver nothing of pools.
A pool is linked to a network where there is no doubt: when the network is made and but one
pool can be its, or when the first endpoint brings an address that but one pool has offered.
What is not linked is never taken back by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from snnet.contract import Conflict

from .state import NETWORK, OFFERED, RETURNED, Address, Document, Endpoint, Network, Pool, State

GRACE = 120.0
"""Seconds after which Docker has forgotten what it did not go on with.

It makes an endpoint right after it has the address, and releases the address right after
the endpoint is gone; whatever it has no answer to for 30 s it gives up.
"""


class Pools:
    """Looks at the book's pools and addresses; what is to be changed it gives as documents.

    Its callers hold the book's lock, and write.
    """

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def now(self) -> float:
        """Unix time in seconds."""
        return self._clock()

    def stale(self, since: float) -> bool:
        """Whether that was so long ago that Docker has forgotten it; or the clock was wrong."""
        return abs(self._clock() - since) > GRACE

    def address(self, pool: Pool, ip: IPv4Address) -> Address | None:
        """The address as it is held in the pool, or None."""
        return self._state.addresses.get(f"{pool.id}/{ip}")

    def siblings(self, pool: Pool) -> list[Pool]:
        """The pools that share this one's subnet, and so its addresses."""
        if not pool.subnet_id:
            return [pool]
        return [other for other in self._state.pools.all() if other.scope == pool.scope]

    def holder(self, pools: Iterable[Pool], ip: IPv4Address) -> str | None:
        """Who has the address in one of the pools; None where it is free in all."""
        for pool in pools:
            found = self.address(pool, ip)
            if found and not (
                found.holder in (OFFERED, RETURNED) and pool.network_id and self.stale(found.since)
            ):
                return found.holder
        return None

    # -- networks ----------------------------------------------------------------------

    def candidates(self, network: Network) -> list[Pool]:
        """The pools that may be the network's, with its gateway's address taken.

        Docker has our IPAM driver give every network of its a gateway.
        """
        if not network.own:
            return []
        return [
            pool
            for pool in self._state.pools.all()
            if pool.subnet == network.subnet
            and pool.network_id in ("", network.id)
            and pool.scope in (("", ""), network.scope)
            and all(self.address(pool, ip) for ip in network.own)
        ]

    def linked(self, pool: Pool, network: Network) -> list[Document]:
        """The pool as the network's, and the addresses in it as those of who has them."""
        link = {
            "network_id": network.id,
            "tenant_id": network.tenant_id,
            "subnet_id": network.subnet_id,
        }
        holders = {
            one.ip: one.id for one in self._state.endpoints.all() if one.network_id == network.id
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
        """The endpoint's address as its own.  Conflict where somebody else has it."""
        pools = [pool for pool in self.candidates(network) if pool.network_id]
        documents: list[Document] = []
        if not pools:
            offered = [
                pool
                for pool in self.candidates(network)
                if (found := self.address(pool, endpoint.ip)) and found.holder == OFFERED
            ]
            if len(offered) == 1:
                pools = offered
                documents = self.linked(offered[0], network)
        for pool in pools:
            found = self.address(pool, endpoint.ip)
            if found and found.holder not in (OFFERED, RETURNED, endpoint.id):
                raise Conflict(f"{endpoint.ip} belongs to {found.holder}")
            owed = found.owed + (found.holder == RETURNED) if found else 0
            documents.append(self._held(pool, endpoint.ip, endpoint.id, owed=owed))
        return documents

    def held_by(self, endpoint: Endpoint) -> list[Address]:
        """The endpoint's address, as it is held."""
        return [
            found
            for pool in self._state.pools.all()
            if pool.network_id == endpoint.network_id
            and (found := self.address(pool, endpoint.ip))
            and found.holder == endpoint.id
        ]

    def returned(self, address: Address) -> Address:
        """The address as nobody's, until Docker releases it."""
        change = {"holder": RETURNED, "owed": 0, "since": self._clock()}
        return address.model_copy(update=change)

    def offered(self, pool: Pool, ip: IPv4Address, *, for_network: bool) -> Address:
        """The address as one that Docker is given."""
        if for_network:
            return self._held(pool, ip, NETWORK)
        found = self.address(pool, ip)
        owed = found.owed + (found.holder in (OFFERED, RETURNED)) if found else 0
        return self._held(pool, ip, OFFERED, owed=owed)

    def _held(self, pool: Pool, ip: IPv4Address, holder: str, *, owed: int = 0) -> Address:
        return Address(pool_id=pool.id, ip=ip, holder=holder, owed=owed, since=self._clock())

    # -- what nobody comes back for ----------------------------------------------------

    def abandoned(self) -> list[Document]:
        """Pools that Docker has forgotten, with their addresses.

        It has no answer to a RequestPool, or dies before it makes the network, or has none
        to the ReleasePool after the network's end.  One that names no subnet and has
        addresses may serve another network driver.
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
                gone += [pool, *used.get(pool.id, ())]
        return gone
