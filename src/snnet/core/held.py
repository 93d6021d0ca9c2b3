"""Links that guests hold: a tap, a veth, a macvtap must not be replaced under a guest."""

from __future__ import annotations

from dataclasses import replace

from snnet.contract import Change, Key, Macvtap, Noun, Nouns, Tap, Veth


def keep_held(found: Nouns, wanted: Nouns) -> tuple[dict[Key, Noun], list[Change]]:
    """What is wanted, without differences that would have a guest's link replaced.

    A guest lives with such a difference, and not without its link.  Also returns what
    was left as it is: each such link as wanted and as found.
    """
    if not found or not wanted:
        return dict(wanted), []
    kept, left = dict(wanted), list[Change]()
    for key, old in found.items():
        noun = wanted.get(key)
        if type(old) is not type(noun) or not isinstance(noun, (Tap, Veth, Macvtap)):
            continue
        fixed = noun.differences(old) - noun.changeable
        if fixed:
            kept[key] = replace(noun, **{name: getattr(old, name) for name in fixed})
            left.append(Change(noun, old))
    return kept, left
