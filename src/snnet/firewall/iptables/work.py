"""One ``apply``: operations committed together, and undone if that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from snnet.contract import (
    FatalError,
    Operation,
    Owned,
    Remove,
    SnnetError,
)

from .ledger import Ledger
from .rules import places, render
from .sections import FILTER, IP, NAT, RAW, SECTIONS, Content, Section
from .state import State
from .tables import Found, Tables

Read = Callable[[str, Collection[str]], State]
"""An owner's state, looked for in these families too."""

_ADDITION = SECTIONS
_REMOVAL = (*(section for section in SECTIONS if section.family != IP), FILTER, NAT, RAW)
"""The filter stops letting things out before NAT goes; records go last."""


class Work:
    """One ``apply`` under way: what is there of each owner, read once."""

    def __init__(self, tables: Tables, read: Read, operations: Sequence[Operation]) -> None:
        self._tables = tables
        self._read = read
        self._families = {
            place.family for operation in operations for place in places(operation.noun, {})
        }
        self._states: dict[str, State] = {}

    def commit(self, operations: Sequence[Operation]) -> None:
        """Carry out operations of one owner, that all remove or all do not; all or none."""
        owner, removing = owner_of(operations[0]), isinstance(operations[0], Remove)
        state = self._states.get(owner)
        if state is None:
            state = self._states[owner] = self._read(owner, self._families)
        ledger = Ledger(state.nouns, state.broken)
        for operation in operations:
            ledger.apply(operation)
        contents = state.differing(ledger.nouns)
        order = _REMOVAL if removing else _ADDITION
        try:
            self._tables.write(_in_order(order, state.found, contents))
        except SnnetError as error:
            del self._states[owner]
            self._put_back(state, contents, tuple(reversed(order)), error)
            raise
        self._states[owner] = state.written(ledger.nouns, ledger.broken, contents)

    def _put_back(
        self,
        state: State,
        contents: Mapping[Section, Content],
        order: Sequence[Section],
        error: SnnetError,
    ) -> None:
        """Have the sections as they were before a failed commit, which may have done some."""
        before = render(state.owner, state.nouns)
        try:
            found = self._read(state.owner, self._families).found
            old = {section: before.get(section, Content()) for section in contents}
            self._tables.write(_in_order(order, found, old))
        except SnnetError as again:
            tables = [f"{family} table {table}" for family, table in contents]
            raise FatalError(
                f"{error}; and then putting back what was there failed: {again}", leftovers=tables
            ) from error


def _in_order(
    order: Sequence[Section], found: Mapping[Section, Found], contents: Mapping[Section, Content]
) -> list[tuple[Section, Found, Content]]:
    return [
        (section, found.get(section, Found()), contents[section])
        for section in order
        if section in contents
    ]


def owner_of(operation: Operation) -> str:
    noun = operation.noun
    return noun.owner if isinstance(noun, Owned) else ""
