"""What is on the host of what a call removes or changes."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import Key, Noun, keyed
from snnet.core import identity as ids
from snnet.core.building import unknown_dependents
from snnet.core.planner import recalled
from snnet.core.requests import VnicId
from snnet.core.shaping import block_of
from snnet.core.vnics import Vnic

from ..host import HostView


def known_nouns(host: HostView, nouns: Iterable[Noun]) -> dict[Key, Noun]:
    """Return what is on the host of nouns that the node knows, and is to remove.

    Unless the host is looking that is all of them: a driver reports what it does not find.
    """
    carried = host.carried(nouns)
    return host.find_ours(carried.values()) if host.looking else carried


def block_name(host: HostView, identity: VnicId, old: Vnic | None, *, look: bool) -> str:
    """The name for the ifb of a VNIC."""
    if not look:
        return host.name(ids.RATE, identity)
    return host.locate(ids.RATE, identity, block_of(old.dependents) if old else None)[0]


def found_of_vnic(
    host: HostView, identity: VnicId, vnic: Vnic | None, *, look: bool
) -> dict[Key, Noun]:
    """Return what is on the host of a VNIC, whether the node knows it or not.

    Without ``look`` that is what the node knows: the drivers report what is not there.
    """
    if vnic is not None and not look:
        return host.carried(vnic.nouns())
    if vnic is not None:
        known = host.find_ours([vnic.link]).get(vnic.link.key)
        found = found_with(host, known, {vnic.link.key}, vnic.dependents)
        return recalled(found, vnic.nouns())
    # Its rates go with its links, of which the ifb is one.
    block = host.locate(ids.RATE, identity)[1]
    found = keyed([block] if block is not None else [])
    for kind in (ids.VM, ids.CONTAINER):
        name, link = host.locate(kind, identity)
        found |= found_with(host, link, set(), unknown_dependents(host.site, name, link))
    return found


def found_with(
    host: HostView, link: Noun | None, keys: set[Key], dependents: Iterable[Noun]
) -> dict[Key, Noun]:
    """The link of a VNIC, and what of these nouns is there; it could have had these keys.

    What hung on a link deleted behind our back died with it, and what is on a foreign one that
    has the name now is not ours.
    """
    found: dict[Key, Noun] = {} if link is None else {link.key: link}
    if keys != found.keys():
        dependents = [noun for noun in dependents if noun.within not in keys - found.keys()]
    return found | host.find_ours(host.carried(dependents).values())
