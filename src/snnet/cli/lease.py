"""``snnet lease``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from snnet.cluster import Cluster, Network
from snnet.contract import DhcpLease, IPAddress, SnnetError

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

    It asks this host's concentrators.  If one of them fails, its error is printed, and the
    others are asked all the same.  Exits with 1 then.

    \b
    snnet lease list
    """
    names = {
        (vnic.tenant, ip): vnic.name
        for vnic in cluster.list_vnics(None if all_tenants else tenant)
        for ip in vnic.ips
    }
    served: dict[str, list[Network]] = {}
    for network in cluster.list_networks(None if all_tenants else tenant):
        served.setdefault(network.status.details.get("netns", ""), []).append(network)
    found: list[_Lease] = []
    well = True
    for netns, networks in served.items():
        try:
            found += _leases(netns, networks, names)
        except SnnetError as error:
            click.echo(f"the concentrator in {netns}: {error}", err=True)
            well = False
    empty = f"no {'' if well else 'other '}leases on this host"
    print_objects(found, COLUMNS, output, all_tenants=all_tenants, empty=empty)
    sys.exit(0 if well else 1)


@dataclass(frozen=True, slots=True)
class _Lease:
    data: Mapping[str, Any]

    def to_dict(self) -> Mapping[str, Any]:
        return self.data


def _leases(
    netns: str, networks: Iterable[Network], names: Mapping[tuple[str, IPAddress], str]
) -> Iterator[_Lease]:
    """The leases of networks whose concentrator is in a namespace."""
    from snnet.doctor.survey import nodes_in, opened
    from snnet.node import Cnci
    from snnet.system import named

    if not netns or not named.exists(netns):
        return  # the concentrator is on another host, or its agent makes it again
    for node in nodes_in(netns):
        if node.role != Cnci.role:
            continue
        with opened(node, read_only=True) as cnci:
            assert isinstance(cnci, Cnci)
            served = {one for subnet in cnci.topology().subnets for one in subnet.networks}
            for network in networks:
                # What failed, or was not made yet, has no leases.
                for subnet in served.intersection(network.subnet):
                    for held in cnci.leases(subnet):
                        yield _lease_of(network, held, names.get((network.tenant, held.address)))


def _lease_of(network: Network, held: DhcpLease, name: str | None) -> _Lease:
    left = max(0, round(held.expires - time.time())) if held.expires else None
    return _Lease(
        {
            "network": network.name,
            "tenant": network.tenant,
            "name": name,
            "state": "held",
            "address": str(held.address),
            "mac": held.mac,
            "hostname": held.hostname,
            "expires_in": "never" if left is None else f"{left} s",
        }
    )
