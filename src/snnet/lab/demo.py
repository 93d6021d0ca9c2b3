"""The demo: build the data centre, ping from every guest to every other, remove it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from snnet.contract import ApiError, SnnetError

from .datacentre import DataCentre
from .lab import Answer, Lab
from .report import Placement, Report, placements
from .scenario import Connection, Matrix, Scenario


class Watcher(Protocol):
    """Receives the demo's progress and results as they become known."""

    def step(self, what: str) -> AbstractContextManager[object]:
        """A context that is entered when a step begins and left when it ends or fails."""

    def built(self, placements: Sequence[Placement]) -> None:
        """All VNICs exist."""

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        """Every guest has pinged every other."""

    def connected(
        self, connections: Sequence[Connection], answers: Sequence[Answer | None]
    ) -> None:
        """Guests and the internet have connected to each other.  Needs a firewall."""


@dataclass(slots=True)
class _Demo:
    centre: DataCentre
    watcher: Watcher
    started: float

    def run(self) -> Report:
        """Build everything and try it."""
        lab, scenario, centre = self.centre.lab, self.centre.scenario, self.centre
        expected = scenario.expected()
        with self.watcher.step(f"{len(scenario.machines)} hosts on one wire"):
            lab.build_wire()
            centre.start_nodes()
        if not scenario.routed:
            with self.watcher.step(f"{len(scenario.tenants)} concentrators, one for each tenant"):
                centre.start_concentrators()
        how = "each routed" if scenario.routed else f"and {lab.tunnel} tunnels to concentrators"
        with self.watcher.step(f"{len(scenario.guests)} VNICs, {how}"):
            centre.create_vnics()
        found = list(placements(centre))
        how = "static addresses" if scenario.routed else "addresses by DHCP"
        with self.watcher.step(f"{len(scenario.guests)} guests, {how}"):
            lab.start(centre.vnics)
            leases = lab.lease()
        self.watcher.built(found)
        with self.watcher.step(pings_of(scenario)):
            matrix = lab.reach(expected)
        self.watcher.pinged(matrix, expected)
        return Report(
            backend=lab.backend,
            firewall=lab.firewall,
            tunnel=lab.tunnel,
            scenario=scenario,
            placements=found,
            leases=leases,
            matrix=matrix,
            answers=self._connect(),
            seconds=time.monotonic() - self.started,
        )

    def _connect(self) -> list[Answer | None]:
        if self.centre.lab.firewall == "none":
            return []
        connections = list(self.centre.scenario.connections())
        with self.watcher.step(f"{len(connections)} TCP connections"):
            self.centre.open_exits()
            answers = self.centre.lab.connect(connections)
        self.watcher.connected(connections, answers)
        return answers

    def remove(self) -> list[str]:
        """Remove everything; return a text for each leftover."""
        with self.watcher.step("everything removed, checked for leftovers"):
            left: list[str] = []
            try:
                left += self.centre.tear_down()
            finally:
                left += self.centre.lab.close()
            return left


def pings_of(scenario: Scenario) -> str:
    """How many pings there are, and of which families."""
    families = " and ".join(f"IPv{version}" for version in sorted(scenario.versions))
    return f"{scenario.pings} pings by {families}, every guest to every other"


def run(lab: Lab, watcher: Watcher, *, keep: bool = False) -> Report:
    """Run the whole demo in a lab, and remove everything at the end.

    With ``keep`` nothing is removed if the demo ran to its end; the caller keeps the
    lab.  Any error, ``Cancelled`` included, is raised after everything was removed; its
    message lists what could not be removed.
    """
    demo = _Demo(DataCentre(lab), watcher, time.monotonic())
    try:
        report = demo.run()
    except SnnetError as error:
        if left := demo.remove():
            raise ApiError(f"{error}; left over: {'; '.join(left)}") from error
        raise
    except BaseException:
        demo.remove()
        raise
    if keep:
        demo.centre.close()
        return replace(report, namespaces=lab.namespaces())
    left = demo.remove()
    return replace(report, left=left, seconds=time.monotonic() - demo.started)
