"""``snnet public-ip``."""

from __future__ import annotations

import click

from snnet.cluster import Cluster

from .options import (
    complete,
    output_option,
    tenant_option,
    tenants_option,
    wait_options,
    with_cluster,
)
from .output import ERROR, STATE, Column, print_objects
from .waiting import finish

COLUMNS = (Column("ADDRESS", "name"), Column("TO", "to"), STATE, ERROR)


@click.group()
def public_ip() -> None:
    """Public addresses of VNICs."""


@public_ip.command()
@click.argument("address")
@click.option(
    "--to",
    required=True,
    metavar="VNIC",
    shell_complete=complete("vnics"),
    help="The VNIC that gets it.",
)
@tenant_option
@wait_options
@output_option
@with_cluster
def create(
    cluster: Cluster, address: str, to: str, tenant: str, wait: bool, timeout: float, output: str
) -> None:
    """Give a VNIC a public address.

    It must be in the setting floating_pool, if there is one, and packets for it must reach the
    host that runs the tenant's concentrator.

    \b
    snnet public-ip create 203.0.113.5 --to v1
    """
    made = cluster.create_public_ip(address, tenant=tenant, to=to)
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary="to {to}")


@public_ip.command("list")
@tenants_option
@output_option
@with_cluster
def list_(cluster: Cluster, tenant: str, all_tenants: bool, output: str) -> None:
    """List public addresses.

    \b
    snnet public-ip list
    """
    found = cluster.list_public_ips(None if all_tenants else tenant)
    print_objects(found, COLUMNS, output, all_tenants=all_tenants, empty="no public addresses")


@public_ip.command()
@click.argument("address", shell_complete=complete("public-ips"))
@tenant_option
@with_cluster
def delete(cluster: Cluster, address: str, tenant: str) -> None:
    """Take a public address from its VNIC.

    Returns when the registry has it; the agent does the work afterwards.

    \b
    snnet public-ip delete 203.0.113.5
    """
    cluster.delete_public_ip(tenant, address)
