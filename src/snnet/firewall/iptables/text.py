"""Rules as text for people: a dry run's commands, and a dump."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address

from snnet.contract import (
    Add,
    Change,
    ExternalForward,
    Masquerade,
    Noun,
    Operation,
    Owned,
    PublicIp,
    Zone,
    ZoneLink,
    keyed,
)

from . import names
from .rules import render
from .sections import ARP, Content


def commands(operation: Operation, program: Callable[[str], str]) -> list[str]:
    """The commands that make the operation's own rules, or take them away.

    Where a chain decides in its last rule, new ones go in front.
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
    """Nouns without which this one has no rules of its own."""
    if isinstance(noun, ExternalForward):
        link = ZoneLink(owner=noun.owner, link=noun.bridge, zone="-")
        return [link, Masquerade(owner=noun.owner, device=noun.device)]
    if isinstance(noun, Zone):
        return [ZoneLink(owner=noun.owner, link="-", zone=noun.zone)]
    if isinstance(noun, PublicIp):
        link = ZoneLink(owner=noun.owner, link="-", zone="-")
        other = PublicIp(
            owner=noun.owner, public=IPv4Address(0), internal=IPv4Address(0), device="-"
        )
        return [link, other]
    return []


def dump(owner: str, variant: str, saved: Mapping[str, str]) -> str:
    """The owner's chains, and the jumps to them, out of what each family's tool saved."""
    own = names.chain(owner, "")
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
