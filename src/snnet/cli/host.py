"""``snnet host``: this host's kernel, without an agent or a registry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import CONFIG, output_option, reads_much
from .output import Branch, Column, print_data, print_table, print_tree
from .paths import OutputFile, write_file

if TYPE_CHECKING:
    from snnet.doctor.survey import FoundNode
    from snnet.node import Cnci, ComputeNode


@click.group()
def host() -> None:
    """This host as its kernel knows it; needs no agent, no registry and no ids (root)."""


_DROPS = (
    Column("NODE", "node", wide=True),
    Column("GUEST", "guest"),
    Column("LINK", "link"),
    Column("PACKETS", "packets"),
    Column("SINCE", "first"),
    Column("RULE", "rule"),
)


@host.command()
@click.option("--drops", is_flag=True, help="Show whose packets were dropped, and why.")
@output_option
@reads_much
def show(drops: bool, output: str) -> None:
    """Show everything of snnet on this host, by owner.

    With --drops: what the rules of snnet have dropped, by guest and rule.  nftables counts
    for a day from the first packet on; iptables until a rule of the node changes.

    \b
    snnet host show
    snnet host show --drops
    """
    if drops:
        _show_drops(output)
        return
    from snnet.doctor.survey import look

    found = look()
    if output in ("json", "yaml"):
        print_data(
            [
                {
                    "name": seen.node.owner,
                    "netns": seen.node.netns,
                    "state": "found",
                    **seen.to_dict(),
                }
                for seen in found
            ],
            output,
        )
        return
    if not found:
        click.echo("nothing of snnet is on this host")
    for seen in found:
        title = seen.node.title
        if seen.error:
            title += f" cannot be read: {seen.error}"
        print_tree(Branch(title, _branches(seen.to_dict()) if seen.topology else []))


@host.command()
@output_option
def verify(output: str) -> None:
    """List what differs from what each node wants.

    Exits with 1 if anything does.

    \b
    snnet host verify
    """
    from snnet.doctor.survey import differences

    found = [(node, line) for node in _survey() for line in differences(node)]
    if output in ("json", "yaml"):
        print_data([{"node": node.owner, "difference": line} for node, line in found], output)
    else:
        for node, line in found:
            click.echo(f"{node.title}: {line}")
        if not found:
            click.echo("everything is as it should be")
    sys.exit(1 if found else 0)


@host.command()
def repair() -> None:
    """Put right what differs.  A node that an agent holds is repaired by its agent.

    If a node cannot be repaired, its error is printed, and the others are repaired all the
    same.  Exits with 1 then.

    \b
    snnet host repair
    """

    def repaired(node: FoundNode, it: ComputeNode | Cnci) -> bool:
        report = it.repair()
        for line in report.healed:
            click.echo(f"{node.title}: {line}")
        for line in report.orphans:
            click.echo(f"{node.title}: left: {line}", err=True)
        return not report.orphans

    sys.exit(0 if _each(_survey(), repaired) else 1)


@host.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Remove everything of snnet from this host.

    Stop the agent first: what it holds is left.  Guests lose their networks.  If a node cannot
    be removed, its error is printed, and the others are removed all the same.  Exits with 1
    then.

    \b
    snnet host reset
    """
    nodes = _survey()
    if not nodes:
        click.echo("nothing of snnet is on this host")
        return
    if not yes:
        names = ", ".join(node.title for node in nodes)
        click.confirm(f"Remove everything of {names}?", abort=True)
    # The nodes of inner namespaces first: their DHCP servers end with them.
    sys.exit(0 if _each([*reversed(nodes)], _removed, cleaning=True) else 1)


def _removed(node: FoundNode, it: ComputeNode | Cnci) -> bool:
    from snnet.node import ComputeNode

    if isinstance(it, ComputeNode):
        it.reset_network()
    else:
        it.shutdown()
    click.echo(f"{node.title}: removed")
    return True


