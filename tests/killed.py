"""Processes that are killed at any step: what they leave, another one takes up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snnet.contract import Write
from snnet.registries.memory import MemoryRegistry


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the process runs, and nothing is undone."""


class MortalRegistry(MemoryRegistry):
    """One whose processes die before a commit, counted from now, or right after it."""

    die_at: int | None = None
    dead = False

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        if self.dead:
            raise Killed
        if self.die_at is None:
            return super().commit(writes, expected)
        self.die_at -= 1
        if self.die_at in (-1, -2):
            self.dead = True
        if self.die_at == -1:
            raise Killed
        revision = super().commit(writes, expected)
        if self.dead:
            raise Killed
        return revision
