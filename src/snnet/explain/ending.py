"""Where a packet was lost for good: on many hosts, a copy of it or a request is lost at several.

A request for a neighbour is flooded, and each host that has a part of the network gets a copy.
What tells is where the copy was lost that should have arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from snnet.backends.fake.fabric.frames import Arp
from snnet.backends.fake.fabric.trace import Trace
from snnet.backends.fake.fabric.walk import AN_ERROR, LINK_DOWN, NO_NEIGHBOUR, Step
from snnet.contract import IPAddress, ProxyNeighbour
from snnet.contract.network import FORWARDING

from .vnics import Vnic
from .world import World

_FOLLOWING = (NO_NEIGHBOUR, LINK_DOWN, AN_ERROR)
"""What is said of packets that are lost because another was lost before."""


class Ending(NamedTuple):
    """Where it was lost: the steps to there, on which host, why and what to do about it.

    ``why`` and ``fix`` are empty where the last step says it.
    """

    steps: tuple[Step, ...]
    host: str
    why: str = ""
    fix: str = ""


def ending(world: World, trace: Trace, tenants: set[str]) -> Ending | None:
    """Return where a question without an answer ended; None if nothing was sent at all.

    ``tenants`` are those that the question is about.
    """
    if not trace.steps:
        return None
    ends = [trace.steps[-1], *reversed(trace.ends)]
    known = set() if world.is_one else _concerned(world, ends)
    real = [end for end in ends if end.said not in _FOLLOWING]
    mine = (
        [trace.steps[-1]] if world.is_one else [e for e in real if world.host_of(e.host) in known]
    )
    if mine and mine[0].said not in _FOLLOWING:
        return _at(world, mine[0])
    for end in ends:
        if end.said == NO_NEIGHBOUR:
            found = _unanswered(world, end) or _the_other_way(world, end, tenants)
            if found is not None:
                return found
    silent = [end for end in real if end.host in world.outside.silent]
    down = [e for e in ends if e.said == LINK_DOWN and world.host_of(e.host) in known]
    last = [*silent, *down, trace.steps[-1]][0]
    return Ending(trace.steps, world.host_of(last.host)) if last is ends[0] else _at(world, last)


def _at(world: World, end: Step) -> Ending:
    return Ending(tuple(end.path()), world.host_of(end.host))


def _concerned(world: World, ends: Iterable[Step]) -> set[str]:
    """Return the hosts that the packet has to pass: of its sender, of guests, of concentrators."""
    stations = {end.path()[0].host for end in ends} | {*world.attached}
    stations |= {station for station in world.spaces if world.space_of(station)}
    return {world.host_of(station) for station in stations} - {"", *world.outside.silent}


def _asked(end: Step) -> Arp | None:
    asked = end.values[0] if end.values else None
    return asked if isinstance(asked, Arp) else None


def _unanswered(world: World, end: Step) -> Ending | None:
    """Return why a host does not answer for an address of one of its namespaces."""
    asked = _asked(end)
    station = asked and _station_with(world, asked.target)
    if asked is None or not station or not world.space_of(station):
        return None
    host, address = world.host_of(station), asked.target
    between = end.host == world.outside.name or world.space_of(end.host) == ""
    if not between or host == end.host:
        return None
    space = world.spaces[host]
    entry = any(isinstance(one, ProxyNeighbour) and one.address == address for one in space.nouns)
    steps = tuple(end.path())
    if not entry:
        why = f"it does not answer others for {address}, which its namespace has"
        return Ending(steps, host, why, "snnet host repair")
    name = FORWARDING[address.version]
    if space.sysctls.get(name, "0") == "0":
        why = f"it does not forward, and so does not answer others for {address}"
        return Ending(steps, host, why, f"sysctl -w {name}=1")
    return None


def _station_with(world: World, address: IPAddress) -> str:
    found = (name for name, one in world.kernels.items() if address in one.state.local)
    return next(found, "")


def _the_other_way(world: World, end: Step, tenants: set[str]) -> Ending | None:
    """Return where the guest's own request is lost, if it cannot be reached by one.

    A request that is flooded leaves no trace where it should have been sent on.
    """
    asked = _asked(end)
    vnics = [vnic for vnic in world.vnics if asked and vnic.has(asked.target)]
    if tenants and len(vnics) > 1:
        vnics = [vnic for vnic in vnics if vnic.tenant in tenants]
    if asked is None or len(vnics) != 1:
        return None
    trace = world.fabric.trace(world.guest(vnics[0]), asked.sender)
    if trace.answered or not trace.steps:
        return None
    ends = [trace.steps[-1], *reversed(trace.ends)]
    if not any(one.said == NO_NEIGHBOUR and one.host == str(vnics[0]) for one in ends):
        return None  # it found its neighbour: what is lost later is something else
    lost = next(_lost(world, ends, vnics[0]), None)
    if lost is None:
        return None
    where = f"{lost.link}: " if lost.link else ""
    why = f"{where}{lost.said.format(*lost.values)} (on the way back from {vnics[0]})"
    return Ending(tuple(lost.path()), world.host_of(lost.host), why)


def _lost(world: World, ends: Iterable[Step], vnic: Vnic) -> Iterator[Step]:
    """Yield where requests of a guest were lost on hosts that are known."""
    known = {world.host_of(vnic.station)}
    known |= {world.host_of(station) for station in world.spaces if world.space_of(station)}
    for end in ends:
        if end.said != NO_NEIGHBOUR and world.host_of(end.host) in known:
            yield end
