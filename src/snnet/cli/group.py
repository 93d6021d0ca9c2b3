"""``snnet group``."""

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
    with_new_cluster,
)
from .output import ERROR, STATE, Column, print_objects, print_one
from .waiting import finish

COLUMNS = (Column("NAME", "name"), Column("RULES", "rules"), STATE, ERROR)

_NAME = click.argument("name", shell_complete=complete("groups"))
_RULES = click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="RULE",
    help="What it allows, like 'in tcp 80,443 from 10.0.0.0/8', 'in icmp', 'out'; may be repeated.",
)


@click.group()
def group() -> None:
    """Security groups: what the VNICs in them may send and receive.

    A rule is 'in|out [PROTOCOL [PORTS]] [from|to NETWORK|group:NAME]'.  A VNIC in groups
    passes only what a rule of any of them allows, and the answers to it.  A VNIC in no group
    passes everything.
    """


@group.command()
@_NAME
@_RULES
@tenant_option
@wait_options
@output_option
@with_new_cluster
def create(
    cluster: Cluster,
    name: str,
    rules: tuple[str, ...],
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Create a group.

    \b
    snnet group create web --rule 'in tcp 80,443' --rule out
    """
    made = cluster.create_group(name, tenant=tenant, rules=rules)
    finish(cluster, made, wait=wait, timeout=timeout, output=output)


@group.command("list")
@tenants_option
@output_option
@with_cluster
def list_(cluster: Cluster, tenant: str, all_tenants: bool, output: str) -> None:
    """List groups.

    \b
    snnet group list
    """
    found = cluster.list_groups(None if all_tenants else tenant)
    print_objects(
        found,
        COLUMNS,
        output,
        all_tenants=all_tenants,
        empty="no groups: 'snnet group create' makes one",
    )


@group.command()
@_NAME
@tenant_option
@output_option
@with_cluster
def show(cluster: Cluster, name: str, tenant: str, output: str) -> None:
    """Show a group.

    \b
    snnet group show web
    """
    print_one(cluster.get_group(tenant, name), output)


@group.command()
@_NAME
@_RULES
@click.option("--no-rules", is_flag=True, help="Allow nothing.")
@tenant_option
@wait_options
@output_option
@with_cluster
def update(
    cluster: Cluster,
    name: str,
    rules: tuple[str, ...],
    no_rules: bool,
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Give a group exactly these rules.

    \b
    snnet group update web --rule 'in tcp 443' --rule out
    """
    if bool(rules) == no_rules:
        raise click.UsageError("give --rule, once for each rule, or --no-rules")
    made = cluster.update_group(tenant, name, rules=rules)
    finish(cluster, made, wait=wait, timeout=timeout, output=output)


@group.command()
@_NAME
@tenant_option
@with_cluster
def delete(cluster: Cluster, name: str, tenant: str) -> None:
    """Delete a group that nothing uses.

    Returns when the registry has it; the agent does the work afterwards.

    \b
    snnet group delete web
    """
    cluster.delete_group(tenant, name)
