"""Asks whether one place reaches another, and says what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snnet.backends.fake import FakeKernel, Guest
from snnet.backends.fake.fabric.frames import Arp
from snnet.backends.fake.fabric.suppress import KNOWN
from snnet.backends.fake.fabric.trace import Trace
from snnet.backends.fake.fabric.walk import NO_NEIGHBOUR, Doubt, Step
from snnet.contract import InvalidRequest, IPAddress, Link, PortForward, PublicIp

from .chains import Blame
from .ending import Ending, ending
from .mending import advice, advice_on_doubt, refusing
from .places import Place, find, find_target, knows
from .routes import UNSURE
from .snapshot import Snapshot
from .world import World

REACHED, DROPPED, LEFT, UNKNOWN = "reached", "dropped", "left", "unknown"
"""It arrives and an answer comes back; it is lost here; it leaves the hosts that are known, and
others decide; nobody can tell."""


@dataclass(frozen=True, slots=True)
class Question:
    """Does a ping, or a connection to ``port``, get from one to the other, and the answer back?

    ``source`` and ``target`` are a VNIC's name, an address or a link.  ``tenant`` is whose VNICs
    are meant; None: anybody's.  ``version`` is that of IP; None: 4 if both have it.
    """

    source: str
    target: str
    tenant: str | None = None
    protocol: str | None = None
    port: int | None = None
    version: int | None = None

    def __str__(self) -> str:
        what = f"{self.protocol} to port {self.port}" if self.protocol else "ping"
        return f"{what} from {self.source} to {self.target}"


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
    """What becomes of a packet, and why.

    ``fix`` is a command for ``host``, or advice; empty if none.  ``host`` is where the packet is
    lost, or where nobody can tell; empty if that is no host that is known.
    """

    outcome: str
    question: str
    hops: tuple[Hop, ...]
    why: str
    fix: str = ""
    doubts: tuple[str, ...] = ()
    host: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcome": self.outcome,
            "question": self.question,
            "why": self.why,
            "host": self.host,
            "fix": self.fix,
            "doubts": list(self.doubts),
            "hops": [hop.to_dict() for hop in self.hops],
        }


def explain(snapshot: Snapshot, question: Question) -> Explanation:
    """Answer by what one host has.

    Raises InvalidRequest if source or target is not known, or if they have no version of IP in
    common.  Nothing is sent.
    """
    return ask(World(snapshot), question)


def ask(world: World, question: Question, absent: Mapping[str, Place] | None = None) -> Explanation:
    """Like ``explain``, in a world of one host or many.

    ``absent`` are those that are asked about, by their text, on hosts that gave no answer.
    """
    absent = absent or {}
    source = absent.get(question.source) or find(world, question.source, question.tenant)
    if source.absent:
        why = f"cannot tell: no answer from host {source.absent}, where {question.source} is"
        return Explanation(UNKNOWN, str(question), (), why, host=source.absent)
    target = absent.get(question.target)
    if target is None:
        # The tenant's own VNIC is meant before others of its name.
        mine = source.vnic.tenant if source.vnic else question.tenant
        known = knows(world, question.target, mine)
        target = find_target(world, question.target, mine if known else question.tenant)
    return Asker(world).ask(question, source, target)


class Asker:
    """Asks a world any number of questions, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world

    def ask(self, question: Question, source: Place, target: Place) -> Explanation:
        """Answer a question whose source and target were found; see ``explain``."""
        version = question.version or _common(question, source, target)
        address = target.address(version)
        if address is None or source.address(version) is None:
            raise InvalidRequest(
                f"{question.source} and {question.target} do not both have IPv{version}"
            )
        text = f"{question} ({address})"
        self._add_guests(address, question.port)
        place = self._place(source, target, version)
        if place is None:
            return self._from_nowhere(question, text, source.address(version))
        there = self.world.guest(target.vnic) if target.vnic else None
        trace = self.world.fabric.trace(
            place, there or address,
            protocol=question.protocol, port=question.port, version=version,
        )  # fmt: skip
        if trace.answered:
            return self._answered(text, trace, self._is_here(target, address))
        tenants = {one.vnic.tenant for one in (source, target) if one.vnic}
        end = ending(self.world, trace, tenants)
        if end is None:
            return Explanation(DROPPED, text, (), "nobody answers")
        return self._lost(text, trace, end, target.absent)

    # -- who is there -----------------------------------------------------------------

    def _place(self, source: Place, asked: Place, version: int) -> FakeKernel | Guest | None:
        """Return who asks, after what is beyond the hosts was added where it is needed."""
        own, target = source.address(version), asked.address(version)
        assert own is not None
        assert target is not None
        if source.vnic is not None:
            place: FakeKernel | Guest | None = self.world.guest(source.vnic)
        elif source.station is not None:
            place = self.world.kernels[source.station]
        else:
            return self.world.outside.surround([own], own)
        there = [] if self._is_here(asked, target) else [target]
        outside = self.world.outside.surround(there, target)
        remotes = () if outside else map(self.world.remotes, self.world.outside.hosts)
        remote = next((one for found in remotes for one in found), None)
        if remote is not None:
            self.world.outside.surround([], remote)
        return place

    def _add_guests(self, address: IPAddress, port: int | None) -> None:
        """Add the guests that have the address, or that it may be translated to."""
        nouns = [noun for space in self.world.spaces.values() for noun in space.nouns]
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

    def _from_nowhere(self, question: Question, text: str, source: IPAddress | None) -> Explanation:
        """Answer where no host knows the way to whoever would ask."""
        for host, root in self.world.outside.hosts.items() if self.world.is_one else ():
            hop = root.state.fib.find(source) if source is not None else None
            if hop is not None and hop.refuses:
                outcome = UNKNOWN if UNSURE in hop.refuses else DROPPED
                why = f"the route to {source}, where the answer goes, says {hop.refuses}"
                fix = refusing(self.world, host, source, hop.refuses)
                return Explanation(outcome, text, (), why, fix, host=host)
        who = "this host has" if self.world.is_one else "these hosts have"
        why = f"{who} no route to {question.source}, where it would come from"
        return Explanation(UNKNOWN, text, (), why)

    # -- what came of it --------------------------------------------------------------

    def _answered(self, question: str, trace: Trace, here: bool) -> Explanation:
        hops = tuple(map(Hop.of, trace.steps))
        doubts = [*trace.doubts, *self._further(trace.steps)]
        if doubts:
            return self._doubted(question, hops, doubts)
        if here or self.world.outside.name not in trace.reached:
            return Explanation(REACHED, question, hops, f"{trace.reached[0]} answers")
        leaves = f"it leaves {_these(self.world.is_one)}, and an answer would come in"
        return Explanation(LEFT, question, hops, f"{leaves}: others decide about the rest")

    def _lost(self, question: str, trace: Trace, end: Ending, absent: str) -> Explanation:
        """Say where it was lost; ``absent`` is the host of the target if it gave no answer."""
        last = end.steps[-1]
        hops = tuple(map(Hop.of, end.steps))
        left = not end.why and self._left(trace, last)
        silent = end.host if end.host in self.world.outside.silent else ""
        if not end.why and (left or last.said == NO_NEIGHBOUR):
            silent = silent or absent
        if silent:
            why = f"cannot tell: no answer from host {silent}, where it goes"
            return Explanation(UNKNOWN, question, hops, why, host=silent)
        if left:
            why = f"it leaves {_these(self.world.is_one)}, and the answer depends on others"
            return Explanation(LEFT, question, hops, why)
        if UNSURE in hops[-1].what:
            fix = advice(self.world, last)
            return Explanation(UNKNOWN, question, hops, hops[-1].what, fix, host=end.host)
        why = end.why or f"{self._where(last)}{hops[-1].what}"
        if not self.world.is_one and end.host:
            why = f"host {end.host}: {why}"
        fix = end.fix or advice(self.world, last)
        return Explanation(DROPPED, question, hops, why, fix, host=end.host)

    def _where(self, step: Step) -> str:
        """Return the link of a step, else its namespace or guest; nothing for a host itself."""
        where = step.link or self.world.space_of(step.host)
        if where is None:
            where = step.host
        return f"{where}: " if where else ""

    def _doubted(
        self, question: str, hops: tuple[Hop, ...], doubts: Iterable[Doubt]
    ) -> Explanation:
        named = tuple(dict.fromkeys(f"{doubt.station}: {doubt.what}" for doubt in doubts))
        fix = advice_on_doubt(self.world, doubts)
        why, host = f"nobody can tell: {named[0]}", self.world.host_of(named[0].partition(":")[0])
        return Explanation(UNKNOWN, question, hops, why, fix, named, host)

    def _left(self, trace: Trace, last: Step) -> bool:
        """Whether it was lost beyond the hosts, as far as they know."""
        beyond = self.world.outside.name
        if last.host == beyond:
            return True
        asked = last.values[0] if last.said == NO_NEIGHBOUR else None
        if not isinstance(asked, Arp) or self.world.having(asked.target) is not None:
            return False
        guests = any(vnic.has(asked.target) for vnic in self.world.vnics)
        return not guests and any(end.host == beyond for end in trace.ends)

    def _further(self, steps: Iterable[Step]) -> Iterator[Doubt]:
        """Yield what the fakes do not know of the way: rules of routing, and settings of links."""
        for name, kernel in self.world.kernels.items():
            mine = [step for step in steps if step.host == name]
            if mine:
                for damage in self.world.spaces[name].damage:
                    what = f"somebody changed {damage}"
                    yield Doubt(mine[0].host, what, Blame(what, "snnet host repair"))
                for policy in self.world.spaces[name].policies:
                    blame = Blame(policy["what"], policy["fix"])
                    yield Doubt(mine[0].host, blame.what, blame)
            for link in dict.fromkeys(step.link for step in mine):
                found = kernel.state.link(link)
                unknown = set(found.settings or ()) - KNOWN if isinstance(found, Link) else ()
                if unknown:
                    settings = ", ".join(f"{key} {value}" for key, value in sorted(unknown))
                    yield Doubt(mine[0].host, f"link {link} has {settings}")


def _these(one: bool) -> str:
    return "this host" if one else "these hosts"


def _common(question: Question, source: Place, target: Place) -> int:
    for version in (4, 6):
        if source.address(version) is not None and target.address(version) is not None:
            return version
    raise InvalidRequest(f"{question.source} and {question.target} have no version of IP in common")
