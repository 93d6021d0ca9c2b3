"""Finding what killed calls have left on a host."""

from __future__ import annotations

from snnet.contract import (
    GroupMembers,
    GroupRules,
    Key,
    Link,
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


def half_born(ours: Nouns) -> set[Key]:
    """Return the keys of links that were created and did not get an alias."""
    return {key for key, noun in ours.items() if isinstance(noun, Link) and not noun.alias}


def useless_dependents(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of our rules, routes, proxy entries and limits that serve nothing.

    Those that belong to an orphan are not useless: they stay as long as the orphan.
    """
    orphans = {noun.name for noun in ours.values() if isinstance(noun, Link)} - {
        noun.name for noun in wanted.values() if isinstance(noun, Link)
    }
    unwanted = {
        key: noun
        for key, noun in ours.items()
        if key not in wanted and isinstance(noun, (Owned, ProxyNeighbour, Redirect, Route, Shaper))
    }
    kept = {
        key
        for key, noun in unwanted.items()
        if getattr(noun, "link", None) in orphans or getattr(noun, "bridge", None) in orphans
    }
    zones = {noun.zone for key in kept if isinstance(noun := unwanted[key], ZoneLink)}
    tenants = {noun.tenant for key in kept if isinstance(noun := unwanted[key], PortGroups)}
    return {
        key
        for key, noun in unwanted.items()
        if key not in kept
        and not (isinstance(noun, Zone) and noun.zone in zones)
        and not (isinstance(noun, (GroupMembers, GroupRules)) and noun.tenant in tenants)
    }
