"""The demo: build the data centre, let every guest ping every other, remove all of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from snnet.contract import ApiError, SnnetError

from .datacentre import DataCentre
from .lab import Lab, Lease, Welcome
from .report import Place, Report, places
from .scenario import Matrix, Visit


class Watcher(Protocol):
    """Who is told how it goes."""

    def step(self, what: str) -> AbstractContextManager[object]:
        """Entered when a step begins, left when it is done or has failed."""

    def built(self, places: Sequence[Place]) -> None:
        """All VNICs are there."""

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        """Every guest has pinged every other."""

    def visited(self, visits: Sequence[Visit], welcomes: Sequence[Welcome | None]) -> None:
        """Guests and the internet have visited each other, if a firewall lets them."""


def run(lab: Lab, watcher: Watcher) -> Report:
    """Run the whole demo in a lab, which is closed at the end, whatever happens.

    Raises what went wrong, ``Cancelled`` if the lab was told to stop, both
    after everything was removed; what could not be is in the message then.
    """
    started = time.monotonic()
    centre = DataCentre(lab)
    try:
        found, leases, matrix, welcomes = _build(centre, watcher)
    except SnnetError as error:
        if left := _remove(centre, watcher):
            raise ApiError(f"{error}; left over: {'; '.join(left)}") from error
        raise
    except BaseException:
        _remove(centre, watcher)
        raise
    left = _remove(centre, watcher)
    return Report(
        backend=lab.backend,
        firewall=lab.firewall,
        tunnel=lab.tunnel,
        scenario=lab.scenario,
        places=found,
        leases=leases,
        matrix=matrix,
        welcomes=welcomes,
        left=left,
        seconds=time.monotonic() - started,
    )


def _build(
    centre: DataCentre, watcher: Watcher
) -> tuple[list[Place], list[Lease], Matrix, list[Welcome | None]]:
    lab, scenario = centre.lab, centre.scenario
    expected = scenario.expected()
    with watcher.step(f"{len(scenario.machines)} hosts on one wire"):
        lab.build_wire()
        centre.start_nodes()
    if not scenario.routed:
        with watcher.step(f"{len(scenario.tenants)} concentrators, one for each tenant"):
            centre.start_concentrators()
    how = "each routed" if scenario.routed else f"and {lab.tunnel} tunnels to concentrators"
    with watcher.step(f"{len(scenario.guests)} VNICs, {how}"):
        centre.create_vnics()
    found = list(places(centre))
    how = "configured by hand" if scenario.routed else "addresses by DHCP"
    with watcher.step(f"{len(scenario.guests)} guests, {how}"):
        lab.start(centre.vnics)
        leases = lab.lease()
    watcher.built(found)
    with watcher.step(f"{len(list(scenario.pairs()))} pings, everybody to everybody"):
        matrix = lab.reach(expected)
    watcher.pinged(matrix, expected)
    visits = list(scenario.visits()) if lab.firewall != "none" else []
    welcomes: list[Welcome | None] = []
    if visits:
        with watcher.step(f"{len(visits)} visits to the internet and from it"):
            centre.open_exits()
            welcomes = lab.receive(visits)
        watcher.visited(visits, welcomes)
    return found, leases, matrix, welcomes


def _remove(centre: DataCentre, watcher: Watcher) -> list[str]:
    with watcher.step("everything removed, and looked for leftovers"):
        left: list[str] = []
        try:
            left += centre.tear_down()
        finally:
            left += centre.lab.close()
        return left
