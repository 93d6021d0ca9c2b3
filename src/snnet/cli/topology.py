"""``snnet topology``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snnet.cluster import Cluster

from .options import CONFIG, output_option, registry_options, registry_url
from .output import print_data, print_tree

if TYPE_CHECKING:
    from rich.text import Text

    from snnet.drawing.picture import Picture

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--svg", type=_FILE, help="Write an SVG document for browsers.")
@click.option("--html", type=_FILE, help="Write an HTML page.")
@click.option("--here", is_flag=True, help="This host's kernel, also if there is a registry.")
@output_option
@registry_options
def topology(
    svg: Path | None,
    html: Path | None,
    here: bool,
    output: str,
    registry: str | None,
    config: Path | None,
) -> None:
    """Show hosts, tenants' networks on them, VNICs and tunnels: as a tree, or as a page.

    With a registry (an option, the environment or the agent's settings) it shows all hosts;
    else what this host's kernel has (root).

    \b
    snnet topology
    snnet topology --html /tmp/network.html
    """
    picture = _picture(here, registry, config)
    from snnet.drawing.svg import to_html, to_svg

    for path, write in ((svg, to_svg), (html, to_html)):
        if path is not None:
            path.write_text(write(picture), encoding="utf-8")
            click.echo(f"{path}: {picture.counts}", err=True)
    if output in ("json", "yaml"):
        print_data(picture.to_dict(), output)
    elif svg is None and html is None:
        _show(picture)


def _picture(here: bool, registry: str | None, config: Path | None) -> Picture:
    if here or not (registry or config or CONFIG.exists()):
        from snnet.doctor.survey import survey
        from snnet.drawing import found

        return found.picture(survey())
    from snnet.drawing import registered

    with Cluster(registry_url(registry, config)) as cluster:
        return registered.picture(cluster)


def _show(picture: Picture) -> None:
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(f"{picture.title}: {picture.counts}"))
    ways = _ways(picture)
    for host in picture.hosts:
        if host.kind == "elsewhere":
            continue  # it is named where the tunnel begins
        branch = tree.add(_line(host.title, "bold", (host.kind, *host.facts, *ways[host.id])))
        for bridge in host.bridges:
            name = f"{bridge.tenant}/{bridge.network}"
            leaf = branch.add(_line(name, "cyan", (*bridge.facts, *ways[bridge.id])))
            for nic in bridge.nics:
                leaf.add(_line(nic.name, "", (*nic.addresses, *nic.notes)))
    print_tree(tree)


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


def _line(name: str, style: str, facts: Iterable[str]) -> Text:
    from rich.text import Text

    return Text(name, style).append("".join(f"  {fact}" for fact in facts), "not bold default")
