"""Chains as the programs here print them.

How a rule is printed depends on the program and its version.  So the chains are written once
more, where they affect nothing: in a network namespace that only this process has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from snnet.system.netns import new_netns

from .layout import Content, Section
from .programs import Programs
from .tables import SectionState, Tables

_KEPT = 64
"""How many sections are remembered."""

_Text = tuple[Section, tuple[str, ...]]


class Reference:
    """Knows how chains are printed; it writes each content of a section once."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._known: dict[_Text, dict[str, list[str]]] = {}
        self._recalled = False
        """Whether the last answer has something that was printed earlier."""
        self._possible = True

    def printed(
        self, contents: Mapping[Section, Content]
    ) -> dict[Section, dict[str, list[str]]] | None:
        """Return the rules of each chain as they are printed.

        Return None if this process may not make a network namespace: it lacks
        CAP_SYS_ADMIN.
        """
        texts = {section: (section, tuple(contents[section].lines())) for section in contents}
        unknown = [section for section in contents if texts[section] not in self._known]
        self._recalled = len(unknown) < len(texts)
        if unknown and self._possible:
            for section, chains in self._write(contents, unknown).items():
                self._known[texts[section]] = chains
        if any(text not in self._known for text in texts.values()):
            return None
        found = {section: self._known[texts[section]] for section in contents}
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return found

    def forget(self) -> bool:
        """Forget what was printed; return whether the last answer may thus be out of date."""
        self._known.clear()
        return self._recalled

    def _write(
        self, contents: Mapping[Section, Content], sections: Iterable[Section]
    ) -> dict[Section, dict[str, list[str]]]:
        try:
            netns = new_netns()
        except PermissionError:
            self._possible = False
            return {}
        try:
            tables = Tables(self._programs.elsewhere(lambda: netns))
            tables.write((section, SectionState(), contents[section]) for section in sections)
            return {section: tables.read(section, contents[section]).chains for section in sections}
        finally:
            os.close(netns)
