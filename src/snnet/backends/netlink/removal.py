"""Removing links: several in one request.

A delete waits for an RCU grace period, some 16 ms, whatever it deletes; a
request that deletes a whole link group waits once.  So links that are to go
one after the other are moved to a group of their own and go with it.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Sequence

from snnet.contract import Link, Missing
from snnet.contract.links import DYING_GROUPS

from .found import Found
from .links import Links


def remove_together(links: Links, doomed: Sequence[Link]) -> None:
    """Remove all of these links in one request, or none of them.

    Raises ``Missing`` where one is not there, or goes along with one before it.
    """
    found: dict[int, Found] = {}
    for link in doomed:
        one = links.owned(link)
        if one.index in found or one.lower in found:
            raise Missing(f"{link.kind} {link.name} goes with another link", errno=errno.ENODEV)
        found[one.index] = one
    group = DYING_GROUPS[secrets.randbelow(len(DYING_GROUPS))]
    try:
        for index in found:
            links.mark(index, group)
        links.delete_group(group)
    except BaseException:
        for index, one in found.items():
            with contextlib.suppress(OSError):
                links.mark(index, one.group)
        raise
