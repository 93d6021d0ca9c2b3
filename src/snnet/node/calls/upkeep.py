"""Calls about the whole node: rebuild, repair, clear, and the forwarding they rest on.

They claim the whole node, so that they may keep its records through the draft.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic

from snnet.contract import (
    Add,
    Address,
    Announcement,
    Change,
    InvalidRequest,
    Key,
    Link,
    Macvtap,
    MssClamp,
    Noun,
    Nouns,
    Operation,
    Plan,
    PublicIp,
    Remove,
    SharedSysctl,
    Tunnel,
    TunnelGuard,
    keyed,
)
from snnet.core.announcing import of_node
from snnet.core.held import keep_held
from snnet.core.nat import Rule
from snnet.core.planner import plan as make_plan

from ..call import Call, Done, Draft, Mode, R
from ..claims import WHOLE_NODE, Claim, Held
from ..host import HostView
from ..results import Event, Report


@dataclass(slots=True)
class ReadDraft(Draft, Generic[R]):
    """A draft with what the node's objects on the host say."""

    ours: Nouns = field(kw_only=True)
    found_strays: Mapping[tuple[str, ...], Link] = field(kw_only=True)
    records: R = field(kw_only=True)
    others: list[str] = field(default_factory=list)
    """Nodes that this one may be meant to be, where it has nothing itself."""
    replaceable: list[Change] = field(default_factory=list)
    """Links of guests that only a replacement would make right."""


@dataclass(slots=True)
class RepairDraft(Draft):
    macvtaps: list[Macvtap] = field(default_factory=list)
    """Those that the repair made, as they are on the host."""
    rules: dict[Key, Rule] = field(default_factory=dict)
    """Those that change, since the addresses of their devices did, as they should be."""


