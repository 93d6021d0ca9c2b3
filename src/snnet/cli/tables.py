"""The demo's tables.  They fit 80 columns and can be read without colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import MINIMAL
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snnet.contract.nat import with_port
from snnet.lab import WEB, Answer, Connection, Guest, Matrix, Placement, Report, is_as_expected

from .look import titled_table

_COLOURS = ("cyan", "magenta", "yellow", "blue")
_CELL = 3
"""Characters of one column of the matrix."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks for yes, no and a problem."""

    yes: str = "✔"
    no: str = "·"
    bad: str = "✘"

    @classmethod
    def of(cls, console: Console) -> Marks:
        """The marks that the console's encoding can show."""
        return cls() if console.encoding.lower().startswith("utf") else cls("y", ".", "x")


def topology_table(placements: Sequence[Placement]) -> Table:
    """Where every guest is: one row for each tenant's subnet on each node."""
    headers = ("node", "tenant\nsubnet", "bridge\ntunnel", "guest", "link", "ip")
    table = titled_table("Topology", *headers, pad_edge=False, collapse_padding=True)
    colours = _colours(place.tenant for place in placements)
    for node, on_node in groupby(placements, lambda place: place.node):
        rows = groupby(on_node, lambda place: (place.tenant, place.subnet))
        for number, ((tenant, subnet), group) in enumerate(rows):
            here = list(group)
            table.add_row(
                "" if number else node,
                Text.assemble((tenant, colours[tenant]), f"\n{subnet}"),
                f"{here[0].bridge}\n{here[0].tunnel}" if here[0].bridge else "",
                Text("\n".join(place.guest for place in here), colours[tenant]),
                "\n".join(place.link for place in here),
                "\n".join(str(place.ip) for place in here),
            )
        table.add_section()
    return table


def matrix_table(guests: Sequence[Guest], matrix: Matrix, expected: Matrix, marks: Marks) -> Table:
    """Who reached whom: a row for each sender, a column for each target's number.

    Results that are not as expected are red.  Who is in a group is named with it.
    """
    table = titled_table(
        f"Pings: {marks.yes} answered by IPv4 and IPv6, 4 or 6 by one, {marks.no} no answer",
        box=MINIMAL,
        caption=_explained(guests),
        caption_justify="left",
        caption_style="",
    )
    tenants = [list(group) for _, group in groupby(guests, lambda guest: guest.tenant.name)]
    colours = _colours(guest.tenant.name for guest in guests)
    numbers = {guest.name: number for number, guest in enumerate(guests, 1)}
    table.add_column("\nfrom", no_wrap=True)
    for tenant in tenants:
        name = tenant[0].tenant.name
        columns = "".join(f"{numbers[guest.name]:{_CELL}}" for guest in tenant)
        table.add_column(Text(f" to {name}\n{columns}", colours[name]), no_wrap=True)
    for tenant in tenants:
        for source in tenant:
            colour = colours[source.tenant.name]
            reached, wanted = matrix[source.name], expected[source.name]
            table.add_row(
                Text(f"{numbers[source.name]:2} {_with_groups(source)}", colour),
                *(
                    Text().join(
                        _cell(reached.get(target.name), wanted.get(target.name), marks)
                        for target in targets
                    )
                    for targets in tenants
                ),
            )
        table.add_section()
    return table


def _explained(guests: Sequence[Guest]) -> str | None:
    names = dict.fromkeys(name for guest in guests for name in guest.groups)
    if not names:
        return None
    return f"({', '.join(names)}): in a security group that lets TCP port {WEB} in, and no ping"


def _with_groups(guest: Guest) -> str:
    return f"{guest.name} ({', '.join(guest.groups)})" if guest.groups else guest.name


def connections_table(
    connections: Sequence[Connection], answers: Sequence[Answer | None], marks: Marks
) -> Table:
    """Who answered each connection, and the source address that the server saw.

    Connections of several guests with the same result share a row.  Results that are not
    as expected are red.
    """
    title = f"TCP connections: {marks.no} no answer"
    headers = ("connection", "from", "to", "answered by", "source seen")
    table = titled_table(title, *headers, pad_edge=False, collapse_padding=True)
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    wrong: set[tuple[str, str, str, str]] = set()
    for connection, answer in zip(connections, answers, strict=True):
        server, source = (answer.server, str(answer.source)) if answer else (marks.no, marks.no)
        # In routed mode every guest keeps its own address; show them in one row.
        if connection.client_ip is not None and source == str(connection.client_ip):
            source = "guest's own"
        key = (connection.what, with_port(connection.address, connection.port), server, source)
        rows.setdefault(key, []).append(connection.client)
        if not is_as_expected(connection, answer):
            wrong.add(key)
    for key, clients in rows.items():
        what, to, server, source = key
        client = clients[0] if len(clients) == 1 else f"{len(clients)} guests"
        style = "bold red" if key in wrong else None
        # The brackets of an IPv6 address are no markup.
        table.add_row(what, client, Text(to), server, source, style=style)
    return table


def namespaces_table(report: Report) -> Table:
    """The network namespaces of a data centre that was kept."""
    title = "The data centre is up, in these network namespaces"
    table = titled_table(title, "namespace", "what it is")
    for name, what in report.namespaces.items():
        table.add_row(name, what)
    return table


_RULES = {"nftables": "nft list ruleset", "iptables": "iptables-save"}


def hints(report: Report) -> Iterator[str]:
    """Commands to look at a data centre that was kept, with their headings."""
    scenario = report.scenario
    source = scenario.guests[0]
    target = next(
        guest
        for guest in reversed(scenario.guests)
        if guest.tenant == source.tenant and guest.subnet == source.subnet
    )
    node = f"snnet-demo-{source.machine.name}"
    ruled = node if scenario.routed else f"snnet-demo-{source.tenant.concentrator}"
    inside = f"ip netns exec snnet-demo-{source.name}"
    yield "To look at it (as root):"
    yield from _hint(f"enter {source.name}", f"{inside} bash")
    yield from _hint(f"ping {target.name} from there", f"{inside} busybox ping -c 3 {target.ip}")
    yield from _hint(f"the links of {source.machine.name}", f"ip -n {node} -details link show")
    if scenario.routed:
        yield from _hint(f"the routes of {source.machine.name}", f"ip -n {node} route show")
    else:
        place = next(place for place in report.placements if place.guest == source.name)
        yield from _hint(
            f"the bridge of {source.name} and its ports",
            f"bridge -n {node} link show; bridge -n {node} fdb show br {place.bridge}",
        )
    if report.firewall in _RULES:
        yield from _hint("firewall rules", f"ip netns exec {ruled} {_RULES[report.firewall]}")


def _hint(what: str, command: str) -> Iterator[str]:
    yield f"  # {what}"
    yield f"  {command}"


def _cell(reached: frozenset[int] | None, expected: frozenset[int] | None, marks: Marks) -> Text:
    if reached is None:
        return Text(" " * _CELL)
    alone = "".join(map(str, sorted(reached))) or marks.no
    mark = (marks.yes if len(reached) > 1 else alone).rjust(_CELL)
    if reached != expected:
        return Text(mark, "bold red")
    return Text(mark, "green" if reached else "dim")


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in order of first appearance."""
    return {
        name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(dict.fromkeys(names))
    }
