"""``snnet apply`` and ``snnet export``."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from snnet.cluster import Applied, Cluster
from snnet.cluster.problems import each
from snnet.contract import InvalidRequest

from .options import output_option, with_cluster, with_new_cluster
from .output import Column, arrow, doing, print_data, print_table

_COLUMNS = (
    Column("KIND", "kind"),
    Column("TENANT", "tenant"),
    Column("NAME", "name"),
    Column("ACTION", "action"),
    Column("", lambda item: item.get("error") or _changes(item)),
)


@click.command()
@click.option("-f", "--file", type=click.File("rb"), required=True, help="The file; - for stdin.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--prune",
    is_flag=True,
    help="Also delete objects that are not in the file, of the tenants that it names.",
)
@output_option
@with_new_cluster
def apply(cluster: Cluster, file: IO[bytes], dry_run: bool, prune: bool, output: str) -> None:
    """Create and change what a file describes, in the YAML that 'snnet export' prints.

    The whole file is checked before anything is done.  What the file does not have stays as
    it is, unless --prune is given.  Returns when the registry has it; the agents do the work
    afterwards, and 'snnet status --wait' waits for them.

    \b
    snnet apply -f web.yaml --dry-run
    """
    from .documents import read_documents

    name = str(getattr(file, "name", "<stdin>"))
    try:
        data = file.read()
    except OSError as error:
        raise click.BadParameter(
            f"cannot read {name}: {error.strerror}", param_hint="'--file'"
        ) from error
    documents = read_documents(data, name)
    try:
        with doing() as say:
            applied = cluster.apply(
                documents,
                prune=prune,
                dry_run=dry_run,
                progress=lambda done, total: say(f"{done} of {total} objects stored"),
            )
    except InvalidRequest as error:
        for problem in each(error):
            click.echo(f"snnet: {documents.place(problem)}: {problem}", err=True)
        sys.exit(2)
    _show(applied, output, dry_run=dry_run)
    if any(item.error for item in applied):
        sys.exit(1)


@click.command()
@click.option("--tenant", help="Only objects of this tenant.  Default: all.")
@with_cluster
def export(cluster: Cluster, tenant: str | None) -> None:
    """Print all objects as the YAML that 'snnet apply' takes.

    It has the addresses, keys and hosts that were chosen: applied to an empty registry, it
    creates the same objects.

    \b
    snnet export > backup.yaml
    """
    import yaml

    text = yaml.safe_dump_all(cluster.export(tenant), sort_keys=False, allow_unicode=True)
    click.echo(text, nl=False)


def _show(applied: list[Applied], output: str, *, dry_run: bool) -> None:
    data = [item.to_dict() for item in applied]
    if output in ("json", "yaml"):
        print_data(data, output)
        return
    shown = [item for item in data if output == "wide" or item["action"] != "kept"]
    if shown:
        print_table(shown, _COLUMNS, wide=True)
    kept = len(data) - len(shown)
    if kept:
        click.echo(f"{kept} kept as they are")
    if dry_run:
        click.echo("dry run: nothing was changed")


def _changes(item: Any) -> str:
    return ", ".join(
        f"{name}: {change['is']} {arrow()} {change['becomes']}"
        for name, change in item.get("changes", {}).items()
    )
