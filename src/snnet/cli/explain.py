"""``snnet explain``: where a packet would go, on this host or across hosts, and what stops it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import (
    CONFIG,
    output_option,
    reads_much,
    registry_options,
    registry_url,
    timeout_option,
)
from .output import Column, print_data, print_table

_COLUMNS = (Column("HOST", "host"), Column("LINK", "link"), Column("WHAT", "what"))
_COLOURS = {"reached": "green", "dropped": "red", "left": "yellow", "unknown": "yellow"}


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--tcp", type=click.IntRange(1, 65535), metavar="PORT", help="A TCP connection.")
@click.option("--udp", type=click.IntRange(1, 65535), metavar="PORT", help="A UDP datagram.")
@click.option(
    "--tenant",
    envvar="SNNET_TENANT",
    show_envvar=True,
    help="Look for VNICs of this tenant only.  Default: of all.",
)
@click.option("-6", "--ipv6", is_flag=True, help="By IPv6; otherwise by IPv4 if both have it.")
@click.option("--here", is_flag=True, help="This host alone, also if there is a registry.")
@timeout_option
@output_option
@registry_options
@reads_much
def explain(
    source: str,
    target: str,
    tcp: int | None,
    udp: int | None,
    tenant: str | None,
    ipv6: bool,
    here: bool,
    timeout: float,
    output: str,
    registry: str | None,
    config: Path | None,
) -> None:
    """Say hop by hop whether FROM reaches TO, and what stops it.

    FROM and TO are names of VNICs, addresses or links.  Without a port it is a ping.  No packet
    is sent: the command reads the state of the kernels, and works out the packet's way from it.
    With a registry (an option, the environment or the agent's settings) it asks the agents of the
    hosts on the way; otherwise it looks at this host alone (root).  Exits with 0 if TO is reached,
    otherwise with 1.

    \b
    snnet explain v1 v2
    snnet explain v1 10.1.0.10 --tcp 80
    snnet explain 198.51.100.7 192.0.2.11 --tcp 8080
    """
    from snnet.contract import InvalidRequest
    from snnet.explain.question import REACHED, Question

    if tcp and udp:
        raise InvalidRequest("give --tcp or --udp, not both", field="udp")
    protocol = "tcp" if tcp else "udp" if udp else None
    question = Question(source, target, tenant, protocol, tcp or udp, 6 if ipv6 else None)
    if here or not (registry or config or CONFIG.exists()):
        from snnet.explain.question import explain as answer
        from snnet.explain.reading import take

        found, hosts = answer(take(), question), None
    else:
        from snnet import plugins
        from snnet.explain.many import explain_hosts

        with plugins.open_registry(registry_url(registry, config), create=False) as opened:
            told = explain_hosts(opened, question, timeout)
        found, hosts = told.explanation, told.hosts
    if output in ("json", "yaml"):
        more = {"hosts": hosts.to_list()} if hosts else {}
        print_data(found.to_dict() | more, output)
    else:
        print_table([hop.to_dict() for hop in found.hops], _COLUMNS, wide=output == "wide")
        click.secho(f"\n{found.outcome}: {found.why}", fg=_COLOURS[found.outcome])
        for doubt in found.doubts[1:]:
            click.echo(f"also: {doubt}")
        if found.fix:
            where = f" on host {found.host}" if hosts and found.host else ""
            click.echo(f"fix{where}: {found.fix}")
        if hosts:
            ages = (f"{host} {age:.1f} s" for host, age in sorted(hosts.ages.items()))
            click.echo(f"age of what the hosts said: {', '.join(ages)}")
            for silent in hosts.silent:
                click.secho(hosts.reason(silent), fg="yellow")
    sys.exit(0 if found.outcome == REACHED else 1)