def _each(
    nodes: Iterable[FoundNode],
    work: Callable[[FoundNode, ComputeNode | Cnci], bool],
    *,
    cleaning: bool = False,
) -> bool:
    """Do something with each node, also after an error, which is printed; whether all went well."""
    from snnet.contract import SnnetError
    from snnet.doctor.survey import opened

    well = True
    for node in nodes:
        try:
            with opened(node, read_only=False, cleaning=cleaning) as it:
                well &= work(node, it)
        except SnnetError as error:
            click.echo(f"{node.title}: {error}", err=True)
            well = False
    return well


@host.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def follow(yes: bool) -> None:
    """Have the agent obey a registry that did not make this host.

    An agent changes nothing on a host that another registry made, or this one before it lost its
    documents.  After this command it removes, within a minute, what the registry does not have.

    \b
    snnet host follow
    """
    import contextlib

    from snnet.node.noted import forget_registries
    from snnet.system.host import RealHost

    if not yes:
        click.confirm("Remove what the agent's registry does not have from this host?", abort=True)
    with contextlib.closing(RealHost()) as here:
        count = forget_registries(here)
    if not count:
        click.echo("nothing of this host was made by a registry: an agent follows any")


@host.command()
@output_option
def doctor(output: str) -> None:
    """Name what breaks tenants' networks on this host.

    Each finding has the command, or the advice, that helps.  Exits with 1 if there is any.

    \b
    snnet host doctor
    """
    from snnet.doctor.checks import examine

    findings = examine(_survey())
    if output in ("json", "yaml"):
        print_data([finding.to_dict() for finding in findings], output)
    else:
        for finding in findings:
            click.echo(f"- {finding.what}\n    {finding.fix}")
        if not findings:
            click.echo("nothing wrong was found")
    sys.exit(1 if findings else 0)


@host.command()
@click.argument("file", type=OutputFile(new=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="SNNET_CONFIG",
    show_envvar=True,
    help=f"The agent's settings.  Default: {CONFIG}, if it is there.",
)
def report(file: Path, yes: bool, config: Path | None) -> None:
    """Write what others need to help with this host, as .tar.gz.

    It lists what the file will hold, and asks.  It leaves out passwords, keys, and what belongs to
    tenants: leases, connections, payload.

    \b
    snnet host report /tmp/report.tar.gz
    """
    from snnet.doctor.report import collect, packed

    parts = collect(_survey(), config or (CONFIG if CONFIG.exists() else None))
    width = max(len(part.name) for part in parts)
    for part in parts:
        size = f"{len(part.text.encode()):9,}"
        click.echo(f"{part.name:{width}} {size}  {part.what}")
    if not yes:
        click.confirm(f"Write these to {file}?", abort=True)
    write_file(file, packed(parts), "FILE", private=True)
    click.echo(f"written to {file}; read it before you send it")


def _show_drops(output: str) -> None:
    from snnet.doctor.drops import drops

    found = list(drops(_survey()))
    if output in ("json", "yaml"):
        print_data([one.to_dict() for one in found], output)
    elif found:
        rows = [{**one.to_dict(), "first": one.since} for one in found]
        print_table(rows, _DROPS, wide=output == "wide")
    else:
        click.echo("the rules of snnet have dropped nothing")


def _survey() -> list[FoundNode]:
    from snnet.doctor.survey import survey

    return survey()


def _branches(data: Any) -> list[Branch]:
    """Plain data as a tree: a branch for each mapping, a line for each record."""
    found = []
    for name, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            found.append(Branch(str(name), _branches(value)))
        elif isinstance(value, dict):
            inner = {
                key: items
                for key, items in value.items()
                if isinstance(items, list) and items and isinstance(items[0], dict)
            }
            found.append(Branch(f"{name}  {_facts(value)}".rstrip(), _branches(inner)))
        elif isinstance(value, list) and value:
            lines = [_facts(item) if isinstance(item, dict) else str(item) for item in value]
            found.append(Branch(str(name), [Branch(line) for line in lines]))
    return found


def _facts(record: dict[str, Any]) -> str:
    """A record in one line, without what is empty or has a line of its own."""
    return "  ".join(
        f"{name}={value}"
        for name, value in record.items()
        if value not in (None, "", [], {}) and not isinstance(value, (list, dict))
    )
