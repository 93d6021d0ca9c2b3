"""Asks whether one place reaches another, and says what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from snnet.backends.fake import FakeKernel, Guest
from snnet.backends.fake.fabric.frames import Arp
from snnet.backends.fake.fabric.trace import Trace
from snnet.backends.fake.fabric.walk import NO_NEIGHBOUR, Doubt, Step
from snnet.contract import InvalidRequest, IPAddress, Link, PortForward, PublicIp

from .chains import Blame
from .mending import advice, advice_on_doubt
from .places import Place, find, find_target, knows
from .snapshot import Snapshot
from .world import BEYOND, SEVERAL, World

REACHED, DROPPED, LEFT, UNKNOWN = "reached", "dropped", "left", "unknown"
"""It arrives and an answer comes back; it is lost here; it leaves this host, where others
decide; nobody can tell."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a packet: on which host and link, and what happened."""

    host: str
    link: str
    what: str

    @classmethod
    def of(cls, step: Step) -> Hop:
        return cls(step.host, step.link, step.said.format(*step.values))

    def to_dict(self) -> dict[str, str]:
        return {"host": self.host, "link": self.link, "what": self.what}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a packet, and why.  ``fix`` is a command, or advice; empty if none."""

    outcome: str
    question: str
    hops: tuple[Hop, ...]
    why: str
    fix: str = ""
    doubts: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcome": self.outcome,
            "question": self.question,
            "why": self.why,
            "fix": self.fix,
            "doubts": list(self.doubts),
            "hops": [hop.to_dict() for hop in self.hops],
        }


def explain(
    snapshot: Snapshot,
    source: str,
    target: str,
    *,
    tenant: str | None = None,
    protocol: str | None = None,
    port: int | None = None,
    version: int | None = None,
) -> Explanation:
    """Say what becomes of a ping, or of a connection to ``port``, from one to the other.

    ``source`` and ``target`` are a VNIC's name, an address or a link.  ``version`` is that of
    IP; None: 4 if both have it.  Raises InvalidRequest if one of them is not known, or if
    they have no version in common.  Nothing is sent.
    """
    world = World(snapshot)
    one = find(world, source, tenant)
    # The tenant's own VNIC is meant before others of its name.
    mine = one.vnic.tenant if one.vnic else tenant
    other = find_target(world, target, mine if knows(world, target, mine) else tenant)
    return Asker(world).ask(one, other, protocol=protocol, port=port, version=version)


class Asker:
    """Asks a world any number of questions, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world

    def ask(
        self,
        source: Place,
        target: Place,
        *,
        protocol: str | None = None,
        port: int | None = None,
        version: int | None = None,
    ) -> Explanation:
        """See ``explain``."""
        version = version or _common(source, target)
        address = target.address(version)
        if address is None or source.address(version) is None:
            raise InvalidRequest(f"{source.text} and {target.text} do not both have IPv{version}")
        what = f"{protocol} to port {port}" if protocol else "ping"
        question = f"{what} from {source.text} to {target.text} ({address})"
        self._add_guests(address, port)
        place = self._place(source, target, version)
        if place is None:
            why = f"this host has no route to {source.text}, where it would come from"
            return Explanation(UNKNOWN, question, (), why)
        there = self.world.guest(target.vnic) if target.vnic else None
        trace = self.world.fabric.trace(
            place, there or address, protocol=protocol, port=port, version=version
        )
        return self._said(question, trace, self._is_here(target, address))

    # -- who is there -----------------------------------------------------------------

    def _place(self, source: Place, asked: Place, version: int) -> FakeKernel | Guest | None:
        """Return who asks, after what is beyond the host was added where it is needed."""
        own, target = source.address(version), asked.address(version)
        assert own is not None
        assert target is not None
        if source.vnic is not None:
            place: FakeKernel | Guest | None = self.world.guest(source.vnic)
        elif source.space is not None:
            place = self.world.kernels[source.space]
        else:
            return self.world.beyond(own, [own])
        outside = self.world.beyond(target, [] if self._is_here(asked, target) else [target])
        remote = next(self.world.remotes(), None) if outside is None else None
        if remote is not None:
            self.world.beyond(remote, [])
        return place

    def _add_guests(self, address: IPAddress, port: int | None) -> None:
        """Add the guests that have the address, or that it may be translated to."""
        nouns = [noun for space in self.world.snapshot.spaces.values() for noun in space.nouns]
        addresses, ports = {address}, {port}
        forwards = [noun for noun in nouns if isinstance(noun, PortForward)]
        for _ in range(2):  # on the host, and in a concentrator's namespace
            led = [one for one in forwards if one.port in ports]
            addresses |= {one.target for one in led}
            ports |= {one.target_port for one in led}
        addresses |= {noun.internal for noun in nouns if isinstance(noun, PublicIp)}
        texts = set(map(str, addresses))
        for vnic in self.world.vnics:
            if not texts.isdisjoint(vnic.addresses):
                self.world.guest(vnic)

    def _is_here(self, target: Place, address: IPAddress) -> bool:
        guests = any(vnic.has(address) for vnic in self.world.vnics)
        return target.vnic is not None or guests or self.world.having(address) is not None

    # -- what came of it --------------------------------------------------------------

    def _said(self, question: str, trace: Trace, here: bool) -> Explanation:
        hops = tuple(map(Hop.of, trace.steps))
        doubts = [*trace.doubts, *self._further(trace.steps)]
        last = trace.steps[-1] if trace.steps else None
        if trace.answered:
            if doubts:
                return self._doubted(question, hops, doubts)
            if here or BEYOND not in trace.reached:
                return Explanation(REACHED, question, hops, f"{trace.reached[0]} answers")
            why = "it leaves this host, and an answer would come in: others decide about the rest"
            return Explanation(LEFT, question, hops, why)
        if last is None:
            return Explanation(DROPPED, question, hops, "nobody answers")
        if self._left(trace, last):
            why = "it leaves this host, and the answer depends on others"
            return Explanation(LEFT, question, hops, why)
        if SEVERAL in last.values:
            return Explanation(UNKNOWN, question, hops, hops[-1].what)
        why = f"{hops[-1].link or hops[-1].host}: {hops[-1].what}"
        return Explanation(DROPPED, question, hops, why, advice(self.world, last))

    def _doubted(
        self, question: str, hops: tuple[Hop, ...], doubts: Iterable[Doubt]
    ) -> Explanation:
        named = tuple(dict.fromkeys(f"{doubt.station}: {doubt.what}" for doubt in doubts))
        fix = advice_on_doubt(self.world, doubts)
        return Explanation(UNKNOWN, question, hops, f"nobody can tell: {named[0]}", fix, named)

    def _left(self, trace: Trace, last: Step) -> bool:
        """Whether it was lost beyond this host, as far as this host knows."""
        if last.host == BEYOND:
            return True
        asked = last.values[0] if last.said == NO_NEIGHBOUR else None
        if not isinstance(asked, Arp) or self.world.having(asked.target) is not None:
            return False
        guests = any(vnic.has(asked.target) for vnic in self.world.vnics)
        return not guests and any(end.host == BEYOND for end in trace.ends)

    def _further(self, steps: Iterable[Step]) -> Iterator[Doubt]:
        """Yield what the fakes do not know of the way: rules of routing, and settings of links."""
        spaces = self.world.snapshot.spaces
        for name, kernel in self.world.kernels.items():
            mine = [step for step in steps if self.world.space_of(step.host) == name]
            if mine:
                for damage in spaces[name].damage:
                    what = f"somebody changed {damage}"
                    yield Doubt(mine[0].host, what, Blame(what, "snnet host repair"))
                for policy in spaces[name].policies:
                    yield Doubt(mine[0].host, f"{policy} chooses another table of routes")
            for link in dict.fromkeys(step.link for step in mine):
                found = kernel.state.link(link)
                if isinstance(found, Link) and found.settings:
                    settings = ", ".join(f"{key} {value}" for key, value in found.settings)
                    yield Doubt(mine[0].host, f"link {link} has {settings}")


def _common(source: Place, target: Place) -> int:
    for version in (4, 6):
        if source.address(version) is not None and target.address(version) is not None:
            return version
    raise InvalidRequest(f"{source.text} and {target.text} have no version of IP in common")
