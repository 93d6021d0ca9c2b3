"""Where the VNICs of endpoints come from: here, a compute node on its own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Container, Hashable, Mapping
from dataclasses import replace
from typing import Any

from snnet.checks import check_id
from snnet.config import VnicConfig, VnicRole
from snnet.contract import InvalidRequest, IPAddress, IPNetwork, Link
from snnet.contract.dhcp import is_guest_address
from snnet.core.addressing import mac_for
from snnet.core.requests import VnicId
from snnet.core.tunnels import wire
from snnet.core.vnics import TenantSubnet, Vnic
from snnet.node import ComputeNode

from .options import (
    BRIDGE,
    CONCENTRATOR_IP,
    OURS,
    SUBNET_ID,
    SUBNET_KEY,
    TENANT,
    refuse_unknown,
    subnet_fields,
)
from .state import Endpoint, Network, Pool


class Vnics:
    """Creates and destroys the VNICs of endpoints on a node, and knows its options.

    A network is a tenant's subnet that the options describe completely.
    """

    subnet_option = SUBNET_ID
    """The option that names a network's subnet."""

    bridges = True
    """Whether a network may map existing VNICs, by the name of their bridge."""

    def __init__(self, node: ComputeNode) -> None:
        self._node = node

    @property
    def routed(self) -> bool:
        """Whether guests are routed and not bridged."""
        return self._node.routed

    def all(self) -> list[Vnic]:
        """All VNICs of the node, the plugin's and others."""
        return list(self._node.topology().vnics)

    def subnets(self) -> list[TenantSubnet]:
        """All tenants' subnets on the node."""
        return list(self._node.topology().subnets)

    def is_at_home(self, vnic: Vnic | None) -> bool:
        """Whether no container has the VNIC: its end is on the host, or does not exist.

        When a container's namespace vanishes, both ends of the veth pair vanish.
        """
        if vnic is None or vnic.peer_name is None:
            return True
        find = self._node.backend.find
        return find(Link(name=vnic.peer_name)) is not None or find(vnic.link) is None

    # -- options -----------------------------------------------------------------------

    def pool_scope(self, options: Mapping[str, str]) -> tuple[str, str]:
        """The tenant and subnet that a pool's options name; both may be empty."""
        refuse_unknown(options, (TENANT, SUBNET_ID))
        tenant, subnet_id = options.get(TENANT, ""), options.get(SUBNET_ID, "")
        if bool(tenant) != bool(subnet_id):
            raise InvalidRequest(
                f"give both --ipam-opt {TENANT}= and --ipam-opt {SUBNET_ID}=, or neither"
            )
        if tenant:
            check_id(tenant, TENANT)
            check_id(subnet_id, SUBNET_ID)
        return tenant, subnet_id

    def network_fields(self, options: Mapping[str, str]) -> dict[str, Any]:
        """The fields of a network on which the plugin creates VNICs, from its options."""
        refuse_unknown(options, OURS)
        if TENANT not in options:
            raise InvalidRequest(
                f"is needed: give -o {TENANT}=, or -o {BRIDGE}= to use existing VNICs",
                field=TENANT,
            )
        for name in () if self.routed else (SUBNET_KEY, CONCENTRATOR_IP):
            if name not in options:
                raise InvalidRequest(f"is needed: give -o {name}=", field=name)
        return {"subnet_id": "", **subnet_fields(options)}

    def subnet_id(self, network: Network, pools: list[Pool], *, ours: bool) -> str:
        """The id of a network's subnet that its options do not name.

        ``pools`` are those that it may have, and ``ours`` says that it has one.
        """
        found = {pool.subnet_id for pool in pools}
        if len(found) == 1:
            return found.pop()
        reason = f"may be any of {', '.join(sorted(found))}" if found else "is needed"
        raise InvalidRequest(
            f"{reason}: give -o {SUBNET_ID}=, or --ipam-driver with --ipam-opt {TENANT}= and "
            f"--ipam-opt {SUBNET_ID}=",
            field=SUBNET_ID,
        )

    # -- networks ----------------------------------------------------------------------

    def prepared(self, network: Network) -> Network:
        """Check that VNICs can be created on a network; return it as it is to be stored."""
        scoped = [vnic for vnic in self.all() if vnic.id[:2] == network.scope]
        taken = {ip for vnic in scoped for ip in vnic.ips}
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
        return network

    def wire(self, network: Network) -> Hashable | None:
        """What no two subnets of the node can have in common: the identity of their tunnels."""
        key, remote, site = network.subnet_key, network.concentrator_ip, self._node.site
        if self.routed or key is None or remote is None:
            return None
        return wire(site.tunnel, key, site.ip, remote, site.port)

    def release(self, network: Network) -> None:
        """Give up a network that has no endpoint any more.  May be repeated."""

    # -- VNICs -------------------------------------------------------------------------

    def name(self, endpoint_id: str) -> str:
        """The id of an endpoint's VNIC: the first half of Docker's 256-bit id as a UUID.

        That fits into a link's alias.
        """
        if re.fullmatch(r"[0-9a-f]{64}", endpoint_id):
            return str(uuid.UUID(endpoint_id[:32]))
        return endpoint_id

    def make(self, network: Network, endpoint: Endpoint) -> Vnic:
        """Create the VNIC of a stored endpoint, or return the one that is there."""
        return self._node.create_vnic(vnic_config(network, endpoint)).vnic

    def remove(self, endpoint: Endpoint) -> None:
        """Prepare that an endpoint is forgotten: destroy its VNIC, if there is one."""
        self._node.destroy_vnic(_identity(endpoint))

    def taken(self, scope: tuple[str, str]) -> set[IPAddress]:
        """The addresses of a tenant's subnet that VNICs have, the plugin's and others."""
        return {ip for vnic in self.all() if vnic.id[:2] == scope for ip in vnic.ips}


def vnic_config(network: Network, endpoint: Endpoint) -> VnicConfig:
    """The VNIC to create for an endpoint."""
    return replace(
        _identity(endpoint),
        instance_id=endpoint.vnic_id,
        concentrator_id=network.concentrator_id,
        concentrator_ip=network.concentrator_ip,
        subnet=network.subnets,
        subnet_key=network.subnet_key,
        ip=endpoint.ips,
        mac=endpoint.mac,
        mtu=network.mtu,
    )


def _identity(endpoint: Endpoint) -> VnicConfig:
    return VnicConfig(
        role=VnicRole.TENANT_CONTAINER,
        tenant_id=endpoint.tenant_id,
        subnet_id=endpoint.subnet_id,
        vnic_id=endpoint.vnic_id,
    )


def identity_of(endpoint: Endpoint) -> VnicId:
    """The identity of an endpoint's VNIC on the node."""
    return (endpoint.tenant_id, endpoint.subnet_id, endpoint.vnic_id)


def _first_free(subnet: IPNetwork, taken: Container[IPAddress]) -> IPAddress | None:
    """The first address for a guest that no VNIC has."""
    free = (ip for ip in subnet.hosts() if ip not in taken and is_guest_address(ip, subnet))
    return next(free, None)
