"""Calls about the whole node: rebuild, repair, clear, and the forwarding they rest on.

They claim the whole node, so that they may keep its records through the draft.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic

from snnet.contract import (
    Add,
    Address,
    Announcement,
    Change,
    Inside,
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
from snnet.core import identity as ids
from snnet.core.announcing import of_node
from snnet.core.held import keep_held
from snnet.core.leftovers import lost_its_alias, of_lost_aliases
from snnet.core.nat import Rule
from snnet.core.planner import plan as make_plan

from ..call import Call, Done, Draft, Mode, R
from ..claims import WHOLE_NODE, Claim, Held
from ..host import HostView
from ..results import Event, Report
from ..spaces import cut_off, without_taken
from ..taken import lost_alias, misnamed

_BOTH_MAX = 4
"""Values of a list that are printed though both sides have them."""


@dataclass(slots=True)
class ReadDraft(Draft, Generic[R]):
    """A draft with what the node's objects on the host say."""

    ours: Nouns = field(kw_only=True)
    records: R = field(kw_only=True)
    found_strays: Mapping[tuple[str, ...], Link] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """Nodes that the caller may mean instead of this one, which has nothing itself."""
    replaceable: list[Change] = field(default_factory=list)
    """Links of guests that only a replacement would repair."""
    taken: list[str] = field(default_factory=list)
    """A line for each namespace whose name leads elsewhere."""


@dataclass(slots=True)
class RepairDraft(Draft):
    taken: list[str] = field(default_factory=list)
    """A line for each namespace whose name leads elsewhere."""
    macvtaps: list[Macvtap] = field(default_factory=list)
    """The macvtaps that the repair made, as they are on the host."""
    rules: dict[Key, Rule] = field(default_factory=dict)
    """The rules that change with the addresses of their devices, as they should be."""


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
        seen = host.settled(known) if self._changes else host.seen(known)
        ours = seen.ours
        records, useless = known.read(ours, host.remembered())
        plan, left, taken = Plan(), list[Change](), list[str]()
        if self._changes:
            nouns = host.carried(records.nouns(), ours)
            wanted = {key: noun for key, noun in nouns.items() if key not in useless}
            found = {key: noun for key, noun in ours.items() if key in wanted or key in useless}
            found |= host.looked_up(wanted.values())
            if not self._forward:
                wanted, found = _without_sysctls(wanted), _without_sysctls(found)
            wanted, left = keep_held(found, wanted)
            # A process that was killed may have made a link without turning IPv6 off there.
            changed, parameters = host.parameters(records, ours)
            found, wanted, taken = without_taken(host, found, wanted)
            broken = cut_off(host, found, wanted)
            plan = make_plan(found | changed, wanted | parameters, broken)
            check_kind(plan, host)
        return ReadDraft(
            plan,
            ours=ours,
            found_strays=seen.strays,
            records=records,
            replaceable=left,
            taken=taken,
            others=[] if ours else _others(host),
        )

    def publish(self, records: R, draft: ReadDraft[R], done: Done) -> tuple[Report, list[Event]]:
        records.take(draft.records)
        records.unremoved = frozenset(done.left)
        records.strays = {key: link.name for key, link in draft.found_strays.items()}
        strays = map(misnamed, draft.found_strays.values())
        left = [
            f"{difference(one.old, one.noun)}; repair() replaces it" for one in draft.replaceable
        ]
        lost = [lost_alias(noun) for noun in draft.ours.values() if lost_its_alias(noun)]
        report = Report(
            orphans=[*records.orphans, *strays, *lost, *left, *draft.taken, *records.gaps()],
            others=draft.others,
        )
        report.orphans += exposed(draft.plan, draft.ours)
        report.account(draft.plan, done.outcome)
        report.tunnel_events = records.rebuilt(done.left if self._changes else None)
        return report, [*report.tunnel_events]

    def announces(self, records: R, draft: ReadDraft[R]) -> list[Announcement]:
        return list(of_node(records, _added(draft.plan))) if self._changes else []


class Repair(Call[R, R, RepairDraft, Report]):
    """Bring the host to what the node knows; remove leftovers and orphans of the node.

    With ``wait`` False it does not wait for links that may just be being created.  With
    ``unreported`` it repairs only what the kernel sends no event for.
    """

    what = "repair"
    mode = Mode.REPORT
    tidies = True
    inspects: ClassVar[bool] = True

    def __init__(self, *, wait: bool = True, unreported: bool = False) -> None:
        self._wait = wait
        self._unreported = unreported

    def claim(self, records: R, alone: bool, held: Held) -> Claim:
        return WHOLE_NODE

    def read(self, records: R, claim: Claim) -> R:
        return records

    def draft(self, known: R, host: HostView) -> RepairDraft:
        if self._unreported:
            return RepairDraft(make_plan(*host.unreported(known)))
        seen = host.settled(known) if self._wait else host.seen(known)
        wanted = host.carried(known.nouns(), seen.ours)
        rules = known.refreshed(host.snapshot({Address})) if known.outside() else {}
        wanted |= {key: rule for key, rule in rules.items() if key in wanted}
        found, parameters = host.parameters(known, seen.ours)
        kept = of_lost_aliases(seen.ours, wanted)
        ours = {key: noun for key, noun in seen.ours.items() if key not in kept}
        ours, wanted, taken = without_taken(host, ours, wanted)
        plan = make_plan(ours | found, wanted | parameters, cut_off(host, ours, wanted))
        return RepairDraft(plan, taken=taken, rules=rules)

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
        records.unremoved = frozenset(done.left)
        records.take_rules({key: rule for key, rule in draft.rules.items() if key not in done.left})
        report = Report(orphans=[*draft.taken])
        report.account(draft.plan, done.outcome)
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
        seen = host.settled(known)
        ours = seen.ours
        # All of it is removed, so links under other names are removed too.
        plan = make_plan({**ours, **keyed(seen.strays.values())}, {})
        return ReadDraft(plan, ours=ours, records=known.read(ours)[0])

    def publish(self, records: R, draft: ReadDraft[R], done: Done) -> tuple[Report, list[Event]]:
        left = done.left
        report = Report(tunnel_events=draft.records.lost(left))
        report.account(draft.plan, done.outcome)
        records.take(records.remaining({key: draft.ours[key] for key in left if key in draft.ours}))
        records.unremoved = frozenset(left)
        return report, [*report.tunnel_events]


