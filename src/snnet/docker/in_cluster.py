"""Where the VNICs of endpoints come from: here, a cluster whose agent runs the node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from snnet import cluster
from snnet.checks import check_id
from snnet.cluster import Cluster, keys, store, stored
from snnet.cluster.documents import FAILED, READY
from snnet.cluster.rules import forwards_of, public_ips_of
from snnet.contract import Conflict, InvalidRequest, IPAddress, Registry, SnnetError, Timeout
from snnet.core.addressing import written
from snnet.core.vnics import Vnic
from snnet.node import ComputeNode

from .intents import ClusterState
from .options import CLUSTERS, NETWORK, TENANT, cluster_fields, refuse_unknown
from .state import Endpoint, Network, Pool
from .vnics import Vnics, identity_of

PATIENCE = 12.0
"""Seconds to wait for the agent; Docker itself waits for 30 s."""


class ClusterVnics(Vnics):
    """Waits for what the agent makes of the documents, and knows the networks of the cluster.

    A network is one of the cluster, by its name.  The first Docker network of a name that
    the cluster does not know creates it.
    """

    subnet_option = NETWORK
    bridges = False

    def __init__(self, node: ComputeNode, registry: Registry, state: ClusterState) -> None:
        super().__init__(node)
        self._cluster = Cluster(registry)
        self._state = state

    # -- options -----------------------------------------------------------------------

    def pool_scope(self, options: Mapping[str, str]) -> tuple[str, str]:
        """The tenant and network of a pool: its addresses are the network's."""
        refuse_unknown(options, (TENANT, NETWORK))
        if NETWORK not in options:
            raise InvalidRequest(
                f"is needed: give --ipam-opt {NETWORK}= with the network's name", field=NETWORK
            )
        tenant = check_id(options.get(TENANT, cluster.DEFAULT_TENANT), TENANT)
        return tenant, check_id(options[NETWORK], NETWORK)

    def network_fields(self, options: Mapping[str, str]) -> dict[str, Any]:
        """The fields of a network, from its options."""
        refuse_unknown(options, CLUSTERS)
        return cluster_fields(options)

    def subnet_id(self, network: Network, pools: list[Pool], *, ours: bool) -> str:
        """The name of the cluster's network: the pool's, or one made of Docker's id."""
        found = {pool.subnet_id for pool in pools}
        if len(found) == 1:
            return found.pop()
        if not ours:
            return f"docker-{network.id[:12]}"
        reason = f"may be any of {', '.join(sorted(found))}" if found else "is needed"
        raise InvalidRequest(
            f"{reason}: give -o {NETWORK}=, and -o {TENANT}= as in --ipam-opt {TENANT}=",
            field=NETWORK,
        )

    # -- networks ----------------------------------------------------------------------

    def prepared(self, network: Network) -> Network:
        """Check a network against that of the cluster; note whether the cluster has it already."""
        tenant, name = network.scope
        known = store.find(self._cluster.registry, cluster.Network, tenant, name)
        wanted = known or cluster.Network(name=name, tenant=tenant, subnet=network.subnets)
        if wanted.subnet != network.subnets:
            options = " ".join(f"--subnet {one}" for one in wanted.subnet)
            raise InvalidRequest(
                f"the subnet of {wanted.title} is {written(wanted.subnet)}, not "
                f"{written(network.subnets)}: give {options}",
                field="Pool",
            )
        if not {*network.gateways} <= {*wanted.gateways}:
            raise InvalidRequest(
                f"the gateway of {wanted.title} is {written(wanted.gateways)}: leave out --gateway",
                field="Gateway",
            )
        return network.model_copy(update={"made": known is None})

    def release(self, network: Network) -> None:
        """Delete the cluster's network if the plugin created it and nothing else is on it."""
        if not network.made or self._is_mapped_by_another(network):
            return
        with suppress(Conflict):  # somebody else's VNICs are on it: it is theirs now
            self._cluster.delete_network(*network.scope)

    def _is_mapped_by_another(self, network: Network) -> bool:
        """Whether another Docker network, here or on another node, is the same network."""
        entries = self._cluster.registry.read(keys.DOCKER).entries
        found = (
            entry.document
            for key, entry in entries.items()
            if key.split("/")[4:5] == [Network.table]
        )
        return any(
            (one.get("tenant_id"), one.get("subnet_id")) == network.scope
            and one.get("id") != network.id
            for one in found
        )

    # -- VNICs -------------------------------------------------------------------------

    def name(self, endpoint_id: str) -> str:
        """The name of an endpoint's VNIC, with the id as Docker shortens it."""
        if re.fullmatch(r"[0-9a-f]{64}", endpoint_id):
            return f"docker-{endpoint_id[:12]}"
        return endpoint_id

    def make(self, network: Network, endpoint: Endpoint) -> Vnic:
        """Wait until the agent has made the VNIC of a stored endpoint.

        Raises ``Timeout``, and ``SnnetError`` with the agent's reason if it failed.
        """
        found = self._cluster.wait_vnic(endpoint.tenant_id, endpoint.vnic_id, PATIENCE)
        if found.state == FAILED:
            raise SnnetError(f"the agent cannot make {found.title}: {found.error}")
        made = next((vnic for vnic in self.all() if vnic.id == identity_of(endpoint)), None)
        if found.state != READY or made is None:
            reason = found.error or "the agent has not tried it yet: see its log"
            raise Timeout(f"{found.title} is not ready after {PATIENCE:g} s: {reason}")
        return made

    def remove(self, endpoint: Endpoint) -> None:
        """Delete the forwards and public addresses that lead to an endpoint's VNIC."""
        tenant, name = endpoint.tenant_id, endpoint.vnic_id
        vnic = store.find(self._cluster.registry, cluster.Vnic, tenant, name, stored.salvage)
        if vnic is None:
            return
        reading = self._cluster.registry.read(
            f"{keys.FORWARDS}{tenant}/", f"{keys.PUBLIC_IPS}{tenant}/"
        )
        for forward in forwards_of(reading, vnic):
            self._cluster.delete_forward(tenant, forward.name)
        for public in public_ips_of(reading, vnic):
            self._cluster.delete_public_ip(tenant, public.name)

    def taken(self, scope: tuple[str, str]) -> set[IPAddress]:
        """The addresses of a network that VNICs have, or that others hold, wherever they are."""
        return self._state.claimed(scope)
