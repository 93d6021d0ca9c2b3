"""Text for people: a dry run's commands, a dump, and what affects our chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from snnet.contract import (
    Add,
    Change,
    ExternalForward,
    Masquerade,
    Noun,
    Operation,
    Owned,
    ProtectedNetwork,
    PublicIp,
    Zone,
    ZoneLink,
    keyed,
)
from snnet.firewall.foreign import DOCKER_USER, Flow, accepting_in_forward, unaccepted

from . import layout
from .layout import ARP, BRIDGE, IP, IP6, Content, Section
from .programs import Programs
from .rules import render
from .saved import DECIDES, STOPS, SavedTable, parse_saved
from .state import State


def commands(operation: Operation, program: Callable[[str], str]) -> list[str]:
    """Return the commands that add or remove the rules of the operation.

    If the last rule of a chain decides, new rules are inserted at the front.
    """
    noun = operation.noun
    if not isinstance(noun, Owned):
        return []
    around = keyed(_surroundings(noun))
    before = keyed([operation.old]) if isinstance(operation, Change) else {}
    after = keyed([noun]) if isinstance(operation, Add | Change) else {}
    if not before and not after:
        before = keyed([noun])
    base = render(noun.owner, around)
    old, new = render(noun.owner, around | before), render(noun.owner, around | after)
    lines = []
    for section in {**old, **new}:
        empty = Content()
        contents = [part.get(section, empty) for part in (base, old, new)]
        named = program(section.family)
        call = named if section.family == ARP else f"{named} -t {section.table}"
        lines += [f"{call} {line}" for line in _difference(*contents)]
    return lines


def _difference(base: Content, old: Content, new: Content) -> Iterator[str]:
    was = [(chain, rule.text) for chain in old.chains for rule in old.chains[chain]]
    now = [(chain, rule.text) for chain in new.chains for rule in new.chains[chain]]
    if old.chains.keys() <= base.chains.keys():
        yield from (f"-N {chain}" for chain in new.chains if chain not in base.chains)
    for chain, text in now:
        if (chain, text) not in was:
            yield f"{'-I' if chain in base.chains else '-A'} {chain} {text}"
    if old.jumps.items() <= base.jumps.items():
        yield from (
            f"-I {hook} -j {to}" for hook, to in new.jumps.items() if hook not in base.jumps
        )
    yield from (f"-D {chain} {text}" for chain, text in was if (chain, text) not in now)


def _surroundings(noun: Owned) -> list[Noun]:
    """Return nouns without which this one has no rules of its own."""
    if isinstance(noun, ExternalForward):
        link = ZoneLink(owner=noun.owner, link=noun.bridge, zone="-")
        return [link, Masquerade(owner=noun.owner, device=noun.device)]
    if isinstance(noun, ProtectedNetwork):
        return [ZoneLink(owner=noun.owner, link="-", zone="-")]
    if isinstance(noun, Zone):
        return [ZoneLink(owner=noun.owner, link="-", zone=noun.zone)]
    if isinstance(noun, PublicIp):
        link = ZoneLink(owner=noun.owner, link="-", zone="-")
        nobody = ip_address(bytes(len(noun.public.packed)))
        other = PublicIp(owner=noun.owner, public=nobody, internal=nobody, device="-")
        return [link, other]
    return []


def dump(owner: str, variant: str, saved: Mapping[str, str]) -> str:
    """Return the owner's chains and the jumps to them, as saved by the program of each family."""
    own = layout.chain(owner, "")
    lines = [f"# iptables ({variant}): chains of {owner}"]
    for family, text in saved.items():
        table, kept = "", []
        for line in text.splitlines():
            if line.startswith("*"):
                table = line
            elif line.startswith((f":{own}", f"-A {own}")) or f" -j {own}" in line:
                kept += [table, line] if table else [line]
                table = ""
        lines += [f"# {family}", *kept] if kept else []
    return "\n".join(lines)


def left_over(state: State) -> list[str]:
    """Return a line for each table with chains of the owner that belong to nothing."""
    if state.broken:
        return []  # what is missing is said of each noun
    return [
        f"iptables {section.family} table {section.table} has rules of {state.owner} that belong "
        "to nothing: call repair()"
        for section in sorted(state.dirty)
    ]


def obstacles(
    programs: Programs, jumps: Mapping[Section, Mapping[str, str]], wanted: Sequence[Flow] = ()
) -> list[str]:
    """Return a line for each obstacle.

    ``jumps`` are the jumps that we should have, ``wanted`` what has to pass.
    """
    lines: list[str] = []
    for family in (IP, IP6):
        hooks = {section: jumps[section] for section in jumps if section.family == family}
        if not hooks:
            continue
        tables = parse_saved(programs.save(family))
        for section, ours in hooks.items():
            table = tables.get(section.table, SavedTable())
            for hook, chain in ours.items():
                lines += _before(programs, section, table, hook, chain)
        lines += _others(programs, family, wanted)
    frames = [flow for flow in wanted if flow.bridged]
    if frames and any(section.family == BRIDGE for section in jumps):
        lines += _policy_of_bridges(programs, frames[0])
    return lines


def _policy_of_bridges(programs: Programs, frames: Flow) -> Iterator[str]:
    table = parse_saved(programs.save(BRIDGE)).get("filter", SavedTable())
    accepted = any(table.reaches(rule, {"ACCEPT"}) for rule in table.rules.get("FORWARD", []))
    if table.policies.get("FORWARD") in STOPS and not accepted:
        program = programs.name(BRIDGE)
        yield (
            f"{program} table filter, chain FORWARD drops what snnet lets through: {frames}, by "
            f"its policy; have its owner accept them there, or: {program} -P FORWARD ACCEPT"
        )


def _before(
    programs: Programs, section: Section, table: SavedTable, hook: str, chain: str
) -> Iterator[str]:
    where = f"{programs.name(section.family)} table {section.table}, chain {hook}"
    rules = table.rules.get(hook, [])
    jump = f"-j {chain}"
    if jump not in rules:
        yield f"{where}: the jump to {chain} is gone: call repair()"
        return
    ahead = [rule for rule in rules[: rules.index(jump)] if table.reaches(rule, DECIDES)]
    if ahead:
        call = f"{programs.name(section.family)} -t {section.table}"
        yield (
            f"{where}: a foreign rule decides before those of snnet ({ahead[0]!r}, {len(ahead)} in "
            f"all): put {chain} first again ({call} -D {hook} {jump}; {call} -I {hook} {jump})"
        )


def _others(programs: Programs, family: str, wanted: Sequence[Flow]) -> Iterator[str]:
    """Return what the other variant of iptables drops: the kernel consults both."""
    other = programs.other_variant
    table = parse_saved(programs.save(family, other)).get("filter", SavedTable())
    forward = table.rules.get("FORWARD", [])
    if not unaccepted(table.rules.get(DOCKER_USER, []), wanted):
        return
    program = programs.name(family, variant=other)
    where = f"{program} table filter, chain FORWARD"
    left = unaccepted([*forward, *table.rules.get(DOCKER_USER, [])], wanted)
    if left and table.policies.get("FORWARD") in STOPS:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        yield (
            f"{where}: its policy drops what snnet lets pass by {programs.name(family)}: "
            f"{left[0]}{more}; use one iptables for all, or: "
            f"{accepting_in_forward(program, left[0])}"
        )
    for rule in forward:
        if table.reaches(rule, STOPS):
            yield f"{where}: {rule!r} may drop what snnet lets pass: use one iptables for all"
