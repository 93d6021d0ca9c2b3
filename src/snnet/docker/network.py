"""The network driver (moby, ``libnetwork/docs/remote.md``)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from snnet.config import check_network
from snnet.contract import Conflict, Incomplete, InvalidRequest
from snnet.core.addressing import check_subnet, mac_for
from snnet.core.compute import Subnet
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
"""The address space of our IPAM driver: one for all pools, for none is known by its CIDR."""


class NetworkDriver:
    """Maps Docker's networks onto tenants' subnets; ``endpoints`` does the rest."""

    def __init__(self, state: State, pools: Pools, node: ComputeNode, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._state = state
        self._pools = pools
        self._node = node

    def create(self, message: messages.CreateNetwork) -> dict[str, Any]:
        """Remember the network, once it is sure that the node can have it."""
        network, pools = self._wanted(message)
        known = self._state.networks.get(network.id)
        if known is not None and known != network:
            raise Conflict(f"network {network.id} is there already, and is another one")
        if known is None and not network.bridge:
            self._check_with_node(network)
        with self._state.lock:
            certain = len(pools) == 1 and not pools[0].network_id
            link = self._pools.linked(pools[0], network) if certain else []
            self._state.write(network, *link)
        return {}

    def delete(self, message: messages.OfNetwork) -> dict[str, Any]:
        """Forget the network, and whatever endpoints Docker has forgotten already."""
        self.forget(message.NetworkID)
        return {}

    def forget(self, network_id: str) -> None:
        """Remove its endpoints, and then the network; harmless where there is none.

        Incomplete says what is left; it goes with the last of its endpoints.
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

    # -- what a network is ----------------------------------------------------------------

    def _wanted(self, message: messages.CreateNetwork) -> tuple[Network, list[Pool]]:
        """The network, and the pools that may be its: Docker does not say which is."""
        options = generic(message.Options)
        if message.IPv6Data:
            raise InvalidRequest("tenants are IPv4: leave out --ipv6", field="IPv6Data")
        if len(message.IPv4Data) != 1:
            raise InvalidRequest(
                f"a network is one subnet of a tenant, not {len(message.IPv4Data)}",
                field="IPv4Data",
            )
        data = message.IPv4Data[0]
        subnet = check_subnet(check_network(data.Pool, "Pool"), "Pool")
        gateway = interface(data.Gateway, "Gateway").ip if data.Gateway else None
        auxiliary = [interface(text, "AuxAddresses").ip for text in data.AuxAddresses.values()]
        ours = data.AddressSpace == SPACE
        network = Network(
            id=message.NetworkID,
            subnet=subnet,
            gateway=gateway,
            own=tuple(([gateway] if gateway else []) + auxiliary) if ours else (),
            internal=is_internal(message.Options),
            **(self._mapped(options, subnet) if BRIDGE in options else self._fields(options)),
        )
        if network.subnet_id:
            pools = self._pools.candidates(network)
            if ours and not pools:
                raise InvalidRequest(
                    f"no pool is of tenant {network.tenant_id}'s subnet {network.subnet_id}: say "
                    "the same with -o and --ipam-opt",
                    field=SUBNET_ID,
                )
            return network, pools
        pools = self._pools_with_subnet_id(network) if ours else []
        return network.model_copy(update={"subnet_id": _subnet_id(pools)}), pools

    def _pools_with_subnet_id(self, network: Network) -> list[Pool]:
        """The pools that may be the network's and name its subnet, which it does not itself."""
        scopes = {pool.scope for pool in self._state.pools.all() if pool.subnet_id}
        return [
            pool
            for tenant_id, subnet_id in scopes
            if tenant_id == network.tenant_id
            for pool in self._pools.candidates(network.model_copy(update={"subnet_id": subnet_id}))
            if pool.subnet_id
        ]

    def _fields(self, options: Mapping[str, str]) -> dict[str, Any]:
        """What the options say of a network that VNICs are to be made on."""
        if TENANT not in options:
            raise InvalidRequest(
                f"is needed: give -o {TENANT}=, or -o {BRIDGE}= for VNICs that are there",
                field=TENANT,
            )
        for name in () if self._node.routed else (SUBNET_KEY, CONCENTRATOR_IP):
            if name not in options:
                raise InvalidRequest(f"is needed: give -o {name}=", field=name)
        return {"subnet_id": "", **subnet_fields(options)}

    def _mapped(self, options: Mapping[str, str], network: IPv4Network) -> dict[str, Any]:
        """What the bridge's name says of a network whose VNICs are there."""
        bridge = options[BRIDGE]
        subnet = self._subnet_of(bridge)
        if subnet.network != network:
            raise InvalidRequest(
                f"{bridge} is {subnet.network}: give this as --subnet", field="Pool"
            )
        return {
            "tenant_id": subnet.tenant_id,
            "subnet_id": subnet.subnet_id,
            "bridge": bridge,
        }

    def _subnet_of(self, bridge: str) -> Subnet:
        for subnet in self._node.topology().subnets:
            if subnet.network_name == bridge:
                return subnet
        raise InvalidRequest(
            f"this node has no bridge {bridge!r}: create_vnic makes it, and its container_info "
            "has its name",
            field=BRIDGE,
        )

    def _check_with_node(self, network: Network) -> None:
        """Refuse what the node would refuse to the first container."""
        vnics = self._node.topology().vnics
        taken = {vnic.ip for vnic in vnics if vnic.id[:2] == network.scope}
        free = (ip for ip in network.subnet.hosts() if ip not in taken)
        next(free)  # the gateway's
        if (ip := next(free, None)) is not None:
            probe = Endpoint(
                id="",
                network_id=network.id,
                tenant_id=network.tenant_id,
                subnet_id=network.subnet_id,
                vnic_id=str(uuid.uuid4()),
                ip=ip,
                mac=mac_for(ip),
                made=True,
                since=0,
            )
            self._node.plan_create_vnic(vnic_config(network, probe))


def _subnet_id(pools: list[Pool]) -> str:
    """The subnet id that the network's pool was given, where there is no doubt."""
    found = {pool.subnet_id for pool in pools}
    if len(found) == 1:
        return found.pop()
    doubt = f"is one of {', '.join(sorted(found))}" if found else "is needed"
    raise InvalidRequest(
        f"{doubt}: give -o {SUBNET_ID}=, or --ipam-driver with --ipam-opt {TENANT}= and "
        f"--ipam-opt {SUBNET_ID}=",
        field=SUBNET_ID,
    )
