"""Answers about links, so that the same answer is parsed once.

Every create looks its tunnel up, every rule its device, a link of others, and every look at all of
the host lists what was there the last time: only counters differ from one answer to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from struct import Struct

from snnet.contract import LINK_GROUP, Link, Tunnel

from .codec import name_or_none
from .found import ATTRIBUTES, HEADER, ParsedLink
from .kernel import Kernel

_ATTRIBUTE = Struct("=HH")
_INDEX, _INDEX_AT = Struct("=i"), HEADER + 4  # of struct ifinfomsg
_COUNTERS = (23, 7)  # IFLA_STATS64 and IFLA_STATS, linux/if_link.h

_MOST = 1024
"""Answers to look-ups to keep."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A link as an answer describes it, and the answer without its counters."""

    noun: Link
    lower: int
    """See :attr:`ParsedLink.lower`."""
    names: tuple[tuple[int, str | None], ...]
    """The links whose indexes are in it, and their names; None: there was none."""
    size: int
    head: bytes
    tail: bytes

    @property
    def index(self) -> int:
        return self.noun.index

    @property
    def name(self) -> str:
        return self.noun.name

    @property
    def kind(self) -> str:
        return self.noun.kind

    @property
    def alias(self) -> str:
        return self.noun.alias

    @property
    def group(self) -> int:
        return self.noun.group

    def is_same(self, message: bytes) -> bool:
        """Whether a message has other counters, and another header, at most."""
        return (
            len(message) == self.size
            and message.startswith(self.head, HEADER)
            and message.endswith(self.tail)
        )

    def is_true(self, name_of: Callable[[int], str | None]) -> bool:
        """Whether the indexes are still those of links with these names."""
        for index, name in self.names:  # noqa: SIM110 - all() takes three times as long
            if name_of(index) != name:
                return False
        return True


class Answers:
    """Turns answers of RTM_GETLINK into links.

    It keeps those of the last listing, and those to look-ups of tunnels and others' links.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._name_of: Callable[[int], str] = kernel.name
        self._name_now = partial(name_or_none, kernel.name)
        self._kept: dict[str, Answer] = {}
        self._listed: Mapping[int, Answer] = {}

    def noun(self, name: str, message: bytes) -> Link:
        """Return the link of this name that the answer to a look-up describes."""
        kept = self._kept.get(name)
        if kept is not None and kept.is_same(message) and kept.is_true(self._name_now):
            return kept.noun
        answer = _answer(ParsedLink.of(name, message), message, self._name_of)
        noun = answer.noun
        if isinstance(noun, Tunnel) or noun.group != LINK_GROUP:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[name] = answer
        return noun

    def listed(self, messages: Iterable[bytes]) -> list[Answer]:
        """Return what the answers of a listing describe."""
        before = self._listed
        found: list[tuple[bytes, Answer | ParsedLink]] = []
        for message in messages:
            known = before.get(_INDEX.unpack_from(message, _INDEX_AT)[0])
            if known is None or not known.is_same(message):
                found.append((message, ParsedLink.parse(message)))
            else:
                found.append((message, known))
        names = {one.index: one.name for _, one in found}

        def name_of(index: int) -> str:
            # A link that was created during the dump may be missing from it.
            return names.get(index) or self._name_of(index)

        answers: list[Answer] = []
        for message, one in found:
            if not isinstance(one, Answer):
                one = _answer(one, message, name_of)
            elif not one.is_true(names.get):
                one = _answer(ParsedLink.parse(message), message, name_of)
            answers.append(one)
        self._listed = {answer.noun.index: answer for answer in answers}
        return answers


def _answer(link: ParsedLink, message: bytes, name_of: Callable[[int], str]) -> Answer:
    names: dict[int, str | None] = {}

    def noted(index: int) -> str:
        names[index] = None  # as it is if the next line raises
        names[index] = found = name_of(index)
        return found

    start, end = _counters(message)
    return Answer(
        noun=link.noun(noted),
        lower=link.lower,
        names=tuple(names.items()),
        size=len(message),
        head=message[HEADER:start],
        tail=message[end:],
    )


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
