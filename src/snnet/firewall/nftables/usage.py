"""Which parts of tables nouns still need: the last noun takes its parts and tables along."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from . import tables
from .nouns import StoredNouns
from .reader import Reader
from .steps import Command, PreparedOperation
from .tables import Part, Table


class Usage:
    """The number of nouns that need each part of a table, where it was counted.

    Counting means listing the elements.  It is done once for each part, once more before the
    part is removed, and again after others changed rules.
    """

    def __init__(self, stored: StoredNouns, reader: Reader) -> None:
        self._stored = stored
        self._reader = reader
        self._counts: dict[Part, int] = {}
        self._epoch = -1

    def forget(self, gone: Collection[Table]) -> None:
        """Count again what these tables hold."""
        self._counts = {
            part: count for part, count in self._counts.items() if part.table not in gone
        }

    def clear(self) -> None:
        """Count everything again."""
        self._counts.clear()

    def outdated(self, epoch: int) -> bool:
        """Whether others changed rules since the last call; then everything is counted again."""
        before, self._epoch = self._epoch, epoch
        if epoch != before:
            self.clear()
        return epoch != before

    def unused_after(self, steps: Sequence[PreparedOperation]) -> set[Part]:
        """Return the parts of tables that no noun needs after the steps."""
        new = {part for step in steps if step.growth < 0 for part in step.parts}
        if not new:
            return new
        new -= self._counts.keys()
        self._recount(new)
        growth = _growth(steps)
        unused = self._unused(growth)
        if not unused:
            return unused
        self._recount(unused - new)
        return self._unused(growth)

    def removal(
        self, unused: set[Part], needed: Collection[Part], changes: Sequence[Command]
    ) -> list[str]:
        """Return the commands that remove, after ``changes``, unused parts and unused tables.

        ``needed`` are the parts that the changes need, among them unused ones that they fill
        and empty again.  The commands belong to the transaction that removes the last noun, so
        a process that is killed after it leaves nothing.
        """
        commands: list[str] = []
        for table in sorted({part.table for part in unused}):
            parts = sorted(part for part in unused if part.table == table)
            wanted = {part for part in needed if part.table == table}
            there = {*self._reader.chains(table)}
            there |= {chain for part in wanted for chain in tables.chains_of(part)}
            mine = {chain for part in parts for chain in tables.chains_of(part)}
            deletes = f"delete chain {table} "
            gone = {
                command.removeprefix(deletes)
                for command in changes
                if isinstance(command, str) and command.startswith(deletes)
            }
            if there - gone <= mine and wanted <= unused:
                commands.append(f"delete table {table}")
            elif mine <= there:
                commands += [line for part in parts for line in tables.remove_part(part)]
        return commands

    def count(self, steps: Iterable[PreparedOperation], unused: set[Part]) -> None:
        """Keep the numbers true after the steps, which removed what was unused."""
        for part, growth in _growth(steps).items():
            if part in self._counts:
                self._counts[part] += growth
        for part in unused:
            del self._counts[part]

    def _unused(self, growth: dict[Part, int]) -> set[Part]:
        counts = self._counts.items()
        return {part for part, count in counts if part in growth and count + growth[part] <= 0}

    def _recount(self, parts: Iterable[Part]) -> None:
        self._counts.update((part, self._stored.count(part)) for part in parts)


def _growth(steps: Iterable[PreparedOperation]) -> dict[Part, int]:
    """Return by how many the nouns that need each part grow."""
    growth: dict[Part, int] = {}
    for step in steps:
        by = step.growth
        for part in step.parts:
            growth[part] = growth.get(part, 0) + by
    return growth
