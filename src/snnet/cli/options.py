"""Options that many commands have, and how they find the registry."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from snnet.cluster import Cluster
    from snnet.cluster.documents import Wanted

# Commands that need no registry do without what it needs: functions import it.

F = TypeVar("F", bound=Callable[..., Any])

CONFIG = Path("/etc/snnet/agent.yaml")
WAIT = 30.0
"""Seconds that commands wait for an agent by default."""


def registry_url(given: str | None, config: Path | None) -> str:
    """The registry: of the option, of the agent's file, or the default."""
    from snnet.contract.registries import REGISTRY

    if given:
        return given
    path = config or (CONFIG if CONFIG.exists() else None)
    if path is None:
        return REGISTRY
    from snnet.agent.settings import AgentSettings

    return AgentSettings.read(path).registry


def registry_options(command: F) -> F:
    """Where the registry is."""
    from snnet.contract.registries import REGISTRY

    command = click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="SNNET_CONFIG",
        show_envvar=True,
        help=f"The agent's settings, for its registry.  Default: {CONFIG}, if it is there.",
    )(command)
    return click.option(
        "--registry",
        metavar="URL",
        envvar="SNNET_REGISTRY",
        show_envvar=True,
        help=f"The registry.  Default: that of the settings, or {REGISTRY}.",
    )(command)


def with_cluster(command: Callable[..., Any], *, create: bool = False) -> Callable[..., Any]:
    """Give a command the cluster of its registry as the first argument.

    Without ``create`` the registry must be there: a mistyped path makes no empty one.
    """

    @functools.wraps(command)
    def run(*args: Any, registry: str | None, config: Path | None, **options: Any) -> Any:
        from snnet.cluster import Cluster

        new = create and not options.get("dry_run")
        with Cluster(registry_url(registry, config), create=new) as cluster:
            return command(cluster, *args, **options)

    return registry_options(run)


with_new_cluster = functools.partial(with_cluster, create=True)
"""For commands that may be the first ones, before there is an agent."""


def tenant_option(command: F) -> F:
    """For one object: whose it is."""
    return _tenant(command, "The tenant it belongs to.")


def tenants_option(command: F) -> F:
    """For lists: one tenant, or all."""
    command = click.option("-A", "--all-tenants", is_flag=True, help="List those of all tenants.")(
        command
    )
    return _tenant(command, "List those of this tenant.")


def _tenant(command: F, text: str) -> F:
    from snnet.cluster import DEFAULT_TENANT

    return click.option(
        "--tenant",
        default=DEFAULT_TENANT,
        show_default=True,
        envvar="SNNET_TENANT",
        show_envvar=True,
        shell_complete=complete("tenants"),
        help=text,
    )(command)


def reads_much(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command without garbage collections.

    It reads a host of thousands of VNICs, says something and ends: what it made is needed to
    the end, and looking through it again and again took a tenth of the time.
    """

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        collecting = gc.isenabled()
        gc.disable()
        try:
            return command(*args, **options)
        finally:
            if collecting:
                gc.enable()

    return run


def output_option(command: F) -> F:
    """How results are shown."""
    command = click.option("--json", "output", flag_value="json", help="Short for -o json.")(
        command
    )
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "wide", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to print the result.  wide: a table with all columns.",
    )(command)


def wait_options(command: F) -> F:
    """Whether and how long to wait for the agent."""
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        default=WAIT,
        show_default=True,
        help="How long to wait.",
    )(command)
    return click.option(
        "--wait/--no-wait",
        default=True,
        show_default=True,
        help="Wait until the agent has done it, or has failed.",
    )(command)


def timeout_option(command: F) -> F:
    """How long to wait for other hosts."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        default=10.0,
        show_default=True,
        help="How long to wait for the agents of other hosts.",
    )(command)


def mtu_option(default: str | None = None) -> Callable[[F], F]:
    """``--mtu``; it has to be given where there is no default."""
    from snnet.contract.addresses import IPV6_MTU_MIN, MTU_MAX, MTU_MIN

    text = f"The largest packet in bytes, {MTU_MIN} to {MTU_MAX}, with IPv6 from {IPV6_MTU_MIN}."
    if default is not None:
        text += f"  Default: {default}."
    return click.option("--mtu", type=int, metavar="BYTES", required=default is None, help=text)


def force_option(text: str) -> Callable[[F], F]:
    """For what is refused otherwise."""
    return click.option("--force", is_flag=True, help=text)


def complete(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A completion by the names that are in the registry; without a registry by nothing."""

    def names(ctx: click.Context, param: click.Parameter, start: str) -> list[str]:
        from snnet.cluster import Cluster
        from snnet.contract import SnnetError

        url = ctx.params.get("registry") or os.environ.get("SNNET_REGISTRY")
        try:
            where = registry_url(url, ctx.params.get("config"))
            with Cluster(where, create=False) as cluster:
                return [name for name in _names(cluster, kind, ctx) if name.startswith(start)]
        except (SnnetError, OSError):
            return []

    return names


def _names(cluster: Cluster, kind: str, ctx: click.Context) -> Iterable[str]:
    if kind == "tenants":
        return sorted({network.tenant for network in cluster.list_networks()})
    if kind == "nodes":
        return [node.name for node in cluster.nodes()]
    from snnet.cluster import DEFAULT_TENANT

    tenant = ctx.params.get("tenant") or DEFAULT_TENANT
    listed: dict[str, Callable[[str], Iterable[Wanted]]] = {
        "networks": cluster.list_networks,
        "vnics": cluster.list_vnics,
        "groups": cluster.list_groups,
        "forwards": cluster.list_forwards,
        "public-ips": cluster.list_public_ips,
    }
    return [item.name for item in listed[kind](tenant)]
