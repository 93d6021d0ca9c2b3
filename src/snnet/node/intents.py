"""The record of a node's intents: what it was asked for and no alias can hold.

NAT, forwards, public addresses, the mesh and policies of VNICs stand in the kernel only where
others may flush them.  The record says what was asked for, and which addresses are ours.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

from snnet.contract import Journal, Key, Noun, SnnetError
from snnet.core.intents import join_entry, read_entry, write_entry, write_noun

_SPARE = 1000
"""Lines that the journal may have beyond twice its entries before it is rewritten."""

Name = tuple[str, ...]
"""The thing that an entry is about, as calls claim it."""


class Intents:
    """What is recorded of one node, in memory and in a journal of its host.

    An entry is written before its objects are set up, and taken back once they are gone:
    a process killed in between leaves an entry, which the next ``init()`` carries out.
    A journal that is lost or damaged is written again from memory.  Without entries there is
    no journal.
    """

    def __init__(self, journal: Journal, *, read_only: bool = False) -> None:
        self._journal = journal
        self._read_only = read_only
        self._lock = threading.Lock()
        self._entries: dict[Name, Mapping[Noun, str | None]] = {}
        """Nouns with the text written of them: a group's rules are not written for each member."""
        self.damage: list[str] = []
        """Lines that could not be read."""
        self._lines = self._load()
        self._whole = not self.damage
        """Whether the journal has what the entries are; else it must be rewritten."""

    def _load(self) -> int:
        """Read the journal; return how many lines it has."""
        lines = self._journal.read()
        for number, line in enumerate(lines, 1):
            try:
                thing, nouns = read_entry(line)
            except ValueError as error:
                self.damage.append(f"line {number} of the record of intents: {error}")
                continue
            if nouns:
                self._entries[thing] = dict.fromkeys(nouns)
            else:
                self._entries.pop(thing, None)
        return len(lines)

    def __bool__(self) -> bool:
        """Whether anything is recorded."""
        return bool(self._entries)

    def nouns(self) -> dict[Key, Noun]:
        """Everything recorded, by identity."""
        with self._lock:
            return {noun.key: noun for nouns in self._entries.values() for noun in nouns}

    def differences(self) -> Iterator[str]:
        """A line if somebody changed the journal, or removed it."""
        with self._lock:
            entries = {thing: tuple(nouns) for thing, nouns in self._entries.items()}
        try:
            stored = dict(map(read_entry, self._journal.read()))
        except (SnnetError, ValueError):
            stored = {}
        stored = {thing: nouns for thing, nouns in stored.items() if nouns}
        if stored != entries:
            yield (
                f"record of intents: has {len(stored)} entries, or others -> should have "
                f"{len(entries)}, or what was asked for is lost with the rules: call repair()"
            )

    def expect(self, entries: Mapping[Name, Sequence[Noun]]) -> None:
        """Record what is about to be set up; raises where that is impossible."""
        self._put(entries)

    def settle(self, entries: Mapping[Name, Sequence[Noun]], *, whole: bool = False) -> None:
        """Record what became of these things; an empty entry is taken back.

        ``whole``: there is nothing else.  The call has done its work, so an error here is
        none of the call's: the journal is written again later.
        """
        wanted = dict(entries)
        if whole:
            with self._lock:
                wanted |= {thing: () for thing in self._entries if thing not in entries}
        with contextlib.suppress(SnnetError):
            self._put(wanted, again=whole)

    def _put(self, entries: Mapping[Name, Sequence[Noun]], *, again: bool = False) -> None:
        if self._read_only:
            return
        with self._lock:
            lines = []
            for thing, nouns in entries.items():
                before = self._entries.get(thing, {})
                if [*before] == [*nouns]:
                    continue
                written = {noun: before.get(noun) or write_noun(noun) for noun in nouns}
                lines.append(join_entry(thing, written.values()))
                if nouns:
                    self._entries[thing] = written
                else:
                    del self._entries[thing]
            if again:
                self._whole = False  # somebody may have changed the file
            if lines or again:
                self._write(lines)

    def _write(self, lines: Sequence[str]) -> None:
        self._lines += len(lines)
        crowded = self._lines > 2 * len(self._entries) + _SPARE
        # An append that fails may leave a part of a line.
        whole, self._whole = self._whole, False
        if self._entries and whole and not crowded and self._journal.append(lines):
            self._whole = True
            return
        entries = [write_entry(thing, nouns) for thing, nouns in self._entries.items()]
        self._journal.replace(entries)
        self._lines, self._whole = len(entries), True
