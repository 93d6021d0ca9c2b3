"""``snnet vnic``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from snnet.cluster import Cluster
from snnet.cluster.documents import ROLES
from snnet.contract.shaping import RATE_MAX, RATE_MIN, show_rate

from .options import (
    complete,
    force_option,
    mtu_option,
    output_option,
    tenant_option,
    tenants_option,
    wait_options,
    with_cluster,
)
from .output import ERROR, STATE, Column, print_objects, print_one
from .waiting import finish

F = TypeVar("F", bound=Callable[..., Any])


def _rate(bits: int | None) -> str | None:
    return None if bits is None else show_rate(bits)


COLUMNS = (
    Column("NAME", "name"),
    Column("NETWORK", "network"),
    Column("IP", "ip"),
    Column("MAC", "mac", wide=True),
    Column("ROLE", "role", wide=True),
    Column("GROUPS", "groups", wide=True),
    Column("RATE-TO", lambda item: _rate(item.get("rate_to_guest")), wide=True),
    Column("RATE-FROM", lambda item: _rate(item.get("rate_from_guest")), wide=True),
    Column("NODE", "node"),
    Column("LINK", "link_name"),
    STATE,
    ERROR,
)
SUMMARY = "{ip}, {mac}, link {link_name} on {node}"
_NAME = click.argument("name", shell_complete=complete("vnics"))


def owner_option(text: str) -> Callable[[F], F]:
    """``--owner``: a user of the host by name or number."""
    return click.option("--owner", metavar="USER", help=text)


def policy_options(*, more: str, checked: str, limit: str) -> Callable[[F], F]:
    """What the guest may do.  ``more`` ends the help of lists; the others are defaults."""

    def add(command: F) -> F:
        for way, does in (("from", "sends"), ("to", "receives")):
            command = click.option(
                f"--rate-{way}-guest",
                metavar="RATE",
                help=f"What the guest {does} at most: bits a second, or text like '100mbit', "
                f"{show_rate(RATE_MIN)} to {show_rate(RATE_MAX)}.  Default: {limit}.",
            )(command)
        command = click.option(
            "--group",
            "groups",
            multiple=True,
            metavar="NAME",
            shell_complete=complete("groups"),
            help=f"A security group that it is in; may be repeated{more}.",
        )(command)
        command = click.option(
            "--anti-spoofing/--no-anti-spoofing",
            default=None,
            help=f"Whether the guest's addresses are checked.  Default: {checked}.",
        )(command)
        return click.option(
            "--extra-address",
            "extra",
            multiple=True,
            metavar="ADDRESS",
            help=f"An address or network that the guest may use too; may be repeated{more}.",
        )(command)

    return add


@click.group()
def vnic() -> None:
    """VNICs of VMs and containers.

    A VM's VNIC is a tap on its node; 'qemu-args' and 'libvirt-xml' print how to use it.  A
    container's is a veth pair; 'attach' moves its end into the container.
    """


@vnic.command()
@click.argument("name")
@click.option(
    "--network", required=True, shell_complete=complete("networks"), help="The network it is on."
)
@click.option(
    "--node", shell_complete=complete("nodes"), help="Its host.  Default: one that is not drained."
)
@click.option(
    "--ip",
    "ips",
    multiple=True,
    metavar="IP",
    help="Its address; give it twice for IPv4 and IPv6.  Default: free ones.",
)
@click.option("--mac", metavar="MAC", help="The guest's MAC.  Default: made of the address.")
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    default="vm",
    show_default=True,
    help="What it is for: a VM has a tap, a container a veth pair.",
)
@mtu_option("the network's")
@owner_option("The user who may open the tap of a VM.  Default: root alone.")
@policy_options(more="", checked="as the node's configuration says", limit="no limit")
@tenant_option
@wait_options
@output_option
@with_cluster
def create(
    cluster: Cluster,
    name: str,
    network: str,
    node: str | None,
    ips: tuple[str, ...],
    mac: str | None,
    role: str,
    mtu: int | None,
    owner: str | None,
    extra: tuple[str, ...],
    anti_spoofing: bool | None,
    groups: tuple[str, ...],
    rate_to_guest: str | None,
    rate_from_guest: str | None,
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Create a VNIC.

    \b
    snnet vnic create v1 --network web
    snnet vnic create c1 --network web --role container --ip 10.1.0.9
    snnet vnic create v2 --network web --rate-to-guest 100mbit
    """
    made = cluster.create_vnic(
        name,
        tenant=tenant,
        network=network,
        node=node,
        role=role,
        ip=ips or None,
        mac=mac,
        mtu=mtu,
        owner=owner,
        extra_addresses=extra or None,
        anti_spoofing=anti_spoofing,
        groups=groups or None,
        rate_to_guest=rate_to_guest,
        rate_from_guest=rate_from_guest,
    )
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary=SUMMARY)


@vnic.command("list")
@click.option("--network", shell_complete=complete("networks"), help="List those of one network.")
@tenants_option
@output_option
@with_cluster
def list_(
    cluster: Cluster, network: str | None, tenant: str, all_tenants: bool, output: str
) -> None:
    """List VNICs.

    \b
    snnet vnic list --network web
    """
    found = [
        item
        for item in cluster.list_vnics(None if all_tenants else tenant)
        if network in (None, item.network)
    ]
    print_objects(
        found,
        COLUMNS,
        output,
        all_tenants=all_tenants,
        empty="no VNICs: 'snnet vnic create' makes one",
    )


