"""The IPAM driver: pools and addresses (moby, ``libnetwork/docs/ipam.md``)."""

from __future__ import annotations

import secrets
from contextlib import suppress
from itertools import chain
from typing import Any

from snnet.checks import check_address, check_network
from snnet.contract import Conflict, Exhausted, InvalidRequest, IPAddress
from snnet.contract.addresses import gateway_of
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import check_guest, check_subnet

from . import messages
from .network import NetworkDriver
from .pools import Pools
from .state import NETWORK, OFFERED, RETURNED, Pool, State
from .vnics import Vnics

_REQUEST_TYPE = "RequestAddressType"
_ATTEMPTS = 50
"""Each failed attempt to assign an address means that another client got one."""

_GATEWAY = "com.docker.network.gateway"
"""Option of a RequestAddress, and its value for a network's gateway (netlabel.Gateway)."""


class Ipam:
    """Assigns addresses, so that no two VNICs of a subnet on this node have the same one.

    Docker deletes an endpoint before it releases its address, and a network before it
    releases its pool.  If the endpoint or network still exists when that happens, Docker
    got no response to the deletion and has forgotten it; ``networks`` then finishes it.
    """

    def __init__(self, state: State, pools: Pools, vnics: Vnics, networks: NetworkDriver) -> None:
        self._state = state
        self._pools = pools
        self._vnics = vnics
        self._networks = networks

    # -- pools -------------------------------------------------------------------------

    def request_pool(self, message: messages.RequestPool) -> dict[str, Any]:
        """Create a pool.  Pools may have the same or overlapping CIDRs."""
        if not message.Pool:
            raise InvalidRequest("is needed: give docker network create --subnet", field="Pool")
        subnet = check_subnet(check_network(message.Pool, "Pool"), "Pool")
        inner = subnet
        if message.SubPool:
            found = check_network(message.SubPool, "SubPool")
            if found.prefixlen < subnet.prefixlen or not found.overlaps(subnet):
                raise InvalidRequest(
                    f"{found} is not inside {subnet}: give another --ip-range", field="SubPool"
                )
            inner = found
        tenant, subnet_id = self._vnics.pool_scope(message.Options)
        with self._state.lock:
            pool = Pool(
                id=secrets.token_hex(16),
                subnet=subnet,
                range=inner,
                tenant_id=tenant,
                subnet_id=subnet_id,
                since=self._pools.now(),
            )
            self._state.write(pool, remove=self._pools.abandoned())
        return {"PoolID": pool.id, "Pool": str(subnet), "Data": {}}

    def release_pool(self, message: messages.OfPool) -> dict[str, Any]:
        """Remove the pool and its addresses.  An unknown pool is not an error."""
        pool = self._state.pools.get(message.PoolID)
        if pool is None:
            return {}
        if pool.network_id:
            self._networks.forget(pool.network_id)
        with self._state.lock:
            addresses = [one for one in self._state.addresses.all() if one.pool_id == pool.id]
            self._state.write(remove=[*addresses, pool])
        return {}

    # -- addresses ---------------------------------------------------------------------

    def request_address(self, message: messages.RequestAddress) -> dict[str, Any]:
        """Assign the requested address, or the next free one of the pool's range."""
        try:
            return self._offer(message)
        except (Conflict, Exhausted):
            # The address may belong to an endpoint that no longer exists.
            if not self._networks.endpoints.sweep():
                raise
            return self._offer(message)

    def _offer(self, message: messages.RequestAddress) -> dict[str, Any]:
        with self._state.lock:
            pool = self._state.pools.get(message.PoolID)
            if pool is None:
                raise InvalidRequest(f"no pool {message.PoolID!r} exists", field="PoolID")
            for_gateway = message.Options.get(_REQUEST_TYPE) == _GATEWAY
            if message.Address or for_gateway:
                ip = gateway_of(pool.subnet)
                if message.Address:
                    ip = self._requested(pool, message.Address, for_gateway)
                self._state.write(self._pools.offered(pool, ip, for_network=for_gateway))
            else:
                ip = self._next(pool)
        return {"Address": f"{ip}/{pool.subnet.prefixlen}", "Data": {}}

    def _next(self, pool: Pool) -> IPAddress:
        """Assign the next free address."""
        for _ in range(_ATTEMPTS):
            ip = self._next_free(pool)
            # Another node of the cluster may have taken it just now.
            with suppress(Conflict):
                offered = self._pools.offered(pool, ip, for_network=False)
                self._state.write(offered, pool.model_copy(update={"last": ip}))
                return ip
        raise Conflict(f"other clients keep taking the free addresses of {pool.range}: try again")

    def release_address(self, message: messages.ReleaseAddress) -> dict[str, Any]:
        """Release the address.  A free one, or that of a running container, stays as it is."""
        key = f"{message.PoolID}/{check_address(message.Address, 'Address')}"
        with self._state.lock:
            found = self._state.addresses.get(key)
            if found is None:
                return {}
            if found.owed and found.holder != RETURNED:
                self._state.write(found.model_copy(update={"owed": found.owed - 1}))
                return {}
        if found.holder not in (OFFERED, RETURNED, NETWORK):
            self._networks.endpoints.remove_forgotten(found.holder)
        with self._state.lock:
            found = self._state.addresses.get(key)
            if found is not None and found.holder in (OFFERED, RETURNED, NETWORK):
                self._state.write(remove=[found])
        return {}

    def _requested(self, pool: Pool, text: str, for_gateway: bool) -> IPAddress:
        ip = check_address(text, "Address")
        if ip != gateway_of(pool.subnet) and not is_guest_address(ip, pool.subnet):
            raise InvalidRequest(f"{ip} is not a host address in {pool.subnet}", field="Address")
        if not for_gateway and pool.network_id:  # earlier requests are for the network itself
            check_guest(ip, (pool.subnet,), "Address")
        if self._is_taken(pool, ip, for_gateway):
            raise Conflict(f"{ip} is in use")
        return ip

    def _is_taken(self, pool: Pool, ip: IPAddress, for_gateway: bool) -> bool:
        """Whether another holder has the address that this pool requests."""
        own = self._pools.holder([pool], ip)
        if for_gateway:
            return own not in (None, NETWORK)
        # An offered address is offered again, since Docker may have been killed after the
        # first offer.  If two endpoints then use it, the second one is refused.
        if own is not None and not (pool.network_id and own in (OFFERED, RETURNED)):
            return True
        others = [one for one in self._pools.siblings(pool) if one is not pool]
        holder = self._pools.holder(others, ip)
        # Before a network is created, it may request an address that another network of the
        # same subnet has for itself, such as the gateway.
        return holder is not None and bool(pool.network_id or holder != NETWORK)

    def _next_free(self, pool: Pool) -> IPAddress:
        """The first free address after the one assigned last."""
        siblings = self._pools.siblings(pool)
        others = self._vnic_addresses(pool)
        first = max(int(pool.range.network_address), int(gateway_of(pool.subnet)) + 1)
        last = int(pool.range.broadcast_address)
        if not is_guest_address(pool.range.broadcast_address, pool.subnet):
            last -= 1
        start = min(int(pool.last) if pool.last else first - 1, last) + 1
        for number in chain(range(start, last + 1), range(first, start)):
            ip = pool.subnet.network_address + (number - int(pool.subnet.network_address))
            if ip not in others and self._pools.holder(siblings, ip) is None:
                return ip
        raise Exhausted(
            f"no address of {pool.range} is free: remove containers, or create the network with "
            "a larger --ip-range"
        )

    def _vnic_addresses(self, pool: Pool) -> set[IPAddress]:
        """The addresses of all VNICs of the pool's subnet, the plugin's and others."""
        if not pool.subnet_id:
            return set()
        return self._vnics.taken(pool.scope)