def exposed(plan: Plan, found: Nouns) -> Iterator[str]:
    """Yield a line for each public address that had no rule until the plan set it again."""
    addresses = {noun.address.ip for noun in found.values() if isinstance(noun, Address)}
    for operation in plan:
        rule = operation.noun
        if isinstance(operation, Add) and isinstance(rule, PublicIp) and rule.public in addresses:
            yield (
                f"{rule.public} on {rule.device} had no rule, so that this host's own services "
                "answered there: somebody flushed rules; the rule is set again"
            )


def _others(host: HostView) -> list[str]:
    """Nodes of this node's role that have links here, and how many; lists all links."""
    found, mine = host.snapshot({Link}).values(), host.site.owner
    owners = Counter(ids.owner_of(link) for link in found if isinstance(link, Link))
    return [
        f"{owner} has {count} links on this host: if this node is {owner}, its id is not "
        f"{mine.id!r}"
        for owner, count in sorted(owners.items())
        if owner.startswith(f"{mine.role}:") and owner != str(mine)
    ]


def _added(plan: Plan) -> set[Key]:
    return {operation.noun.key for operation in plan if isinstance(operation, Add)}


def _without_sysctls(nouns: Nouns) -> dict[Key, Noun]:
    return {key: noun for key, noun in nouns.items() if not isinstance(noun, SharedSysctl)}


def of_another_kind(plan: Plan) -> list[tuple[Tunnel, Tunnel]]:
    """Return the tunnels that a plan replaces by others of another kind: as found, as wanted."""
    removed = {op.noun.key: op.noun for op in plan if isinstance(op, Remove)}
    pairs = [(removed.get(op.noun.key), op.noun) for op in plan if isinstance(op, Add)]
    return [
        (old, new)
        for old, new in pairs
        if isinstance(old, Tunnel) and isinstance(new, Tunnel) and old.protocol != new.protocol
    ]


def check_kind(plan: Plan, host: HostView) -> None:
    """Raise InvalidRequest if tunnels would be replaced by a kind that this host does not have."""
    for old, new in of_another_kind(plan):
        if reason := host.missing(new):
            raise InvalidRequest(
                f"this node has {old.kind} tunnels, and the host cannot make those of the "
                f"configuration: {reason}; set tunnel: {old.protocol}",
                field="tunnel",
            )


def differences(plan: Plan) -> Iterator[str]:
    """Yield what a plan of a repair says about the host, one line for each object.

    If the tunnels are of another kind than the configuration wants, one line says so.  Changes
    of their rules and MTUs, which follow from that, have no lines.
    """
    removed = {op.noun.key: op.noun for op in plan if isinstance(op, Remove)}
    replaced = {op.noun.key for op in plan if isinstance(op, Add)} & removed.keys()
    other = of_another_kind(plan)
    if other:
        was, wanted = (tunnel.protocol for tunnel in other[0])
        yield (
            f"tunnel: {len(other)} of this node are {was}, should be {wanted}: repair() replaces "
            f"them; or set tunnel: {was} in the configuration"
        )
        names = {link.name for link, _ in other}
        plan = Plan(tuple(op for op in plan if not _follows(op, names)))
    for operation in plan:
        match operation:
            case Add(noun) if noun.key in replaced:
                old = removed[noun.key]
                if str(old) != str(noun) or noun.differences(old):  # else it is on such a link
                    yield difference(old, noun)
            case Add(noun):
                yield f"missing: {noun}"
            case Remove(noun) if noun.key not in replaced:
                yield f"unexpected: {noun}"
            case Change(noun, old):
                yield difference(old, noun)


def _follows(operation: Operation, tunnels: Collection[str]) -> bool:
    """Whether the operation exists because these tunnels change their kind."""
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
    if isinstance(old, Inside) and isinstance(noun, Inside):
        return f"{difference(old.what, noun.what)}, in namespace {noun.namespace.name}"
    names = sorted(noun.differences(old))
    pairs = [_apart(getattr(old, name), getattr(noun, name)) for name in names]
    was, wanted = (
        ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        for values in zip(*pairs, strict=True)
    )
    return f"different: {noun}: {was}, should be: {wanted}"


def _apart(was: object, wanted: object) -> tuple[str, str]:
    """Two values of a field as text; of long lists without what both have, which is counted."""
    if isinstance(was, tuple) and isinstance(wanted, tuple):
        both = {*was} & {*wanted}
        if len(both) > _BOTH_MAX:
            rest = f"and {len(both)} that both have"
            return _own(was, both, rest), _own(wanted, both, rest)
    return _shown(was), _shown(wanted)


def _own(values: tuple[object, ...], both: Collection[object], rest: str) -> str:
    return f"{_shown(tuple(one for one in values if one not in both))} {rest}"


def _settings(link: Link) -> str:
    """Return the settings that others changed, and that ``repair()`` sets again."""
    changed = (f"{name} is {value}" for name, value in link.settings or ())
    return f"{', '.join(changed)} -> should be as snnet made it"


def _shown(value: object) -> str:
    """Return a value as people say it."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value)) or "none"
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
