"""Tables that have lost static rules: somebody flushed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from snnet.contract import HostIsolation, Owned

from .elements import RECORDS
from .tables import ARP, INET, Table


class Damage:
    """Which tables are damaged; each is looked at once an epoch of the ruleset."""

    def __init__(self) -> None:
        self.tables: set[Table] = set()
        """They must be recreated."""
        self._inspected: dict[Table, int] = {}

    def saw(self, there: Iterable[Table], epoch: int, owners: set[str]) -> None:
        """Take in a look at all tables: those of ``owners`` are damaged."""
        there = list(there)
        self.tables = {table for table in there if table.owner in owners}
        self._inspected = dict.fromkeys(there, epoch)

    def reaches(self, noun: Owned, epoch: int, is_damaged: Callable[[Table], bool]) -> bool:
        """Whether one of the noun's tables is damaged."""
        concerned = {Table(record.family, noun.owner) for record in RECORDS.get(type(noun), ())}
        concerned = concerned or {Table(INET, noun.owner)}
        if isinstance(noun, HostIsolation):
            concerned.add(Table(ARP, noun.owner))
        for table in concerned:
            if self._inspected.get(table) != epoch:
                if is_damaged(table):
                    self.tables.add(table)
                self._inspected[table] = epoch
        return not concerned.isdisjoint(self.tables)
