"""``snnet explain``: where a packet would go on this host, and what stops it."""

from __future__ import annotations

import sys

import click

from .options import output_option
from .output import Column, print_data, print_table

_COLUMNS = (Column("HOST", "host"), Column("LINK", "link"), Column("WHAT", "what"))
_COLOURS = {"reached": "green", "dropped": "red", "left": "yellow", "unknown": "yellow"}


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--tcp", type=click.IntRange(1, 65535), metavar="PORT", help="A TCP connection.")
@click.option("--udp", type=click.IntRange(1, 65535), metavar="PORT", help="A UDP datagram.")
@click.option("--tenant", envvar="SNNET_TENANT", help="Whose VNICs are meant.  Default: anybody's.")
@click.option("-6", "--ipv6", is_flag=True, help="By IPv6; otherwise by IPv4 if both have it.")
@output_option
def explain(
    source: str,
    target: str,
    tcp: int | None,
    udp: int | None,
    tenant: str | None,
    ipv6: bool,
    output: str,
) -> None:
    """Say hop by hop whether FROM reaches TO on this host, and what stops it (root).

    FROM and TO are names of VNICs, addresses or links.  Without a port it is a ping.  No packet
    is sent: the kernel's state is read, and the packet's way is worked out from it.  Exits
    with 0 if TO is reached, otherwise with 1.

    \b
    snnet explain v1 v2
    snnet explain v1 10.1.0.10 --tcp 80
    snnet explain 198.51.100.7 192.0.2.11 --tcp 8080
    """
    from snnet.contract import InvalidRequest
    from snnet.explain.question import REACHED
    from snnet.explain.question import explain as ask
    from snnet.explain.reading import take

    if tcp and udp:
        raise InvalidRequest("give --tcp or --udp, not both", field="udp")
    protocol = "tcp" if tcp else "udp" if udp else None
    found = ask(
        take(), source, target,
        tenant=tenant, protocol=protocol, port=tcp or udp, version=6 if ipv6 else None,
    )  # fmt: skip
    if output in ("json", "yaml"):
        print_data(found.to_dict(), output)
    else:
        print_table([hop.to_dict() for hop in found.hops], _COLUMNS, wide=output == "wide")
        click.secho(f"\n{found.outcome}: {found.why}", fg=_COLOURS[found.outcome])
        for doubt in found.doubts[1:]:
            click.echo(f"also: {doubt}")
        if found.fix:
            click.echo(f"fix: {found.fix}")
    sys.exit(0 if found.outcome == REACHED else 1)
