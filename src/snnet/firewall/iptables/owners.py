"""What owners have on the host, remembered while nobody else can have changed it."""

from __future__ import annotations

from collections.abc import Collection

from .layout import IP6
from .programs import Programs
from .reference import Reference
from .saved import Saved
from .state import Exact, State, read_state
from .tables import Tables


class Owners:
    """Reads what owners have.

    A state that was read or written counts until ``forget``, which the driver calls wherever
    others may have changed rules: reading takes a dozen programs, and each takes as long as a
    change.
    """

    def __init__(self, programs: Programs, tables: Tables) -> None:
        self._programs = programs
        self._tables = tables
        self._reference = Reference(programs)
        self._known: dict[str, State] = {}
        self._suspects: set[str] = set()
        """Owners whose rules somebody changed, by the last exact look."""

    def state(
        self,
        owner: str,
        families: Collection[str] = (),
        *,
        exact: bool = False,
        saved: Saved | None = None,
    ) -> State:
        """Return what the owner has; count its rules, or compare them where they were changed.

        With ``exact`` they are compared in any case.  ``families`` are read even if no record
        mentions anything there.  ``saved`` is what the programs save, if that is known.
        """
        known = self._known.get(owner)
        if known is not None:
            if known.families.issuperset(families) and (known.exact or not exact):
                return known
            families, exact = {*families, *known.families}, exact or known.exact
        looking = None
        if exact or owner in self._suspects:
            looking = Exact(self._reference, saved or Saved(self._programs.save))
        state = read_state(self._tables, owner, self.lacking, families, looking)
        if looking is not None and _is_damaged(state) and self._reference.forget():
            # A program may have been replaced by a version that prints rules differently.
            state = read_state(self._tables, owner, self.lacking, families, looking)
        if looking is not None:
            note = self._suspects.add if _is_damaged(state) else self._suspects.discard
            note(owner)
        self._known[owner] = state
        return state

    def put(self, state: State) -> None:
        """Remember what was written."""
        self._known[state.owner] = state

    def forget(self, owner: str | None = None) -> None:
        """Forget what an owner has, or what all of them have."""
        if owner is None:
            self._known.clear()
        else:
            self._known.pop(owner, None)

    @property
    def lacking(self) -> frozenset[str]:
        """Families that the host does not have: IPv6, if the kernel lacks it."""
        return frozenset() if self._programs.has_ip6 else frozenset({IP6})


def _is_damaged(state: State) -> bool:
    return bool(state.broken or state.dirty)
