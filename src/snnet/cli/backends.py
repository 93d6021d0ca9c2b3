"""``snnet backends``: the installed drivers, and what each can do on this machine.

An error of one driver is shown as the reason in its own row.  All other drivers are
listed all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snnet import plugins
from snnet.backends.fake import FakeKernel
from snnet.contract import Driver, DriverLoadError, Host, InvalidRequest, SnnetError
from snnet.plugins import Installed
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace

from .look import titled_table
from .samples import label, samples

_OWNER = "cn:probe"
_REAL, _FAKE = "namespace", "fake host"
_NEEDS_ROOT = "run as root to see what it can do here"


@dataclass(slots=True)
class Entry:
    """What is known about one installed driver."""

    driver: Installed
    loads: bool = False
    reason: str | None = None
    """Why the driver does not load, or could not be asked."""
    asked: str | None = None
    """The host on which the driver was asked: "namespace" or "fake host"."""
    supports: list[str] = field(default_factory=list)
    lacks: dict[str, str] = field(default_factory=dict)
    """Nouns that the driver carries and does not support here, each with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "group": self.driver.group,
            "name": self.driver.name,
            "distribution": self.driver.distribution,
            "version": self.driver.version,
            "entry_point": self.driver.value,
            "loads": self.loads,
            "reason": self.reason,
            "asked": self.asked,
            "supports": self.supports,
            "lacks": self.lacks,
        }


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts on which drivers are asked.  Nothing is created there."""

    fake: Host
    real: Host | None
    why_not_real: str = ""


def show_backends(*, as_json: bool) -> None:
    """Ask every driver and print the results, as a table or as JSON.

    Drivers that cannot be loaded or asked are listed with the reason.
    """
    # Output of the drivers themselves must not mix with the list.
    with contextlib.redirect_stdout(sys.stderr), _hosts() as hosts:
        entries = survey(hosts)
    if as_json:
        data = {
            "asked_kernel": hosts.real is not None,
            "drivers": [entry.to_dict() for entry in entries],
        }
        click.echo(json.dumps(data, indent=2))
        return
    console = Console(highlight=False)
    console.print(backends_table(entries))
    if hosts.real is None:
        console.print(f"\n{hosts.why_not_real}", style="yellow")


def survey(hosts: Hosts) -> list[Entry]:
    """Ask every driver; one entry each, sorted by group and name."""
    groups = (plugins.BACKENDS, plugins.FIREWALLS, plugins.DHCP, plugins.REGISTRIES)
    return [_examine(driver, hosts) for group in groups for driver in plugins.catalogue(group)]


def _examine(installed: Installed, hosts: Hosts) -> Entry:
    entry = Entry(installed)
    try:
        plugins.load_driver(installed.group, installed.name)
        entry.loads = True
        if installed.group == plugins.REGISTRIES:
            return entry  # a registry carries no nouns
        with _opened(entry, hosts) as driver:
            _ask(entry, driver)
    except (Exception, SystemExit) as error:
        entry.reason = _in_one_line(error)
        entry.loads = entry.loads and _is_about_the_host(error)
    return entry


@contextlib.contextmanager
def _opened(entry: Entry, hosts: Hosts) -> Iterator[Driver]:
    """Open the driver on a namespace of the real kernel if possible, else on a fake host."""
    driver, entry.asked = _open(entry.driver, hosts)
    try:
        yield driver
    finally:
        with contextlib.suppress(Exception):
            driver.close()


def _open(installed: Installed, hosts: Hosts) -> tuple[Driver, str]:
    if hosts.real is None:
        try:
            return plugins.open_driver(installed.group, installed.name, hosts.fake), _FAKE
        except SnnetError as error:
            # A driver of the real kernel cannot work on a fake host, whatever its error says.
            raise _NotAskedError(_NEEDS_ROOT) from error
    try:
        return plugins.open_driver(installed.group, installed.name, hosts.real), _REAL
    except InvalidRequest:
        return plugins.open_driver(installed.group, installed.name, hosts.fake), _FAKE


class _NotAskedError(SnnetError):
    """There is no host on which this driver can be opened."""


def _is_about_the_host(error: BaseException) -> bool:
    """Whether the error is caused by the host and not by the driver."""
    return isinstance(error, SnnetError) and not isinstance(error, DriverLoadError)


def _ask(entry: Entry, driver: Driver) -> None:
    """Ask for a sample of every kind of noun that the driver carries."""
    carried = set(driver.carries)
    for noun in samples(_OWNER):
        if type(noun) not in carried:
            continue
        try:
            reason = driver.missing(noun)
        except Exception as error:
            reason = f"missing() failed: {_in_one_line(error)}"
        if reason is None:
            entry.supports.append(label(noun))
        else:
            entry.lacks[label(noun)] = str(reason)
    known = {type(noun) for noun in samples(_OWNER)}
    # Nouns defined by third parties: there are no samples to ask for.
    entry.supports += sorted(
        f"{noun.__name__} (not asked)"
        for noun in carried - known
        if not noun.__module__.startswith("snnet.contract.")
    )


@contextlib.contextmanager
def _hosts() -> Iterator[Hosts]:
    """A temporary namespace of the real kernel, if this user may create one, and a fake host."""
    fake = FakeKernel()
    if os.geteuid() != 0:
        yield Hosts(fake, None, "not root: drivers of the real kernel were not asked")
        return
    try:
        namespace = Namespace("backends")
    except SnnetError as error:
        yield Hosts(fake, None, f"drivers of the real kernel were not asked: {error}")
        return
    try:
        with tempfile.TemporaryDirectory(prefix="snnet-") as runtime:
            host = RealHost(namespace.fd, owner=_OWNER, runtime=Path(runtime, "run"))
            try:
                yield Hosts(fake, host)
            finally:
                host.close()
    finally:
        namespace.close()


def backends_table(entries: Iterable[Entry]) -> Table:
    """A row for each driver: what it supports, and below that what it does not, and why."""
    table = titled_table("Drivers", "for", "name")
    table.add_column("from", max_width=16, overflow="fold")
    table.add_column("supports", overflow="fold", ratio=1)
    group = ""
    for entry in entries:
        first = entry.driver.group != group
        if first and group:
            table.add_section()
        group = entry.driver.group
        table.add_row(
            group.removeprefix("snnet.") if first else "",
            entry.driver.name,
            f"{entry.driver.distribution} {entry.driver.version}".strip(),
            _verdict(entry),
        )
    return table


def _verdict(entry: Entry) -> Text:
    lines = Text()
    if entry.reason is not None:
        return lines.append(entry.reason, "yellow" if entry.loads else "red")
    if entry.supports:
        lines.append(" ".join(entry.supports))
    # Several nouns often share a reason.
    for reason in dict.fromkeys(entry.lacks.values()):
        nouns = [noun for noun, why in entry.lacks.items() if why == reason]
        if not entry.supports and len(nouns) == len(entry.lacks):
            what = "nothing: "
        elif len(nouns) == 1 and re.search(rf"\b{re.escape(nouns[0])}\b", reason):
            what = ""
        else:
            what = f"no {', '.join(nouns)}: "
        lines.append("\n" if lines else "").append(f"{what}{reason}", "yellow")
    return lines


def _in_one_line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, SnnetError) else f"{type(error).__name__}: {said}"
