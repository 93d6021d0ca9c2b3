"""One ``apply``: operations gathered, committed together, and undone if that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from snnet.contract import (
    ApiError,
    Check,
    FatalError,
    Noun,
    Operation,
    Outcome,
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
    """Carries operations out in order; those of one owner and direction at once."""

    def __init__(
        self,
        tables: Tables,
        read: Read,
        refuse: Callable[[Operation], None],
        keep_going: bool,
    ) -> None:
        self._tables = tables
        self._read = read
        self._refuse = refuse
        self._keep_going = keep_going
        self._outcome = Outcome()
        self._families: set[str] = set()
        self._states: dict[str, State] = {}
        self._kind: tuple[str, bool] | None = None
        self._ledger = Ledger({}, {})
        self._pending: list[tuple[int, Operation]] = []

    def through(self, operations: Sequence[Operation], check: Check | None) -> Outcome:
        """Do them all, or as many as :meth:`snnet.contract.Driver.apply` says."""
        nouns = [operation.noun for operation in operations]
        self._families = {place.family for noun in nouns for place in places(noun, {})}
        for position, operation in enumerate(operations):
            try:
                if check is not None:
                    check()
            except SnnetError as error:
                if self._flush():
                    self._outcome.errors[position] = error
                return self._outcome
            if not self._take(position, operation):
                return self._outcome
        self._flush()
        return self._outcome

    def _take(self, position: int, operation: Operation) -> bool:
        """Gather one operation; False when the work has come to its end."""
        kind = (_owner(operation.noun), isinstance(operation, Remove))
        if kind != self._kind:
            if not self._flush():
                return False
            self._kind = None
        try:
            self._refuse(operation)
            if self._kind is None:
                self._begin(kind)
            self._ledger.apply(operation)
        except SnnetError as error:
            return self._flush() and self._fail(position, operation, error)
        self._pending.append((position, operation))
        return True

    def _begin(self, kind: tuple[str, bool]) -> None:
        owner = kind[0]
        state = self._states.get(owner)
        if state is None:
            state = self._states[owner] = self._read(owner, self._families)
        self._ledger = Ledger(state.nouns, state.broken)
        self._kind = kind

    def _fail(self, position: int, operation: Operation, error: SnnetError) -> bool:
        if isinstance(error, ApiError) and error.operation is None:
            error.operation = operation
        self._outcome.errors[position] = error
        return self._keep_going

    def _flush(self) -> bool:
        """Commit what was gathered; False if it failed and that ends the work."""
        if not self._pending or self._kind is None:
            return True
        pending, self._pending = self._pending, []
        try:
            self._commit(*self._kind)
        except SnnetError as error:
            kind, self._kind = self._kind, None
            self._states.pop(kind[0], None)
            if len(pending) == 1:
                return self._fail(*pending[0], error)
            # Each for itself, to do those that can be done and to tell of the others.
            return all(self._take(*item) and self._flush() for item in pending)
        self._outcome.done |= {position for position, _ in pending}
        return True

    def _commit(self, owner: str, removing: bool) -> None:
        state, nouns = self._states[owner], self._ledger.nouns
        contents = state.differing(nouns)
        order = _REMOVAL if removing else _ADDITION
        try:
            self._tables.write(_in_order(order, state.found, contents))
        except SnnetError as error:
            self._put_back(state, contents, tuple(reversed(order)), error)
            raise
        self._states[owner] = state.written(nouns, self._ledger.broken, contents)

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


def _owner(noun: Noun) -> str:
    return noun.owner if isinstance(noun, Owned) else ""
