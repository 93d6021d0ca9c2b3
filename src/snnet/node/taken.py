"""Links that others took out of a node's hands, each with the command that gives it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

from snnet.contract import LINK_GROUP, Add, Link, Noun, Plan
from snnet.core import identity as ids

from .host import HostView

_MISNAMED = (
    "its name is not that of its alias: somebody renamed it or copied the alias; delete it, or"
)


def misnamed(link: Link) -> str:
    """Return what a report says about a link whose name does not fit its alias."""
    return f"{link}: {_MISNAMED} give it its name back"


def lost_alias(link: Link) -> str:
    """Return what is said about a link whose alias does not tell what it is any more.

    Without an alias it is taken back by whoever is asked for it; with another one it is foreign.
    """
    what = (
        f"{link.kind} {link.name}: its name is one of snnet's, and its alias, which says what it is"
    )
    if link.alias:
        return f"{what} for, was changed; delete the link, or: {_alias(link.name, '')}"
    return f"{what} for, was removed; start its agent, or create its VNIC again"


def taken_away(plan: Plan, host: HostView, nouns: Iterable[Noun]) -> Iterator[str]:
    """Yield a line for each link that others renamed, or whose alias or group they changed.

    ``plan`` is that of a repair, which wants ``nouns``: a link that it would make, where one of
    this kind has the name and not the alias, is the one that is there.  Lists all links.
    """
    links = {link.name: link for link in host.snapshot({Link}).values() if isinstance(link, Link)}
    owner = host.site.owner
    known = {noun.key for noun in nouns}
    planned = {operation.noun.key for operation in plan}
    for link in links.values():
        if link.key in known and link.key not in planned:
            continue  # it is as the node wants it
        what = f"{link.kind} {link.name}"
        if identity := ids.stray(link, owner):
            name = ids.name(owner, *identity)
            steps = (f"{link.name} down", f"{link.name} name {name}", f"{name} up")
            back = " && ".join(f"ip link set dev {step}" for step in steps)
            yield f"{what}: {_MISNAMED}: {_alias(link.name, '') if name in links else back}"
        elif ids.lost_group(link, owner):
            yield (
                f"{what}: it counts as somebody else's, because its group is not snnet's; delete "
                f"it, or: ip link set dev {link.name} group {LINK_GROUP}"
            )
        elif link.up and link.key not in planned and ids.unmarked(link, owner):
            yield lost_alias(link)
    for operation in plan:
        noun = operation.noun
        if not (isinstance(operation, Add) and isinstance(noun, Link) and noun.alias):
            continue
        there = links.get(noun.name)
        if there is not None and there.kind == noun.kind and there.alias != noun.alias:
            yield (
                f"{noun.kind} {noun.name}: it counts as somebody else's, because its alias is not "
                f"snnet's; delete it, or: {_alias(noun.name, noun.alias)} group {LINK_GROUP}"
            )


def _alias(name: str, alias: str) -> str:
    return f"ip link set dev {name} alias {quote(alias)}"
