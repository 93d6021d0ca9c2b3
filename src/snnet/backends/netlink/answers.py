"""Answers about links that are looked up often, so that the same answer is parsed once.

Every create looks its tunnel up, and every rule its device, a link of others: only counters differ
from one answer to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct

from snnet.contract import LINK_GROUP, Link, Tunnel

from .found import ATTRIBUTES, ParsedLink
from .kernel import Kernel

_ATTRIBUTE = Struct("=HH")
_COUNTERS = (23, 7)  # IFLA_STATS64 and IFLA_STATS, linux/if_link.h

_MOST = 1024
"""Answers to keep."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer, the names of the links whose indexes are in it, and what it describes."""

    body: bytes
    counters: tuple[int, int]
    names: Mapping[int, str]
    noun: Link

    def is_same(self, body: bytes) -> bool:
        """Whether the other answer has other counters at most."""
        start, end = self.counters
        return body[:start] == self.body[:start] and body[end:] == self.body[end:]


class Answers:
    """Turns answers of RTM_GETLINK into links, and keeps those about tunnels and others' links."""

    def __init__(self, kernel: Kernel) -> None:
        self._name_of: Callable[[int], str] = kernel.name
        self._kept: dict[str, _Answer] = {}

    def noun(self, name: str, body: bytes) -> Link:
        """Return the link of this name that the answer describes."""
        kept = self._kept.get(name)
        if kept is not None and kept.is_same(body) and self._is_true(kept.names):
            return kept.noun
        names: dict[int, str] = {}

        def name_of(index: int) -> str:
            names[index] = found = self._name_of(index)
            return found

        noun = ParsedLink.of(name, body).noun(name_of)
        if isinstance(noun, Tunnel) or noun.group != LINK_GROUP:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[name] = _Answer(body, _counters(body), names, noun)
        return noun

    def _is_true(self, names: Mapping[int, str]) -> bool:
        """Whether the indexes are still those of links with these names."""
        return all(self._name_of(index) == name for index, name in names.items())


def _counters(body: bytes) -> tuple[int, int]:
    """Return where the counters begin and end; the kernel writes both kinds one after the other.

    See rtnl_fill_stats (net/core/rtnetlink.c).  RTEXT_FILTER_SKIP_STATS does not leave them out.
    """
    start = end = len(body)
    at = ATTRIBUTES
    while at + 4 <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind in _COUNTERS:
            start, end = min(start, at + 4), at + size
        at += max(size + 3 & ~3, 4)
    return start, end
