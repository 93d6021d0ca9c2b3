"""Removing several links in one request.

Each delete waits for an RCU grace period of about 16 ms; a request that deletes a whole
link group waits once.  So links that are removed one after the other are moved to a new
group, and the group is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Sequence

from snnet.backends.linux import check_same
from snnet.contract import Link, Missing
from snnet.contract.links import DYING_GROUPS

from .answers import Answer
from .found import ParsedLink
from .links import Links


def remove_together(links: Links, doomed: Sequence[Link]) -> None:
    """Remove all of these links in one request, or none of them.

    Raises ``Missing`` if one does not exist, or disappears with one before it.
    """
    found: dict[int, Answer | ParsedLink] = {}
    there = links.named(link.name for link in doomed)
    for link in doomed:
        one = there.get(link.name) or links.look_up(link.name)
        check_same(link, one)
        if one.index in found or one.lower in found:
            raise Missing(
                f"{link.kind} {link.name} is removed with another link", errno=errno.ENODEV
            )
        found[one.index] = one
    group = DYING_GROUPS[secrets.randbelow(len(DYING_GROUPS))]
    try:
        links.mark_all(found, group)
        links.delete_group(group)
    except BaseException:
        for index, one in found.items():
            with contextlib.suppress(OSError):
                links.mark(index, one.group)
        raise
