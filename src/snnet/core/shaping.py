"""Rate limits of one VNIC as nouns on its host."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from snnet.contract import Ifb, Key, Link, Noun, Nouns, Redirect, Shaper

from . import identity as ids
from .identity import Owner
from .policies import Policy


def shaping(owner: Owner, link: str, policy: Policy, block: str = "") -> tuple[Noun, ...]:
    """Return the nouns that limit the rates of a VNIC with this link, none without limits.

    ``block`` is the name of its ifb, by default the first that it can have.
    """
    nouns: list[Noun] = []
    if policy.rate_to_guest is not None:
        nouns.append(Shaper(link=link, rate=policy.rate_to_guest))
    if policy.rate_from_guest is not None:
        name = block or ids.name(owner, ids.RATE, *policy.vnic)
        fields = dict(zip((ids.TENANT, ids.SUBNET, ids.VNIC), policy.vnic, strict=True))
        nouns += (
            Ifb(name=name, alias=ids.encode(owner, ids.RATE, fields), mac=ids.link_mac(name)),
            Shaper(link=name, rate=policy.rate_from_guest),
            Redirect(link=link, to=name),
        )
    return tuple(nouns)


def block_of(nouns: Iterable[Noun]) -> Ifb | None:
    """Return the ifb among the nouns of a VNIC, if it has one."""
    return next((noun for noun in nouns if isinstance(noun, Ifb)), None)


def adjust_blocks(useless: Collection[Key], ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of useless objects, with our ifbs that no VNIC needs.

    A killed call leaves those.  One that an orphan's frames go through stays as long as the
    orphan.  One without an alias that a VNIC needs is repaired and not removed: more hangs on it.
    """
    orphans = {noun.name for noun in ours.values() if isinstance(noun, Link)} - _names(wanted)
    used = {
        noun.to for noun in ours.values() if isinstance(noun, Redirect) and noun.link in orphans
    }
    unused = {
        key
        for key, noun in ours.items()
        if isinstance(noun, Ifb) and key not in wanted and noun.name not in used
    }
    return unused | {key for key in useless if not isinstance(wanted.get(key), Ifb)}


def _names(nouns: Nouns) -> set[str]:
    return {noun.name for noun in nouns.values() if isinstance(noun, Link)}
