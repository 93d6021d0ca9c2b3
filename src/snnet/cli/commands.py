"""The commands and their options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from snnet import __version__
from snnet.config import NetworkMode
from snnet.contract import Cancelled, InvalidRequest, SnnetError
from snnet.lab import AUTO, BACKENDS, FIREWALLS, TUNNELS


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="snnet")
def snnet() -> None:
    """Tenant networks for VMs and containers, on swappable dataplanes."""


@snnet.command()
@click.option(
    "--backend",
    type=click.Choice((AUTO, *BACKENDS)),
    default=AUTO,
    show_default=True,
    help="What makes links.  netlink: the real kernel, in network namespaces of its own "
    "(root).  fake: in memory.  auto: netlink where it may.",
)
@click.option(
    "--tunnel",
    type=click.Choice((AUTO, *TUNNELS)),
    default=AUTO,
    show_default=True,
    help="Between nodes.  auto: gre where the kernel has it, else vxlan.",
)
@click.option("--firewall", type=click.Choice((AUTO, *FIREWALLS)), default=AUTO, show_default=True)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in NetworkMode]),
    default=NetworkMode.GRE_TUNNEL.value,
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print data for programs.")
@click.pass_context
def demo(
    context: click.Context, backend: str, tunnel: str, firewall: str, mode: str, as_json: bool
) -> None:
    """Build a small data centre, let every guest ping every other, remove it again.

    Two compute nodes, a network node with a concentrator per tenant, and two
    tenants that use the same addresses, with a VM and a container each on both
    nodes in two subnets.  Guests of one tenant reach each other everywhere,
    those of different tenants never.

    The host's own network is never touched.  Ctrl-C cleans up.  Exit codes: 0 all
    as expected, 1 not, 2 wrong usage.
    """
    from .demo import show_demo

    with _errors_in_one_line():
        ok = show_demo(backend, tunnel, firewall, NetworkMode(mode), as_json=as_json)
    context.exit(0 if ok else 1)


@snnet.command()
@click.option("--json", "as_json", is_flag=True, help="Print data for programs.")
def backends(as_json: bool) -> None:
    """List the installed backends, firewalls and DHCP servers, and what they can do here.

    Each is asked which kinds of links, rules and so on it can make: as root on a
    throw-away network namespace of this kernel.  Nothing is made.  One that does not
    load is listed with the reason, and the exit code is 0 all the same.
    """
    from .backends import show_backends

    with _errors_in_one_line():
        show_backends(as_json=as_json)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except Cancelled:
        click.echo("snnet: interrupted; nothing left over", err=True)
        raise SystemExit(1) from None
    except (SnnetError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # click ends the program quietly
        message = " ".join(str(error).split())
        click.echo(f"snnet: {message}", err=True)
        raise SystemExit(2 if isinstance(error, InvalidRequest) else 1) from None
