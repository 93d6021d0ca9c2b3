"""The cluster demo: build it by agents, kill a network host while pings run, look again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from snnet.contract import ApiError, SnnetError

from .cluster import ClusterLab, Place
from .demo import pings_of
from .report import as_wanted, wrong_pings
from .scenario import Guest, Machine, Matrix, Scenario
from .streams import Stream, Streams

_WARM_UP = 10
"""Pings of each stream that are answered before the host is killed, and after."""
_GIVE_UP = 60.0
"""Seconds after which a concentrator counts as lost."""


class ClusterWatcher(Protocol):
    """Receives the demo's progress and results as they become known."""

    def step(self, what: str) -> AbstractContextManager[object]:
        """A context that is entered when a step begins and left when it ends or fails."""

    def pinged(self, matrix: Matrix, expected: Matrix) -> None:
        """Every guest has pinged every other."""

    def moved(self, report: ClusterReport) -> None:
        """A network host was killed, and its concentrators are elsewhere."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What the cluster demo found.  Times are in seconds."""

    backend: str
    firewall: str
    tunnel: str
    registry: str
    scenario: Scenario
    before: Matrix
    killed: str
    killed_at: float
    places: Sequence[Place]
    places_after: Sequence[Place]
    streams: Sequence[Stream]
    after: Matrix = field(default_factory=dict)
    left: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def moved(self) -> set[str]:
        """The tenants whose concentrators were on the host that was killed."""
        return {place.tenant for place in self.places if place.node == self.killed}

    @property
    def lost_pings(self) -> int:
        """Pings that were lost from the kill on, of all streams."""
        return sum(stream.lost(self.killed_at) for stream in self.streams)

    @property
    def failover_seconds(self) -> float:
        """The longest silence of the streams through the concentrators that moved."""
        moved = (stream for stream in self.streams if stream.tenant in self.moved)
        return max((stream.silence(self.killed_at) for stream in moved), default=0.0)

    @property
    def problems(self) -> list[str]:
        """A text for each result that is not as it must be."""
        expected = self.scenario.expected()
        found = [f"before: {text}" for text in wrong_pings(self.before, expected)]
        found += [f"after: {text}" for text in wrong_pings(self.after, expected)]
        for stream in self.streams:
            if stream.answers_since(self.killed_at) < _WARM_UP:
                found.append(f"{stream.source} to {stream.target} did not come back")
        for old, new in zip(self.places, self.places_after, strict=True):
            if old.address != new.address:
                found.append(f"the concentrator of {old.tenant} has another address")
            if new.node == self.killed:
                found.append(f"the concentrator of {new.tenant} is still on {self.killed}")
        return found + [f"left over: {text}" for text in self.left]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be, and nothing is left over."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        expected = self.scenario.expected()
        return {
            "backend": self.backend,
            "firewall": self.firewall,
            "tunnel": self.tunnel,
            "registry": self.registry,
            "guests": [guest.to_dict() for guest in self.scenario.guests],
            "matrix_before": as_wanted(self.before, expected),
            "matrix_after": as_wanted(self.after, expected),
            "killed": self.killed,
            "concentrators": [
                {
                    "tenant": old.tenant,
                    "address": old.address,
                    "was_on": old.node,
                    "on": new.node,
                }
                for old, new in zip(self.places, self.places_after, strict=True)
            ],
            "streams": [stream.to_dict(self.killed_at) for stream in self.streams],
            "lost_pings": self.lost_pings,
            "failover_seconds": round(self.failover_seconds, 3),
            "problems": self.problems,
            "leftovers": list(self.left),
            "seconds": round(self.seconds, 1),
            "ok": self.ok,
        }


