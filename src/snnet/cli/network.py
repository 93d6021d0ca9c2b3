"""``snnet network``."""

from __future__ import annotations

import click

from snnet.cluster import Cluster
from snnet.cluster.documents import SUBNET_KEY_MAX

from .options import (
    complete,
    force_option,
    mtu_option,
    output_option,
    tenant_option,
    tenants_option,
    wait_options,
    with_cluster,
    with_new_cluster,
)
from .output import ERROR, STATE, Column, print_objects, print_one
from .waiting import finish

COLUMNS = (
    Column("NAME", "name"),
    Column("SUBNET", "subnet"),
    Column("KEY", "key", wide=True),
    Column("MTU", "mtu", wide=True),
    STATE,
    ERROR,
)
_NAME = click.argument("name", shell_complete=complete("networks"))


@click.group()
def network() -> None:
    """Networks of tenants.

    A network has an IPv4 subnet, an IPv6 subnet or both, a gateway, DHCP and DNS.  A
    tenant's networks reach each other, and no other tenant's; two tenants may use the same
    addresses.
    """


@network.command()
@click.argument("name")
@click.option(
    "--subnet",
    "subnets",
    multiple=True,
    required=True,
    metavar="CIDR",
    help="Such as 10.1.0.0/24; give it twice for IPv4 and IPv6.",
)
@click.option(
    "--key",
    type=int,
    metavar="N",
    help=f"The key of its tunnels, 1 to {SUBNET_KEY_MAX}.  Default: a free one.",
)
@mtu_option("what the path allows")
@tenant_option
@wait_options
@output_option
@with_new_cluster
def create(
    cluster: Cluster,
    name: str,
    subnets: tuple[str, ...],
    key: int | None,
    mtu: int | None,
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Create a network.

    \b
    snnet network create web --subnet 10.1.0.0/24
    """
    made = cluster.create_network(name, tenant=tenant, subnet=subnets, key=key, mtu=mtu)
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary="{subnet}")


@network.command("list")
@tenants_option
@output_option
@with_cluster
def list_(cluster: Cluster, tenant: str, all_tenants: bool, output: str) -> None:
    """List networks.

    \b
    snnet network list -A -o wide
    """
    found = cluster.list_networks(None if all_tenants else tenant)
    print_objects(
        found,
        COLUMNS,
        output,
        all_tenants=all_tenants,
        empty="no networks: 'snnet network create' makes one",
    )


@network.command()
@_NAME
@tenant_option
@output_option
@with_cluster
def show(cluster: Cluster, name: str, tenant: str, output: str) -> None:
    """Show a network.

    \b
    snnet network show web
    """
    print_one(cluster.get_network(tenant, name), output)


@network.command()
@_NAME
@mtu_option()
@tenant_option
@wait_options
@output_option
@with_cluster
def update(
    cluster: Cluster, name: str, mtu: int, tenant: str, wait: bool, timeout: float, output: str
) -> None:
    """Change the MTU of a network.

    Its gateway and VNICs are changed in place.  Guests learn it with their next lease.

    \b
    snnet network update web --mtu 1400
    """
    made = cluster.update_network(tenant, name, mtu=mtu)
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary="{subnet}")


@network.command()
@_NAME
@force_option("Also delete its VNICs, and the forwards and public addresses that lead to them.")
@tenant_option
@with_cluster
def delete(cluster: Cluster, name: str, force: bool, tenant: str) -> None:
    """Delete a network that has no VNICs, or with --force its VNICs too.

    Returns when the registry has it; the agent does the work afterwards.

    \b
    snnet network delete web
    """
    cluster.delete_network(tenant, name, force=force)
