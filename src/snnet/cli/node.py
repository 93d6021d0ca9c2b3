"""``snnet node``."""

from __future__ import annotations

import click

from snnet.cluster import Cluster

from .options import complete, force_option, output_option, with_cluster
from .output import STATE, Column, print_list, print_one

COLUMNS = (
    Column("NAME", "name"),
    Column("ROLES", "roles"),
    Column("TOPOLOGY", "topology"),
    Column("ADDRESS", "compute_ip"),
    Column("NUMBER", "number", wide=True),
    Column("VERSION", "version", wide=True),
    STATE,
    Column("PROBLEM", "problem", wide=True),
)
_NAME = click.argument("name", shell_complete=complete("nodes"))


@click.group()
def node() -> None:
    """The hosts whose agents have registered."""


@node.command("list")
@output_option
@with_cluster
def list_(cluster: Cluster, output: str) -> None:
    """List nodes.

    \b
    snnet node list
    """
    print_list(cluster.nodes(), COLUMNS, output, empty="no nodes: 'snnet agent' registers one")


@node.command()
@_NAME
@output_option
@with_cluster
def show(cluster: Cluster, name: str, output: str) -> None:
    """Show a node.

    \b
    snnet node show host-1
    """
    print_one(cluster.get_node(name), output)


@node.command()
@_NAME
@click.option("--undo", is_flag=True, help="Use the node again.")
@with_cluster
def drain(cluster: Cluster, name: str, undo: bool) -> None:
    """Put nothing new on a node.

    Its concentrators move to other network hosts, if there are any: the command does not wait
    for that.  Its VNICs stay; 'snnet vnic update --node' moves one.

    \b
    snnet node drain host-1
    """
    cluster.drain_node(name, draining=not undo)


@node.command()
@_NAME
@force_option("Also delete its VNICs, and the forwards and public addresses that lead to them.")
@with_cluster
def forget(cluster: Cluster, name: str, force: bool) -> None:
    """Remove a node that is gone for good.

    Its agent must not be running, and it must have no VNICs.  Its concentrators move to other
    network hosts, if there are any: the command does not wait for that.

    \b
    snnet node forget host-1
    """
    cluster.forget_node(name, force=force)
