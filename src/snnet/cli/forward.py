"""``snnet forward``."""

from __future__ import annotations

import click

from snnet.cluster import Cluster
from snnet.contract import PROTOCOLS

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

COLUMNS = (
    Column("NAME", "name"),
    Column("NETWORK", "network"),
    Column("PORT", "port"),
    Column("PROTOCOL", "protocol"),
    Column("TO", lambda item: f"{item['to']}:{item.get('to_port') or item['port']}"),
    Column("SOURCES", "sources", wide=True),
    STATE,
    ERROR,
)


@click.group()
def forward() -> None:
    """Ports that lead to a VNIC from outside.

    Clients connect to the host that runs the tenant's concentrator, in topology 'hub' to the
    concentrator's own address: 'snnet topology' shows it.
    """


@forward.command()
@click.option(
    "--network",
    required=True,
    shell_complete=complete("networks"),
    help="The network of the VNIC.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="tcp",
    show_default=True,
    help="The protocol of the port.",
)
@click.option(
    "--port", required=True, metavar="A[-B]", help="The port to which clients connect, or a range."
)
@click.option(
    "--to",
    required=True,
    metavar="VNIC",
    shell_complete=complete("vnics"),
    help="The VNIC that it leads to.",
)
@click.option(
    "--to-port",
    type=int,
    metavar="N",
    help="The port of the VNIC; of a range the first one.  Default: the same port.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="CIDR",
    help="A network that may connect; may be repeated.  Default: everybody.",
)
@tenant_option
@wait_options
@output_option
@with_cluster
def create(
    cluster: Cluster,
    network: str,
    protocol: str,
    port: str,
    to: str,
    to_port: int | None,
    sources: tuple[str, ...],
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Forward a port.

    \b
    snnet forward create --network web --port 8080 --to v1 --to-port 80
    """
    made = cluster.create_forward(
        tenant=tenant,
        network=network,
        protocol=protocol,
        port=port,
        to=to,
        to_port=to_port,
        sources=sources,
    )
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary="to {to}")


@forward.command("list")
@tenants_option
@output_option
@with_cluster
def list_(cluster: Cluster, tenant: str, all_tenants: bool, output: str) -> None:
    """List forwards.

    \b
    snnet forward list
    """
    found = cluster.list_forwards(None if all_tenants else tenant)
    print_objects(
        found,
        COLUMNS,
        output,
        all_tenants=all_tenants,
        empty="no forwards: 'snnet forward create' makes one",
    )


@forward.command()
@click.argument("name", shell_complete=complete("forwards"))
@tenant_option
@with_cluster
def delete(cluster: Cluster, name: str, tenant: str) -> None:
    """Delete a forward, by its name in the list.

    Returns when the registry has it; the agent does the work afterwards.

    \b
    snnet forward delete tcp-8080
    """
    cluster.delete_forward(tenant, name)
