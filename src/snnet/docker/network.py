"""The network driver (moby, ``libnetwork/docs/remote.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnet.contract import Conflict, Incomplete, InvalidRequest
from snnet.core.addressing import Networks, check_subnets, written
from snnet.core.vnics import TenantSubnet

from . import messages
from .endpoints import Endpoints
from .options import (
    BRIDGE,
    OURS,
    SUBNET_KEY,
    TENANT,
    generic,
    interface,
    is_internal,
    refuse_unknown,
)
from .pools import Pools
from .state import Network, Pool, State
from .vnics import Vnics

SPACE = "snnet"
"""The only address space of the IPAM driver.  Pools are identified by id, not by CIDR."""


class NetworkDriver:
    """Maps Docker's networks to tenants' subnets.  ``endpoints`` handles their endpoints."""

    def __init__(self, state: State, pools: Pools, vnics: Vnics, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._state = state
        self._pools = pools
        self._vnics = vnics

    def create(self, message: messages.CreateNetwork) -> dict[str, Any]:
        """Store the network, after checking that VNICs can be created on it."""
        network, pools = self._wanted(message)
        known = self._state.networks.get(network.id)
        if known is not None:
            network = network.model_copy(update={"made": known.made})
            if known != network:
                raise Conflict(f"network {network.id} already exists with other settings")
        elif not network.bridge:
            network = self._vnics.prepared(network)
        with self._state.lock:
            self._check_key(network)
            certain = self._pools.certain(pools)
            links = [link for pool in certain for link in self._pools.linked(pool, network)]
            self._state.write(network, *links)
        return {}

    def _check_key(self, network: Network) -> None:
        """Raise Conflict if another network's tunnel would be the same, with or without VNICs."""
        wire = self._vnics.wire(network)
        for other in self._state.networks.all() if wire is not None else ():
            if other.scope != network.scope and self._vnics.wire(other) == wire:
                raise Conflict(
                    f"key {network.subnet_key} belongs to subnet {other.subnet_id!r} of tenant "
                    f"{other.tenant_id!r}, Docker's network {other.id[:12]}: give another key with "
                    f"-o {SUBNET_KEY}=, or remove that network first"
                )

    def delete(self, message: messages.OfNetwork) -> dict[str, Any]:
        """Remove the network, and endpoints of it that Docker has forgotten."""
        self.forget(message.NetworkID)
        return {}

    def forget(self, network_id: str) -> None:
        """Remove a network's endpoints, then the network.  An unknown one is not an error.

        Raises ``Incomplete`` if endpoints are left; the network is removed together with
        the last of them.
        """
        network = self._state.networks.get(network_id)
        if network is None:
            return
        self._state.write(network.model_copy(update={"deleted": True}))
        errors = self.endpoints.remove_all(network_id)
        self.endpoints.drop_unused(network_id)
        if left := self.endpoints.on_network(network_id):
            raise Incomplete(
                f"network {network_id} still has {len(left)} endpoints: "
                + "; ".join(map(str, errors)),
                leftovers=left,
            )

    # -- from Docker's request to a network -------------------------------------------

    def _wanted(self, message: messages.CreateNetwork) -> tuple[Network, list[Pool]]:
        """The requested network, and its possible pools, since Docker does not name the pool."""
        options = generic(message.Options)
        data = [*message.IPv4Data, *message.IPv6Data]
        for name, found in (("IPv4Data", message.IPv4Data), ("IPv6Data", message.IPv6Data)):
            if len(found) > 1 or not data:
                raise InvalidRequest(
                    f"a network has exactly one subnet of a family, not {len(found)}: give one "
                    "--subnet",
                    field=name,
                )
        subnets = check_subnets(tuple(one.Pool for one in data), "Pool")
        gateways = tuple(interface(one.Gateway, "Gateway").ip for one in data if one.Gateway)
        auxiliary = tuple(
            interface(text, "AuxAddresses").ip for one in data for text in one.AuxAddresses.values()
        )
        ours = all(one.AddressSpace == SPACE for one in data)
        network = Network(
            id=message.NetworkID,
            subnets=subnets,
            gateways=gateways,
            own=(*gateways, *auxiliary) if ours else (),
            internal=is_internal(message.Options),
            **self._fields(options, subnets),
        )
        if network.subnet_id:
            pools = self._pools.candidates(network)
            if ours and not pools:
                raise self._no_pool(network)
            return network, pools
        pools = self._pools_with_subnet_id(network) if ours else []
        if ours and not pools and any(self._scopes_beside(network)):
            raise self._no_pool(network)
        subnet_id = self._vnics.subnet_id(network, pools, ours=ours)
        return network.model_copy(update={"subnet_id": subnet_id}), pools

    def _scopes_beside(self, network: Network) -> set[tuple[str, str]]:
        """The ids that pools name for the network's subnet, and that are not the network's."""
        return {
            pool.scope
            for pool in self._state.pools.all()
            if pool.subnet_id and pool.subnet in network.subnets and not pool.network_id
            if pool.scope != network.scope
            and (network.subnet_id or pool.tenant_id != network.tenant_id)
        }

    def _no_pool(self, network: Network) -> InvalidRequest:
        """The error for a network whose ids are not those of a pool."""
        option = self._vnics.subnet_option
        whose = f"subnet {network.subnet_id!r} of " if network.subnet_id else ""
        whose += f"tenant {network.tenant_id!r}"
        others = " or ".join(
            f"{subnet_id!r} of tenant {tenant!r}"
            for tenant, subnet_id in sorted(self._scopes_beside(network))
        )
        if network.bridge:
            whose += f", which bridge {network.bridge} is of"
            remedy = (
                f"--ipam-opt {TENANT}={network.tenant_id} --ipam-opt {option}={network.subnet_id}"
            )
        else:
            remedy = "the same ids with -o and --ipam-opt"
        named = f"; --ipam-opt names subnet {others}" if others else ""
        return InvalidRequest(f"no pool belongs to {whose}{named}: give {remedy}", field=option)

    def _pools_with_subnet_id(self, network: Network) -> list[Pool]:
        """The possible pools of a network without a subnet id that have one."""
        scopes = {pool.scope for pool in self._state.pools.all() if pool.subnet_id}
        return [
            pool
            for tenant_id, subnet_id in scopes
            if tenant_id == network.tenant_id
            for pool in self._pools.candidates(network.model_copy(update={"subnet_id": subnet_id}))
            if pool.subnet_id
        ]

    def _fields(self, options: Mapping[str, str], networks: Networks) -> dict[str, Any]:
        if BRIDGE not in options:
            return self._vnics.network_fields(options)
        if not self._vnics.bridges:
            raise InvalidRequest(
                "the agent creates the VNICs of containers: leave it out", field=BRIDGE
            )
        return self._mapped(options, networks)

    def _mapped(self, options: Mapping[str, str], networks: Networks) -> dict[str, Any]:
        """The fields of a network with existing VNICs, found by the bridge's name."""
        refuse_unknown(options, OURS)
        bridge = options[BRIDGE]
        subnet = self._subnet_of(bridge)
        if subnet.networks != networks:
            options_given = " ".join(f"--subnet {one}" for one in subnet.networks)
            raise InvalidRequest(
                f"the subnet of bridge {bridge} is {written(subnet.networks)}, not "
                f"{written(networks)}: give {options_given}",
                field="Pool",
            )
        return {
            "tenant_id": subnet.tenant_id,
            "subnet_id": subnet.subnet_id,
            "bridge": bridge,
        }

    def _subnet_of(self, bridge: str) -> TenantSubnet:
        for subnet in self._vnics.subnets():
            if subnet.network_name == bridge:
                return subnet
        raise InvalidRequest(
            f"this node has no bridge {bridge!r}: call create_vnic first, and use the bridge name "
            "in its container_info",
            field=BRIDGE,
        )
