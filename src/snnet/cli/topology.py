"""``snnet topology``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snnet.cluster import Cluster

from .options import CONFIG, output_option, registry_options, registry_url, timeout_option
from .output import Branch, print_data, print_tree
from .paths import OutputFile, write_file

if TYPE_CHECKING:
    from snnet.drawing.picture import Picture


@click.command()
@click.option("--svg", type=OutputFile(), help="Write an SVG document for browsers.")
@click.option("--html", type=OutputFile(), help="Write an HTML page.")
@click.option("--here", is_flag=True, help="This host's kernel, also if there is a registry.")
@click.option("--wanted", is_flag=True, help="What the registry says; no agent is asked.")
@timeout_option
@output_option
@registry_options
def topology(
    svg: Path | None,
    html: Path | None,
    here: bool,
    wanted: bool,
    timeout: float,
    output: str,
    registry: str | None,
    config: Path | None,
) -> None:
    """Show hosts, tenants' networks on them, VNICs and tunnels: as a tree, or as a page.

    With a registry (an option, the environment or the agent's settings) it shows what all
    hosts have, by the answers of their agents; else what this host's kernel has (root).

    \b
    snnet topology
    snnet topology --html /tmp/network.html
    """
    picture = _picture(here, wanted, timeout, registry, config)
    from snnet.drawing.svg import to_html, to_svg

    for path, option, drawn in ((svg, "--svg", to_svg), (html, "--html", to_html)):
        if path is not None:
            write_file(path, drawn(picture).encode(), option)
            click.echo(f"{path}: {picture.counts}", err=True)
    if output in ("json", "yaml"):
        print_data(picture.to_dict(), output)
    elif svg is None and html is None:
        _show(picture)


def _picture(
    here: bool, wanted: bool, timeout: float, registry: str | None, config: Path | None
) -> Picture:
    if here or not (registry or config or CONFIG.exists()):
        from snnet.doctor.survey import look
        from snnet.drawing import found

        return found.picture(look())
    from snnet.drawing import live, registered
    from snnet.explain.gathering import gather

    with Cluster(registry_url(registry, config), create=False) as cluster:
        if wanted:
            return registered.picture(cluster)
        hosts = gather(cluster.registry, None, timeout)
        for silent in hosts.silent:
            click.secho(hosts.reason(silent), fg="yellow", err=True)
        return live.picture(cluster, hosts)


def _show(picture: Picture) -> None:
    ways = _ways(picture)
    cards = []
    for host in picture.hosts:
        if host.kind == "elsewhere":
            continue  # it is named where the tunnel begins
        bridges = [
            Branch(
                _line(f"{item.tenant}/{item.network}", "cyan", (*item.facts, *ways[item.id])),
                [Branch(_line(nic.name, None, (*nic.addresses, *nic.notes))) for nic in item.nics],
            )
            for item in host.bridges
        ]
        facts = (host.kind, *host.facts, *ways[host.id])
        cards.append(Branch(_line(host.title, "bright_white", facts), bridges))
    print_tree(Branch(f"{picture.title}: {picture.counts}", cards))


def _ways(picture: Picture) -> dict[str, list[str]]:
    """Where the tunnels of each host and bridge lead, by its id."""
    titles = {host.id: f"{host.kind} {host.title}" for host in picture.hosts}
    titles |= {bridge.id: titles[host.id] for host in picture.hosts for bridge in host.bridges}
    found: dict[str, list[str]] = {id: [] for id in titles}
    for tunnel in picture.tunnels:
        for end in tunnel.ends:
            found[end] += [
                f"{tunnel.label} to {titles[other]}" for other in tunnel.ends if other != end
            ]
    return found


def _line(name: str, colour: str | None, facts: Iterable[str]) -> str:
    """A name and what is known of it; the name has a colour on a terminal."""
    return "  ".join((click.style(name, colour) if colour else name, *facts))