def run_cluster(lab: ClusterLab, watcher: ClusterWatcher) -> ClusterReport:
    """Run the whole demo in a lab, and remove everything at the end.

    Any error, ``Cancelled`` included, is raised after everything was removed; its message
    lists what could not be removed.
    """
    started = time.monotonic()
    try:
        report = _tried(lab, watcher)
    except SnnetError as error:
        if left := _removed(lab, watcher):
            raise ApiError(f"{error}; left over: {'; '.join(left)}") from error
        raise
    except BaseException:
        _removed(lab, watcher)
        raise
    left = _removed(lab, watcher)
    return replace(report, left=left, seconds=time.monotonic() - started)


def _removed(lab: ClusterLab, watcher: ClusterWatcher) -> list[str]:
    with watcher.step("everything removed, checked for leftovers"):
        return lab.close()


def _tried(lab: ClusterLab, watcher: ClusterWatcher) -> ClusterReport:
    scenario = lab.scenario
    expected, guests = scenario.expected(), scenario.guests
    with watcher.step(f"{len(scenario.machines)} hosts on one wire"):
        lab.build_wire()
    what = "three members of etcd" if lab.has_etcd else "one file of SQLite, as etcd is missing"
    with watcher.step(f"the registry: {what}"):
        lab.start_registry()
    with watcher.step(f"{len(lab.hosts)} agents"):
        for host in lab.hosts:
            lab.start_agent(host)
        lab.wait_agents()
    with watcher.step(f"{len(guests)} VNICs, asked for and made by agents"):
        ports = lab.furnish()
    with watcher.step(f"{len(guests)} guests, addresses by DHCP"):
        lab.plug_in(ports)
        lab.lease()
    with watcher.step(pings_of(scenario)):
        before = lab.reach(expected)
    watcher.pinged(before, expected)
    places = lab.places()
    killed = next(host for host in lab.network_hosts if host.name == places[0].node)
    with watcher.step(f"{killed.name} killed while pings run"):
        report = _kill(lab, killed, places, before)
    watcher.moved(report)
    with watcher.step(f"{scenario.pings} pings again"):
        report = replace(report, after=lab.reach(expected))
    watcher.pinged(report.after, expected)
    with watcher.step(f"{killed.name} back: it gives up what has moved"):
        lab.revive(killed)
        lab.wait_removed(killed)
    return report


def _kill(lab: ClusterLab, host: Machine, places: Sequence[Place], before: Matrix) -> ClusterReport:
    with Streams(_streams(lab)) as running:
        _wait(lab, running.streams, 0.0)
        lab.kill(host)
        killed_at = time.monotonic()
        _wait(lab, running.streams, killed_at)
    return ClusterReport(
        backend=lab.backend,
        firewall=lab.firewall,
        tunnel=lab.tunnel,
        registry="etcd" if lab.has_etcd else "sqlite",
        scenario=lab.scenario,
        before=before,
        killed=host.name,
        killed_at=killed_at,
        places=places,
        places_after=lab.places(),
        streams=running.streams,
    )


def _streams(lab: ClusterLab) -> list[Stream]:
    """Of each tenant: one guest to the outside, and one to the other subnet on the other host."""
    found = []
    for tenant in lab.scenario.tenants:
        mine = [guest for guest in lab.scenario.guests if guest.tenant == tenant]
        source, target = mine[0], next(guest for guest in mine if _is_far(guest, mine[0]))
        for name, address in (("outside", lab.scenario.outside), (target.name, target.ip)):
            space = lab.space_of(source)
            found.append(Stream(source.name, name, space, address, tenant.name))
    return found


def _is_far(guest: Guest, other: Guest) -> bool:
    return guest.subnet != other.subnet and guest.machine != other.machine


def _wait(lab: ClusterLab, streams: Sequence[Stream], since: float) -> None:
    """Wait until some pings of each stream are answered, or time is up."""
    end = time.monotonic() + _GIVE_UP
    while time.monotonic() < end:
        lab.check()
        if all(stream.answers_since(since) >= _WARM_UP for stream in streams):
            return
        time.sleep(0.05)
