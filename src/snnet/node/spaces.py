"""Namespaces of concentrators that others replaced, and veths whose other end they renamed."""

from __future__ import annotations

from snnet.contract import Inside, Key, Link, Namespace, Noun, Nouns, Veth, namespace_of

from .host import HostView


def without_taken(
    host: HostView, found: Nouns, wanted: Nouns
) -> tuple[dict[Key, Noun], dict[Key, Noun], list[str]]:
    """Return what is found and wanted, less what needs a namespace whose name leads elsewhere.

    What is left of it on the host stays as it is.  Also returns a line for each such namespace.
    """
    spaces = [one for one in wanted.values() if isinstance(one, Namespace) and one.key not in found]
    taken = {one.name for one in host.find(spaces).values() if isinstance(one, Namespace)}
    if not taken:
        return dict(found), dict(wanted), []
    needing = {key for key, noun in wanted.items() if namespace_of(noun) in taken}
    needing |= {key for key, noun in wanted.items() if noun.within in needing}
    kept, left = (
        {key: noun for key, noun in nouns.items() if key not in needing}
        for nouns in (found, wanted)
    )
    return kept, left, [_somebody_elses(name) for name in sorted(taken)]


def _somebody_elses(name: str) -> str:
    return (
        f"namespace {name}: it counts as somebody else's, because the alias of its lo is not "
        f"snnet's, and what a concentrator needs in it is missing; if nobody needs it: ip netns "
        f"delete {name}, then repair(); or set_concentrator() again, which takes another name"
    )


def cut_off(host: HostView, found: Nouns, wanted: Nouns) -> set[Key]:
    """Return the veths into namespaces whose other end is not there under its name.

    Somebody renamed it, or moved it away: only a new pair brings it back.
    """
    spaces = {noun.name: noun for noun in found.values() if isinstance(noun, Namespace)}
    ends = {
        key: Inside(namespace=spaces[veth.peer_namespace], what=Link(name=veth.peer))
        for key, veth in wanted.items()
        if isinstance(veth, Veth) and veth.peer and veth.peer_namespace in spaces and key in found
    }
    there = host.find(ends.values())
    return {key for key, end in ends.items() if end.key not in there}
