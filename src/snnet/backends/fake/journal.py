"""The journals of a fake host, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from snnet.contract import Journal

from .state import State


class FakeJournal(Journal):
    """The lines kept under one name in ``State.journals``; removing them there loses them."""

    def __init__(self, state: State, name: str) -> None:
        self._journals = state.journals
        self._name = name

    def read(self) -> list[str]:
        return list(self._journals.get(self._name, ()))

    def append(self, lines: Sequence[str]) -> bool:
        journal = self._journals.get(self._name)
        if journal is None:
            return False
        journal.extend(lines)
        return True

    def replace(self, lines: Sequence[str]) -> None:
        if lines:
            self._journals[self._name] = list(lines)
        else:
            self._journals.pop(self._name, None)
