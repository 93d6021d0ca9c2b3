"""The commands and their options."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from snnet import plugins
from snnet.config import TUNNELS, NetworkMode
from snnet.lab import AUTO

from .paths import OutputFolder


def _pem(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option for one of the PEM files for TLS."""
    return click.option(
        f"--tls-{name}", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=help
    )


def _driver_option(name: str, group: str, help: str) -> Callable[[Any], Any]:
    """An option that takes the name of an installed driver, or "auto"."""

    def check(context: click.Context, param: click.Parameter, value: str) -> str:
        if value != AUTO and value not in plugins.installed(group):
            raise click.BadParameter(
                f"{value!r} is not installed; {plugins.instead(group)}", context, param
            )
        return value

    def complete(context: click.Context, param: click.Parameter, start: str) -> list[str]:
        return [name for name in (AUTO, *plugins.installed(group)) if name.startswith(start)]

    return click.option(
        f"--{name}",
        default=AUTO,
        show_default=True,
        metavar="NAME",
        callback=check,
        shell_complete=complete,
        help=help,
    )


@click.command()
@_driver_option(
    "backend",
    plugins.BACKENDS,
    help="Any installed backend (see: snnet backends).  netlink: the real kernel, in network "
    "namespaces (root).  fake: in memory.  auto: netlink if possible, else fake.",
)
@click.option(
    "--tunnel",
    type=click.Choice((AUTO, *TUNNELS)),
    default=AUTO,
    show_default=True,
    help="Tunnel between nodes.  auto: gre if the kernel has it, else vxlan.",
)
@_driver_option(
    "firewall",
    plugins.FIREWALLS,
    help="Any installed firewall.  none: no NAT and no connections to the internet.  auto: "
    "nftables if possible, else iptables, else none.",
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in NetworkMode]),
    default=NetworkMode.GRE_TUNNEL.value,
    show_default=True,
    help="gre_tunnel: bridges and tunnels.  routed: a route for each VNIC, and no concentrator.",
)
@click.option(
    "--uplinks",
    type=click.Choice(("ipv4", "ipv6")),
    default="ipv4",
    show_default=True,
    help="Family of the nodes' addresses, between which tunnels go.  Guests have both families.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Leave the data centre up and print how to look at it (root).  Until it is removed, "
    "a process in the background carries the VMs' frames.",
)
@click.option(
    "--remove",
    is_flag=True,
    help="Remove what --keep left up, and end every process inside it, your shells included.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Have agents and etcd on many hosts, and kill a network host while pings run (root).",
)
@click.option("--json", "as_json", is_flag=True, help="Print data for programs.")
@click.pass_context
def demo(
    context: click.Context,
    backend: str,
    tunnel: str,
    firewall: str,
    mode: str,
    uplinks: str,
    keep: bool,
    remove: bool,
    cluster: bool,
    as_json: bool,
) -> None:
    """Build a small data centre, ping from every guest to every other, remove it again.

    Two compute nodes, a network host with a concentrator per tenant, and two
    tenants that use the same addresses, with a VM and a container each on both
    nodes in two subnets.  Guests of one tenant reach each other everywhere,
    guests of different tenants never.

    With --cluster a registry and agents build everything: three members of etcd (one SQLite
    file where etcd is not installed), two compute hosts and two network hosts.  A network
    host is killed while pings run.

    The host's own network is never changed.  Ctrl-C removes everything.  Exit codes:
    0 all as expected, 1 a failure or an unexpected result, 2 wrong usage.

    \b
    snnet demo
    snnet demo --firewall iptables --tunnel vxlan
    snnet demo --uplinks ipv6
    snnet demo --cluster
    """
    if keep and remove:
        raise click.UsageError("--keep and --remove exclude each other")
    if cluster and (keep or remove or mode != NetworkMode.GRE_TUNNEL.value):
        raise click.UsageError("--cluster excludes --keep, --remove and --mode routed")
    if cluster and uplinks == "ipv6":
        raise click.UsageError(
            "--cluster excludes --uplinks ipv6: concentrators with IPv6 addresses lead guests out "
            "by IPv6 alone, and its guests use the internet by IPv4 too"
        )
    from .demo import keep_demo, remove_demo, show_demo

    if cluster:
        from .demo_cluster import show_cluster_demo

        ok = show_cluster_demo(backend, tunnel, firewall, as_json=as_json)
    elif remove:
        ok = remove_demo(as_json=as_json)
    else:
        show = keep_demo if keep else show_demo
        version = 6 if uplinks == "ipv6" else 4
        ok = show(backend, tunnel, firewall, NetworkMode(mode), version, as_json=as_json)
    context.exit(0 if ok else 1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print data for programs.")
def backends(as_json: bool) -> None:
    """List the installed backends, firewalls and DHCP servers, and what they can do here.

    Asks each driver which kinds of links, rules and so on it supports: as root on a
    temporary network namespace of this kernel.  Creates nothing else.  A driver that does
    not load is listed with the reason; the exit code is 0 all the same.

    \b
    snnet backends
    """
    from .backends import show_backends

    show_backends(as_json=as_json)


@click.group("docker-plugin")
def docker_plugin() -> None:
    """Connect containers of a Docker daemon to tenants' networks."""


@docker_plugin.command()
@click.option(
    "--node-id",
    default=socket.gethostname,
    show_default="the host's name",
    help="The compute node's id.  Use the same one at every start.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with the settings of NetworkConfig.  Default: GRE over the only uplink.",
)
@click.option(
    "--backend",
    default="netlink",
    show_default=True,
    help="An installed backend (see: snnet backends).",
)
@click.option("--firewall", default="nftables", show_default=True, help="An installed firewall.")
@click.option("--netns", help="The network namespace of the Docker daemon, if not the current one.")
@click.option(
    "--name",
    default="snnet",
    show_default=True,
    help="The driver's name for docker network create -d.",
)
@click.option(
    "--plugin-dir",
    type=OutputFolder(),
    default="/run/docker/plugins",
    show_default=True,
    help="The folder for the socket, in which Docker looks for it.",
)
@click.option(
    "--data-dir",
    type=OutputFolder(),
    show_default="/var/lib/snnet/docker/NAME",
    help="The folder for the database.",
)
@click.option(
    "--registry",
    metavar="URL",
    show_default="sqlite:///var/lib/snnet/docker/NAME/registry.db",
    help="The registry to use as the database.",
)
@click.option(
    "--address", metavar="HOST:PORT", help="Listen on TCP with TLS instead of a Unix socket."
)
@click.option(
    "--spec-dir",
    type=OutputFolder(),
    default="/etc/docker/plugins",
    show_default=True,
    help="The folder for the file that tells Docker the TCP address.",
)
@_pem("ca", "The CA that signed both certificates.")
@_pem("cert", "The plugin's certificate.")
@_pem("key", "The plugin's private key.")
@_pem("client-cert", "Docker's certificate.")
@_pem("client-key", "Docker's private key.")
def serve(
    node_id: str,
    config: Path | None,
    backend: str,
    firewall: str,
    netns: str | None,
    name: str,
    plugin_dir: Path,
    data_dir: Path | None,
    registry: str | None,
    address: str | None,
    spec_dir: Path,
    **tls: Path | None,
) -> None:
    """Serve a Docker daemon of this host until Ctrl-C or TERM.

    Runs a compute node and creates containers' VNICs on it.  Networks and containers stay
    as they are when it ends, and it continues with them at the next start.  Start it before
    Docker.  For every tunnel that it adds or removes it writes a JSON line to stdout, for
    the tenants' concentrators (Cnci.add_remote_subnet).

    \b
    snnet docker-plugin serve --config /etc/snnet/network.yaml
    """
    from .docker_plugin import serve

    serve(
        node_id,
        config,
        node={"backend": backend, "firewall": firewall, "netns": netns},
        plugin={
            "name": name,
            "folder": plugin_dir,
            "data_dir": data_dir,
            "registry": registry,
            "address": address,
            "spec_folder": spec_dir,
        },
        tls={option.removeprefix("tls_"): path for option, path in tls.items()},
    )
