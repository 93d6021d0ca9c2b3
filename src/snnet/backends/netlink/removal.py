"""Removing links: several in one request.

A delete waits for an RCU grace period, some 16 ms, whatever it deletes; a
request that deletes a whole link group waits once.  So links that are to go
one after the other are moved to a group of their own and go with it.
"""

from __future__ import annotations

import contextlib
import secrets

from snnet.contract import Link, Outcome, Remove
from snnet.contract.links import DYING_GROUPS

from .errors import REFUSALS, translated
from .found import Found
from .links import Links


class Removals:
    """Consecutive removals of links, checked one by one and carried out together."""

    def __init__(self, links: Links, outcome: Outcome, *, keep_going: bool) -> None:
        self._links = links
        self._outcome = outcome
        self._keep_going = keep_going
        self._pending: dict[int, tuple[int, Remove, Found]] = {}
        """By index: the position of the operation, the operation, the link."""

    def add(self, position: int, operation: Remove, link: Link) -> None:
        """Note one more; raises what keeps it from being removed."""
        found = self._links.owned(link)
        if found.index in self._pending or found.lower in self._pending:
            # It would go along with what is removed before it.
            if not self.carry_out():
                return
            found = self._links.owned(link)
        self._pending[found.index] = (position, operation, found)

    def carry_out(self) -> bool:
        """Remove all that is noted; False if an error ends the work."""
        pending, self._pending = self._pending, {}
        if len(pending) > 1 and self._together(list(pending)):
            self._outcome.done.update(position for position, _, _ in pending.values())
            return True
        for index, (position, operation, found) in pending.items():
            try:
                self._links.delete(index)
            except REFUSALS as error:
                self._put_back(index, found)
                if not self._keep_going:
                    # Whatever came after this one was looked at too early.
                    self._outcome.errors.clear()
                self._outcome.errors[position] = translated(error, operation)
                if not self._keep_going:
                    return False
            else:
                self._outcome.done.add(position)
        return True

    def _together(self, indexes: list[int]) -> bool:
        """Delete them in one request; False if none of them is deleted."""
        group = DYING_GROUPS[secrets.randbelow(len(DYING_GROUPS))]
        try:
            for index in indexes:
                self._links.mark(index, group)
            self._links.delete_group(group)
        except OSError:
            return False
        return True

    def _put_back(self, index: int, found: Found) -> None:
        with contextlib.suppress(OSError):
            self._links.mark(index, found.group)