@vnic.command()
@_NAME
@tenant_option
@output_option
@with_cluster
def show(cluster: Cluster, name: str, tenant: str, output: str) -> None:
    """Show a VNIC.

    \b
    snnet vnic show v1
    """
    found = cluster.get_vnic(tenant, name).to_dict()
    if output not in ("json", "yaml"):
        rates = {field: _rate(found[field]) for field in found if field.startswith("rate_")}
        found |= rates
    print_one(found, output)


@vnic.command()
@_NAME
@click.option(
    "--node", shell_complete=complete("nodes"), help="Move it to this host; address and MAC stay."
)
@mtu_option("as before")
@owner_option("The user who may open the tap of a VM.  The tap is made again.")
@policy_options(more="; those given replace all", checked="as before", limit="as before")
@click.option("--no-extra-addresses", "no_extra", is_flag=True, help="Only its own addresses.")
@click.option("--no-groups", is_flag=True, help="In no group: everything passes.")
@click.option("--no-rates", is_flag=True, help="No limits but those that are given.")
@tenant_option
@wait_options
@output_option
@with_cluster
def update(
    cluster: Cluster,
    name: str,
    node: str | None,
    mtu: int | None,
    owner: str | None,
    extra: tuple[str, ...],
    no_extra: bool,
    anti_spoofing: bool | None,
    groups: tuple[str, ...],
    no_groups: bool,
    rate_to_guest: str | None,
    rate_from_guest: str | None,
    no_rates: bool,
    tenant: str,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Change a VNIC.

    What is not given stays as it is.

    \b
    snnet vnic update v1 --mtu 1400
    snnet vnic update v1 --extra-address 10.1.0.200 --extra-address 172.17.0.0/16
    snnet vnic update v1 --no-rates --rate-to-guest 50mbit
    """
    if extra and no_extra:
        raise click.UsageError("give --extra-address or --no-extra-addresses, not both")
    if groups and no_groups:
        raise click.UsageError("give --group or --no-groups, not both")
    given = {
        "node": node,
        "mtu": mtu,
        "owner": owner,
        "extra_addresses": () if no_extra else extra or None,
        "anti_spoofing": anti_spoofing,
        "groups": () if no_groups else groups or None,
    }
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    for field, rate in (("rate_to_guest", rate_to_guest), ("rate_from_guest", rate_from_guest)):
        if no_rates or rate is not None:
            changes[field] = rate
    if not changes:
        raise click.UsageError("say what to change: see 'snnet vnic update --help'")
    made = cluster.update_vnic(tenant, name, **changes)
    finish(cluster, made, wait=wait, timeout=timeout, output=output, summary=SUMMARY)


@vnic.command()
@_NAME
@force_option("Delete it with the forwards and public addresses that lead to it, and if a program "
              "such as the Docker plugin manages it.")  # fmt: skip
@tenant_option
@with_cluster
def delete(cluster: Cluster, name: str, force: bool, tenant: str) -> None:
    """Delete a VNIC.

    Returns when the registry has it; the agent does the work afterwards.

    \b
    snnet vnic delete v1
    """
    cluster.delete_vnic(tenant, name, force=force)


@vnic.command()
@_NAME
@click.option("--pid", type=int, metavar="PID", help="A process of the container.")
@click.option("--netns", help="The container's network namespace: a name of 'ip netns', or a path.")
@click.option(
    "--as", "device", default="eth0", show_default=True, help="The link's name in the container."
)
@tenant_option
@with_cluster
def attach(
    cluster: Cluster, name: str, pid: int | None, netns: str | None, device: str, tenant: str
) -> None:
    """Move a VNIC's end into a container and configure it (root).

    Give --pid or --netns, on the VNIC's node.  The end gets its name, addresses and default
    routes.  The command may be repeated.

    \b
    snnet vnic attach c1 --pid 4711
    snnet vnic attach c1 --netns box --as eth1
    """
    from .guests import attach_container

    attach_container(cluster, tenant, name, pid=pid, netns=netns, device=device)


@vnic.command("qemu-args")
@_NAME
@tenant_option
@with_cluster
def qemu_args(cluster: Cluster, name: str, tenant: str) -> None:
    """Print the arguments that make QEMU use a VNIC.

    \b
    qemu-system-x86_64 ... $(snnet vnic qemu-args v1)
    """
    from .guests import qemu_arguments

    click.echo(qemu_arguments(cluster, tenant, name))


@vnic.command("libvirt-xml")
@_NAME
@tenant_option
@with_cluster
def libvirt_xml(cluster: Cluster, name: str, tenant: str) -> None:
    """Print the <interface> by which a libvirt domain uses a VNIC.

    \b
    snnet vnic libvirt-xml v1 > nic.xml
    virsh attach-device DOMAIN nic.xml --config
    """
    from .guests import libvirt_interface

    click.echo(libvirt_interface(cluster, tenant, name))
