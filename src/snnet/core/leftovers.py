"""Finding what killed calls have left on a host."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeGuard

from snnet.contract import (
    GroupMembers,
    GroupRules,
    Key,
    Link,
    Namespace,
    Noun,
    Nouns,
    Owned,
    PortGroups,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    Zone,
    ZoneLink,
)

from .marked import explained, is_marked, is_of_concentrator, target


def unfinished(noun: Noun) -> bool:
    """Whether this is a link of ours whose creation did not end.

    Every backend sets the alias before, or with, what brings a link up.  A link that is up
    and has no alias was whole: somebody removed the alias, and a guest may hold the link.
    """
    return isinstance(noun, Link) and not noun.alias and not noun.up


def lost_its_alias(noun: Noun) -> TypeGuard[Link]:
    """Whether this is a link of ours that was whole, and whose alias somebody removed."""
    return isinstance(noun, Link) and not noun.alias and noun.up


def half_born(ours: Nouns) -> set[Key]:
    """Return the keys of links whose creation did not end."""
    return {key for key, noun in ours.items() if unfinished(noun)}


def of_lost_aliases(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of links whose alias somebody removed, and of all that belongs to them.

    Those that are wanted are left out: their alias is known.
    """
    unwanted = without(ours, wanted)
    links = {noun.name: noun for noun in unwanted.values() if isinstance(noun, Link)}
    lost = {name for name, link in links.items() if lost_its_alias(link)}
    if not lost:
        return set()
    lost |= {
        noun.to for noun in unwanted.values() if isinstance(noun, Redirect) and noun.link in lost
    }
    return {links[name].key for name in lost & links.keys()} | _belonging(unwanted, lost)


def without(nouns: Nouns, others: Nouns) -> dict[Key, Noun]:
    """Return the nouns whose keys the others do not have."""
    return {key: nouns[key] for key in nouns.keys() - others.keys()}


def useless_dependents(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of our rules, routes, proxy entries and limits that serve nothing.

    Those that belong to an orphan are not useless: they stay as long as the orphan.
    """
    unwanted = {
        key: noun
        for key, noun in without(ours, wanted).items()
        if isinstance(noun, (Owned, ProxyNeighbour, Redirect, Route, Shaper))
    }
    if not unwanted:
        return set()
    orphans = {noun.name for noun in ours.values() if isinstance(noun, Link)} - {
        noun.name for noun in wanted.values() if isinstance(noun, Link)
    }
    return unwanted.keys() - _belonging(unwanted, orphans) - _entries_of_orphans(ours, wanted)


def _entries_of_orphans(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of marked entries for addresses that lead to orphans.

    A concentrator's public addresses are in no alias: all that are not wanted may be its.
    """
    unwanted = list(without(ours, wanted).values())
    entries = list(filter(is_marked, unwanted))
    orphans = [noun for noun in unwanted if isinstance(noun, (Link, Namespace))]
    if not entries or not orphans:
        return set()
    if any(map(is_of_concentrator, orphans)):
        return {noun.key for noun in entries}
    names = set().union(*explained(orphans).values())
    return {noun.key for noun in entries if target(noun) in names}


def _belonging(nouns: Nouns, links: Collection[str]) -> set[Key]:
    """Return the keys of the nouns that are about these links, or that those need."""
    about = {
        key
        for key, noun in nouns.items()
        if getattr(noun, "link", None) in links
        or getattr(noun, "bridge", None) in links
        or (noun.within is not None and noun.within[1] in links)
    }
    zones = {noun.zone for key in about if isinstance(noun := nouns[key], ZoneLink)}
    tenants = {noun.tenant for key in about if isinstance(noun := nouns[key], PortGroups)}
    return about | {
        key
        for key, noun in nouns.items()
        if (isinstance(noun, Zone) and noun.zone in zones)
        or (isinstance(noun, (GroupMembers, GroupRules)) and noun.tenant in tenants)
    }
