"""The IPAM driver: pools and addresses (moby, ``libnetwork/docs/ipam.md``)."""

from __future__ import annotations

import secrets
from ipaddress import IPv4Address, IPv4Network
from itertools import chain
from typing import Any

from snnet.config import check_id, check_network
from snnet.contract import Conflict, Exhausted, InvalidRequest
from snnet.core.addressing import check_guest, check_ipv4, check_subnet, gateway_of
from snnet.node import ComputeNode

from . import messages
from .network import NetworkDriver
from .options import SUBNET_ID, TENANT, refuse_unknown
from .pools import Pools
from .state import NETWORK, OFFERED, RETURNED, Pool, State

_REQUEST_TYPE = "RequestAddressType"
_GATEWAY = "com.docker.network.gateway"
"""Option of a RequestAddress, and its value for a network's gateway (netlabel.Gateway)."""


class Ipam:
    """Hands out addresses, so that no two VNICs of a subnet on this node have the same.

    Docker releases the address of an endpoint, and the pool of a network, last.  If they
    are still there, it had no answer when it deleted them, and has forgotten them: that is
    for ``network`` to finish.
    """

    def __init__(
        self, state: State, pools: Pools, node: ComputeNode, networks: NetworkDriver
    ) -> None:
        self._state = state
        self._pools = pools
        self._node = node
        self._networks = networks
        self._last: dict[str, int] = {}
        """The address each pool gave last: the next is beyond, so that none returns at once."""

    # -- pools -------------------------------------------------------------------------

    def request_pool(self, message: messages.RequestPool) -> dict[str, Any]:
        """A new pool, whatever others there are with this CIDR."""
        if message.V6:
            raise InvalidRequest("tenants are IPv4: leave out --ipv6", field="V6")
        if not message.Pool:
            raise InvalidRequest("is needed: give docker network create --subnet", field="Pool")
        subnet = check_subnet(check_network(message.Pool, "Pool"), "Pool")
        inner = subnet
        if message.SubPool:
            found = check_network(message.SubPool, "SubPool")
            if not isinstance(found, IPv4Network) or not found.subnet_of(subnet):
                raise InvalidRequest(f"{found} is not inside {subnet}", field="SubPool")
            inner = found
        refuse_unknown(message.Options, (TENANT, SUBNET_ID))
        tenant, subnet_id = message.Options.get(TENANT, ""), message.Options.get(SUBNET_ID, "")
        if bool(tenant) != bool(subnet_id):
            raise InvalidRequest(f"give both --ipam-opt {TENANT}= and {SUBNET_ID}=, or neither")
        if tenant:
            check_id(tenant, TENANT)
            check_id(subnet_id, SUBNET_ID)
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
        """Forget the pool and its addresses; harmless where there is none."""
        pool = self._state.pools.get(message.PoolID)
        if pool is None:
            return {}
        if pool.network_id:
            self._networks.forget(pool.network_id)
        with self._state.lock:
            addresses = [one for one in self._state.addresses.all() if one.pool_id == pool.id]
            self._state.write(remove=[pool, *addresses])
            self._last.pop(pool.id, None)
        return {}

    # -- addresses ---------------------------------------------------------------------

    def request_address(self, message: messages.RequestAddress) -> dict[str, Any]:
        """The address asked for, or the next free one of the pool's range."""
        try:
            return self._offer(message)
        except (Conflict, Exhausted):
            # Perhaps it is one's that nobody has any more.
            if not self._networks.endpoints.sweep():
                raise
            return self._offer(message)

    def _offer(self, message: messages.RequestAddress) -> dict[str, Any]:
        with self._state.lock:
            pool = self._state.pools.get(message.PoolID)
            if pool is None:
                raise InvalidRequest(f"no pool {message.PoolID}", field="PoolID")
            for_gateway = message.Options.get(_REQUEST_TYPE) == _GATEWAY
            if message.Address:
                ip = self._requested(pool, message.Address, for_gateway)
            elif for_gateway:
                ip = gateway_of(pool.subnet)
            else:
                ip = self._next_free(pool)
            self._state.write(self._pools.offered(pool, ip, for_network=for_gateway))
            if not message.Address and not for_gateway:
                self._last[pool.id] = int(ip)
        return {"Address": f"{ip}/{pool.subnet.prefixlen}", "Data": {}}

    def release_address(self, message: messages.ReleaseAddress) -> dict[str, Any]:
        """Free the address; harmless where it is free, or is that of a running container."""
        key = f"{message.PoolID}/{check_ipv4(message.Address, 'Address')}"
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

    def _requested(self, pool: Pool, text: str, for_gateway: bool) -> IPv4Address:
        ip = check_ipv4(text, "Address")
        edges = (pool.subnet.network_address, pool.subnet.broadcast_address)
        if ip not in pool.subnet or ip in edges:
            raise InvalidRequest(f"{ip} is no host's address in {pool.subnet}", field="Address")
        if not for_gateway and pool.network_id:  # before, Docker asks for the network itself
            check_guest(ip, pool.subnet, "Address")
        if self._is_taken(pool, ip, for_gateway):
            raise Conflict(f"{ip} is in use")
        return ip

    def _is_taken(self, pool: Pool, ip: IPv4Address, for_gateway: bool) -> bool:
        """Whether somebody has the address that this one asks for."""
        own = self._pools.holder([pool], ip)
        if for_gateway:
            return own not in (None, NETWORK)
        # Offered again, for Docker may have died with the first offer.  Should two want it,
        # the first endpoint has it, and the second one's is refused.
        if own is not None and not (pool.network_id and own in (OFFERED, RETURNED)):
            return True
        others = [one for one in self._pools.siblings(pool) if one is not pool]
        holder = self._pools.holder(others, ip)
        # What a network asks for itself, before it is made, another of its subnet may have too.
        return holder is not None and bool(pool.network_id or holder != NETWORK)

    def _next_free(self, pool: Pool) -> IPv4Address:
        """The first free address after the one given last."""
        siblings = self._pools.siblings(pool)
        others = self._vnic_addresses(pool)
        first = max(int(pool.range.network_address), int(gateway_of(pool.subnet)) + 1)
        last = min(int(pool.range.broadcast_address), int(pool.subnet.broadcast_address) - 1)
        start = min(self._last.get(pool.id, first - 1), last) + 1
        for number in chain(range(start, last + 1), range(first, start)):
            ip = IPv4Address(number)
            if ip not in others and self._pools.holder(siblings, ip) is None:
                return ip
        raise Exhausted(
            f"no address of {pool.range} is free: remove containers, or widen --ip-range"
        )

    def _vnic_addresses(self, pool: Pool) -> set[IPv4Address]:
        """The addresses that VNICs of the pool's subnet have, whoever made them."""
        if not pool.subnet_id:
            return set()
        vnics = self._node.topology().vnics
        return {vnic.ip for vnic in vnics if vnic.id[:2] == pool.scope}
