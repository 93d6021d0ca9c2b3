"""The network driver (moby, ``libnetwork/docs/remote.md``)."""

from __future__ import annotations

import uuid
from collections.abc import Container, Mapping
from typing import Any

from snnet.contract import Conflict, Incomplete, InvalidRequest, IPAddress, IPNetwork
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import Networks, check_subnets, mac_for, written
from snnet.core.vnics import TenantSubnet
from snnet.node import ComputeNode

from . import messages
from .endpoints import Endpoints, vnic_config
from .options import (
    BRIDGE,
    CONCENTRATOR_IP,
    SUBNET_ID,
    SUBNET_KEY,
    TENANT,
    generic,
    interface,
    is_internal,
    subnet_fields,
)
from .pools import Pools
from .state import Endpoint, Network, Pool, State

SPACE = "snnet"
"""The only address space of the IPAM driver.  Pools are identified by id, not by CIDR."""


class NetworkDriver:
    """Maps Docker's networks to tenants' subnets.  ``endpoints`` handles their endpoints."""

    def __init__(self, state: State, pools: Pools, node: ComputeNode, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._state = state
        self._pools = pools
        self._node = node

    def create(self, message: messages.CreateNetwork) -> dict[str, Any]:
        """Store the network, after checking that the node can create VNICs on it."""
        network, pools = self._wanted(message)
        known = self._state.networks.get(network.id)
        if known is not None and known != network:
            raise Conflict(f"network {network.id} already exists with other settings")
        if known is None and not network.bridge:
            self._check_with_node(network)
        with self._state.lock:
            certain = self._pools.certain(pools)
            links = [link for pool in certain for link in self._pools.linked(pool, network)]
            self._state.write(network, *links)
        return {}

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
        with self._state.lock:
            left = self.endpoints.on_network(network_id)
            if not left:
                self._state.write(remove=[network])
        if left:
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
            **(self._mapped(options, subnets) if BRIDGE in options else self._fields(options)),
        )
        if network.subnet_id:
            pools = self._pools.candidates(network)
            if ours and not pools:
                raise InvalidRequest(
                    f"no pool belongs to subnet {network.subnet_id!r} of tenant "
                    f"{network.tenant_id!r}: give the same ids with -o and --ipam-opt",
                    field=SUBNET_ID,
                )
            return network, pools
        pools = self._pools_with_subnet_id(network) if ours else []
        return network.model_copy(update={"subnet_id": _subnet_id(pools)}), pools

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

    def _fields(self, options: Mapping[str, str]) -> dict[str, Any]:
        """The fields of a network on which the plugin creates VNICs, from its options."""
        if TENANT not in options:
            raise InvalidRequest(
                f"is needed: give -o {TENANT}=, or -o {BRIDGE}= to use existing VNICs",
                field=TENANT,
            )
        for name in () if self._node.routed else (SUBNET_KEY, CONCENTRATOR_IP):
            if name not in options:
                raise InvalidRequest(f"is needed: give -o {name}=", field=name)
        return {"subnet_id": "", **subnet_fields(options)}

    def _mapped(self, options: Mapping[str, str], networks: Networks) -> dict[str, Any]:
        """The fields of a network with existing VNICs, found by the bridge's name."""
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
        for subnet in self._node.topology().subnets:
            if subnet.network_name == bridge:
                return subnet
        raise InvalidRequest(
            f"this node has no bridge {bridge!r}: call create_vnic first, and use the bridge name "
            "in its container_info",
            field=BRIDGE,
        )

    def _check_with_node(self, network: Network) -> None:
        """Raise the error that the node would raise for the first container."""
        vnics = self._node.topology().vnics
        taken = {ip for vnic in vnics if vnic.id[:2] == network.scope for ip in vnic.ips}
        free = [_first_free(subnet, taken) for subnet in network.subnets]
        ips = tuple(ip for ip in free if ip is not None)
        if len(ips) == len(free):
            probe = Endpoint(
                id="",
                network_id=network.id,
                tenant_id=network.tenant_id,
                subnet_id=network.subnet_id,
                vnic_id=str(uuid.uuid4()),
                ips=ips,
                mac=mac_for(ips),
                made=True,
                since=0,
            )
            self._node.plan_create_vnic(vnic_config(network, probe))


def _first_free(subnet: IPNetwork, taken: Container[IPAddress]) -> IPAddress | None:
    """The first address for a guest that no VNIC has."""
    free = (ip for ip in subnet.hosts() if ip not in taken and is_guest_address(ip, subnet))
    return next(free, None)


def _subnet_id(pools: list[Pool]) -> str:
    """The subnet id of the network's pool, if there is only one possible."""
    found = {pool.subnet_id for pool in pools}
    if len(found) == 1:
        return found.pop()
    reason = f"may be any of {', '.join(sorted(found))}" if found else "is needed"
    raise InvalidRequest(
        f"{reason}: give -o {SUBNET_ID}=, or --ipam-driver with --ipam-opt {TENANT}= and "
        f"--ipam-opt {SUBNET_ID}=",
        field=SUBNET_ID,
    )