class Forward(Call[R, R, Draft, None]):
    """Set the kernel parameters that the node needs, all of them or none."""

    what = "init"

    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        return WHOLE_NODE

    def read(self, records: R, claim: Claim) -> R:
        return records

    def draft(self, known: R, host: HostView) -> Draft:
        wanted = host.carried(known.sysctls(known.forwarding | {4}))
        return Draft(make_plan(host.find(wanted.values()), wanted))

    def publish(self, records: R, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        records.forwarding |= {4}
        return None, []


class Rebuild(Call[R, R, ReadDraft[R], Report]):
    """Learn the records from the host alone; repair what is half-built, remove what is useless.

    ``changes`` False: only learn.  ``forward`` False: leave kernel parameters alone.
    """

    what = "rebuild_topology"
    mode = Mode.REPORT

    def __init__(self, *, changes: bool, forward: bool = True) -> None:
        self._changes = changes
        self._forward = forward
        self.tidies = changes

    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        return WHOLE_NODE

    def read(self, records: R, claim: Claim) -> R:
        return records

    def draft(self, known: R, host: HostView) -> ReadDraft[R]:
        ours = host.settled(known) if self._changes else host.ours(known)
        records, useless = known.read(ours, host.remembered())
        plan, left = Plan(), list[Change]()
        if self._changes:
            nouns = host.carried(records.nouns())
            wanted = {key: noun for key, noun in nouns.items() if key not in useless}
            found = {key: noun for key, noun in ours.items() if key in wanted or key in useless}
            found |= host.looked_up(wanted.values())
            if not self._forward:
                wanted, found = _without_sysctls(wanted), _without_sysctls(found)
            wanted, left = keep_held(found, wanted)
            # A process that was killed may have made a link, and not yet kept IPv6 from it.
            changed, parameters = host.parameters(records)
            plan = make_plan(found | changed, wanted | parameters)
            check_kind(plan, host)
        return ReadDraft(
            plan,
            ours=ours,
            found_strays=host.strays(),
            records=records,
            replaceable=left,
            others=[] if ours else host.others(),
        )

    def publish(self, records: R, draft: ReadDraft[R], done: Done) -> tuple[Report, list[Event]]:
        records.take(draft.records)
        records.strays = {key: link.name for key, link in draft.found_strays.items()}
        strays = map(misnamed, draft.found_strays.values())
        left = [
            f"{difference(one.old, one.noun)}; repair() replaces it" for one in draft.replaceable
        ]
        report = Report(
            orphans=[*records.orphans, *strays, *left, *records.gaps()], others=draft.others
        )
        report.orphans += exposed(draft.plan, draft.ours)
        report.account(done.plan, done.outcome)
        report.tunnel_events += records.rebuilt(done.left if self._changes else None)
        return report, [*report.tunnel_events]

    def announces(self, records: R, draft: ReadDraft[R]) -> list[Announcement]:
        return list(of_node(records, _added(draft.plan))) if self._changes else []


class Repair(Call[R, R, RepairDraft, Report]):
    """Bring the host to what the node knows; remove leftovers and orphans of the node.

    ``wait`` False: do not wait for links that may be in the middle of their creation.
    ``untold``: only what no event tells of.
    """

    what = "repair"
    mode = Mode.REPORT
    inspects: ClassVar[bool] = True

    def __init__(self, *, wait: bool = True, untold: bool = False) -> None:
        self._wait = wait
        self._untold = untold
        self.tidies = not untold

    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        return WHOLE_NODE

    def read(self, records: R, claim: Claim) -> R:
        return records

    def draft(self, known: R, host: HostView) -> RepairDraft:
        if self._untold:
            return RepairDraft(make_plan(*host.untold(known)))
        ours = host.settled(known) if self._wait else host.ours(known)
        wanted = host.carried(known.nouns())
        rules = known.refreshed(host.snapshot({Address})) if known.outside() else {}
        wanted |= {key: rule for key, rule in rules.items() if key in wanted}
        found, parameters = host.parameters(known)
        return RepairDraft(make_plan(ours | found, wanted | parameters), rules=rules)

    def inspect(self, draft: RepairDraft, host: HostView) -> None:
        """Learn the indexes that the kernel gave: those of macvtaps name their devices."""
        for operation in draft.plan:
            if isinstance(operation, Add) and isinstance(operation.noun, Macvtap):
                link = host.link(operation.noun.name)
                if isinstance(link, Macvtap):
                    draft.macvtaps.append(link)

    def publish(self, records: R, draft: RepairDraft, done: Done) -> tuple[Report, list[Event]]:
        for link in draft.macvtaps:
            records.reindex(link)
        records.take_rules({key: rule for key, rule in draft.rules.items() if key not in done.left})
        report = Report()
        report.account(done.plan, done.outcome)
        return report, []

    def announces(self, records: R, draft: RepairDraft) -> list[Announcement]:
        added = _added(draft.plan)
        return list(of_node(records, added)) if added else []


class Clear(Call[R, R, ReadDraft[R], Report]):
    """Remove everything of this node, as the host shows it, and nothing else."""

    mode = Mode.PRESS_ON
    tidies = True

    def __init__(self, what: str) -> None:
        self.what = what

    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        return WHOLE_NODE

    def read(self, records: R, claim: Claim) -> R:
        return records

    def draft(self, known: R, host: HostView) -> ReadDraft[R]:
        ours, strays = host.settled(known), host.strays()
        # Where everything goes, nothing can be taken for something else.
        plan = make_plan({**ours, **keyed(strays.values())}, {})
        return ReadDraft(plan, ours=ours, found_strays=strays, records=known.read(ours)[0])

    def publish(self, records: R, draft: ReadDraft[R], done: Done) -> tuple[Report, list[Event]]:
        left = done.left
        report = Report(tunnel_events=draft.records.lost(left))
        report.account(done.plan, done.outcome)
        records.take(records.remaining({key: draft.ours[key] for key in left if key in draft.ours}))
        return report, [*report.tunnel_events]


def exposed(plan: Plan, found: Nouns) -> Iterator[str]:
    """Public addresses that stood on a device without their rule until the plan set it again."""
    addresses = {noun.address.ip for noun in found.values() if isinstance(noun, Address)}
    for operation in plan:
        rule = operation.noun
        if isinstance(operation, Add) and isinstance(rule, PublicIp) and rule.public in addresses:
            yield (
                f"{rule.public} on {rule.device} had no rule, so that this host's own services "
                "answered there: somebody flushed rules; the rule is set again"
            )


def misnamed(link: Link) -> str:
    """What a report says about a link that claims an identity without its name."""
    return (
        f"{link}: its name is not that of its alias: somebody renamed it or copied the alias; "
        "delete it, or give it its name back"
    )


def _added(plan: Plan) -> set[Key]:
    return {operation.noun.key for operation in plan if isinstance(operation, Add)}


def _without_sysctls(nouns: Nouns) -> dict[Key, Noun]:
    return {key: noun for key, noun in nouns.items() if not isinstance(noun, SharedSysctl)}


def of_another_kind(plan: Plan) -> list[tuple[Link, Link]]:
    """The tunnels that a plan replaces by others of another kind: as found, as wanted."""
    removed = {op.noun.key: op.noun for op in plan if isinstance(op, Remove)}
    pairs = [(removed.get(op.noun.key), op.noun) for op in plan if isinstance(op, Add)]
    return [
        (old, new)
        for old, new in pairs
        if isinstance(old, Tunnel) and isinstance(new, Tunnel) and old.protocol != new.protocol
    ]


def check_kind(plan: Plan, host: HostView) -> None:
    """InvalidRequest where tunnels would be replaced by such as this host cannot have."""
    for old, new in of_another_kind(plan):
        if reason := host.missing(new):
            raise InvalidRequest(
                f"this node has {old.kind} tunnels, and those of the configuration cannot be had "
                f"here: {reason}; set tunnel: {_protocol(old)}",
                field="tunnel",
            )


def _protocol(link: Link) -> str:
    return link.protocol if isinstance(link, Tunnel) else link.kind


def differences(plan: Plan) -> Iterator[str]:
    """What a plan of a repair says about the host, in one line for each object.

    Where the tunnels are of another kind than the configuration wants, one line says so;
    what follows from that, their rules and MTUs, has none.
    """
    removed = {op.noun.key: op.noun for op in plan if isinstance(op, Remove)}
    replaced = {op.noun.key for op in plan if isinstance(op, Add)} & removed.keys()
    other = of_another_kind(plan)
    if other:
        was, wanted = map(_protocol, other[0])
        yield (
            f"tunnel: {len(other)} of this node are {was}, should be {wanted}: repair() replaces "
            f"them; or set tunnel: {was} in the configuration"
        )
        names = {link.name for link, _ in other}
        plan = Plan(tuple(op for op in plan if not _follows(op, names)))
    for operation in plan:
        match operation:
            case Add(noun) if noun.key in replaced:
                yield difference(removed[noun.key], noun)
            case Add(noun):
                yield f"missing: {noun}"
            case Remove(noun) if noun.key not in replaced:
                yield f"unexpected: {noun}"
            case Change(noun, old):
                yield difference(old, noun)


def _follows(operation: Operation, tunnels: Collection[str]) -> bool:
    """Whether an operation is there since these tunnels are of another kind."""
    noun = operation.noun
    if isinstance(operation, Change):
        return noun.differences(operation.old) <= {"mtu"}
    return (isinstance(noun, Tunnel) and noun.name in tunnels) or (
        isinstance(noun, (TunnelGuard, MssClamp)) and noun.link in tunnels
    )


def difference(old: Noun, noun: Noun) -> str:
    if isinstance(old, Link) and noun.differences(old) == {"settings"}:
        return f"different: {old.kind} {old.name}: {_settings(old)}"
    if str(old) != str(noun):
        return f"different: {old}, should be: {noun}"
    names = sorted(noun.differences(old))
    was, wanted = (
        ", ".join(f"{name} {_shown(getattr(one, name, None))}" for name in names)
        for one in (old, noun)
    )
    return f"different: {noun}: {was}, should be: {wanted}"


def _settings(link: Link) -> str:
    """What somebody set, and what ``repair()`` takes back."""
    changed = (f"{name} is {value}" for name, value in link.settings or ())
    return f"{', '.join(changed)} -> should be as snnet made it"


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
