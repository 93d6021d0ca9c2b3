"""``snnet lease``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from snnet.cluster import Cluster, Network

from .options import output_option, tenants_option, with_cluster
from .output import Column, print_objects

COLUMNS = (
    Column("NETWORK", "network"),
    Column("IP", "address"),
    Column("MAC", "mac"),
    Column("VNIC", "name"),
    Column("HOSTNAME", "hostname", wide=True),
    Column("EXPIRES", "expires_in"),
)


@click.group()
def lease() -> None:
    """DHCP leases of this host's concentrators."""


@lease.command("list")
@tenants_option
@output_option
@with_cluster
def list_(cluster: Cluster, tenant: str, all_tenants: bool, output: str) -> None:
    """List the leases that guests hold (root).

    It asks this host's concentrators.

    \b
    snnet lease list
    """
    names = {
        str(ip): vnic.name
        for vnic in cluster.list_vnics(None if all_tenants else tenant)
        for ip in vnic.ips
    }
    found = [
        lease
        for network in cluster.list_networks(None if all_tenants else tenant)
        for lease in _leases(network, names)
    ]
    print_objects(found, COLUMNS, output, all_tenants=all_tenants, empty="no leases on this host")


@dataclass(frozen=True, slots=True)
class _Lease:
    data: Mapping[str, Any]

    def to_dict(self) -> Mapping[str, Any]:
        return self.data


def _leases(network: Network, names: Mapping[str, str]) -> Iterator[_Lease]:
    from snnet.config import NetworkConfig
    from snnet.node import Cnci
    from snnet.system import named

    netns = network.status.details.get("netns")
    if netns is None or not named.exists(netns):
        return  # the concentrator is on another host, or its agent makes it again
    config = NetworkConfig(topology="local")
    with Cnci(
        network.tenant, config, tenant_id=network.tenant, netns=netns, read_only=True
    ) as cnci:
        cnci.init()
        served = {one for subnet in cnci.topology().subnets for one in subnet.networks}
        # What failed, or was not made yet, has no leases.
        for subnet in served.intersection(network.subnet):
            for held in cnci.leases(subnet):
                left = max(0, round(held.expires - time.time())) if held.expires else None
                yield _Lease(
                    {
                        "network": network.name,
                        "tenant": network.tenant,
                        "name": names.get(str(held.address)),
                        "state": "held",
                        "address": str(held.address),
                        "mac": held.mac,
                        "hostname": held.hostname,
                        "expires_in": "never" if left is None else f"{left} s",
                    }
                )
