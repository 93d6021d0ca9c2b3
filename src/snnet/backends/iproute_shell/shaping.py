"""Queueing disciplines and filters of traffic control, by ``tc``."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from snnet.backends.iproute2.commands import commands, without_clsact
from snnet.contract import LINK_GROUP, Add, Change, Redirect, Remove, Shaper, Unsupported
from snnet.contract.shaping import FILTER_PRIORITY, QDISC_HANDLE, RATE_MAX
from snnet.system.process import find_program, missing_program

from .errors import Refused
from .links import Links
from .shell import Rows, Shell, rows_in

_HANDLE = f"{QDISC_HANDLE:x}:"
_FILTER = re.compile(rf"^filter .*\bpref {FILTER_PRIORITY} u32 .* fh \S+::", re.MULTILINE)
_LACKING = re.compile("unknown|not found|no such file|failed to load|not supported", re.IGNORECASE)
"""What ``tc`` says of what the kernel has not."""
_CLSACT, _INGRESS = "clsact", "ingress"
"""The disciplines that filters of what a link receives can hang on; a link has one of them."""
_GONE = "*"
"""How ``tc`` writes a target that is gone."""
_TARGET = re.compile(r"mirred \(Egress Redirect to device (\S+)\)")


class Shapers:
    """The token bucket filters of snnet at the roots of links."""

    def __init__(self, shell: Shell, links: Links) -> None:
        self._shell = shell
        self._links = links

    def add(self, noun: Shaper) -> None:
        if self.find(noun) is not None:
            raise Refused(errno.EEXIST)
        _check_rate(noun)
        self._shell.carry_out(commands(Add(noun)))

    def change(self, new: Shaper, old: Shaper) -> None:
        self._must_exist(old)
        _check_rate(new)
        self._shell.carry_out(commands(Change(new, old)))

    def remove(self, noun: Shaper) -> None:
        self._must_exist(noun)
        self._shell.carry_out(commands(Remove(noun)))

    def find(self, noun: Shaper) -> Shaper | None:
        self._links.look_up(noun.link)
        rows = _disciplines(self._shell, noun.link)
        return next(_shapers(rows, noun.link), None)

    def snapshot(self) -> list[Shaper]:
        return list(_shapers(_disciplines(self._shell)))

    def _must_exist(self, noun: Shaper) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ENOENT)


class Redirects:
    """The filters of snnet that hand what a link receives to another one.

    They hang on clsact, which others may use too: it goes with its last filter.  Where others
    have put ingress, which takes the same place, they hang on that, and it stays.
    """

    def __init__(self, shell: Shell, links: Links) -> None:
        self._shell = shell
        self._links = links

    def add(self, noun: Redirect) -> None:
        if self.find(noun) is not None:
            raise Refused(errno.EEXIST)
        if not noun.to:
            return
        self._links.look_up(noun.to)
        clsact, redirect = commands(Add(noun))
        new = not self._discipline(noun.link)
        if new:
            self._shell.carry_out([clsact])
        try:
            self._shell.carry_out([redirect])
        except BaseException:
            if new:
                with contextlib.suppress(Exception):
                    self._tidy(noun)
            raise

    def remove(self, noun: Redirect) -> None:
        if self.find(noun) is None:
            raise Refused(errno.ENOENT)
        self._shell.carry_out(commands(Remove(noun))[:1])
        self._tidy(noun)

    def find(self, noun: Redirect) -> Redirect | None:
        self._links.look_up(noun.link)
        return self._found(noun.link)

    def snapshot(self) -> list[Redirect]:
        found = []
        for row in _disciplines(self._shell):
            if row.get("kind") not in (_CLSACT, _INGRESS):
                continue
            try:
                found.append(self._found(row["dev"]))
            except Refused as error:
                if error.number != errno.ENODEV:  # the link is gone since the first listing
                    raise
        return [noun for noun in found if noun is not None]

    def _found(self, link: str) -> Redirect | None:
        # Not JSON: before iproute2 6.0 that of u32 is broken.
        text = _filters(self._shell, link, "ingress")
        ours = _FILTER.search(text)
        if ours is None:
            return None
        rest = text[ours.end() :].split("\nfilter ", 1)[0]
        target = _TARGET.search(rest)
        return Redirect(link=link, to=target[1] if target and target[1] != _GONE else "")

    def _discipline(self, link: str) -> str:
        """Return the kind of what filters can hang on, or ""."""
        kinds = (row.get("kind", "") for row in _disciplines(self._shell, link))
        return next((kind for kind in kinds if kind in (_CLSACT, _INGRESS)), "")

    def _tidy(self, noun: Redirect) -> None:
        """Remove the clsact of a link if no filter is left on it."""
        if self._discipline(noun.link) != _CLSACT:
            return
        for side in ("ingress", "egress"):
            if _filters(self._shell, noun.link, side).strip():
                return
        self._shell.carry_out([without_clsact(noun)])


def can_shape(shell: Shell) -> bool:
    """Whether the kernel has token bucket filters: one is made in a new namespace."""
    return _works(shell, commands(Add(Shaper(link="lo", rate=10**6))))


def can_redirect(shell: Shell) -> bool:
    """Whether the kernel has what redirects need: one is made in a new namespace."""
    return _works(shell, commands(Add(Redirect(link="lo", to="lo"))))


def _works(shell: Shell, attempt: list[list[str]]) -> bool:
    """Whether the kernel carries out an attempt; True where one may not try."""
    lines = "".join(f"{' '.join(words[1:])}\n" for words in attempt)
    said = shell.said_apart(["tc", "-batch", "-"], lines)
    return not _LACKING.search(said)


def _disciplines(shell: Shell, link: str | None = None) -> Rows:
    """Return the queueing disciplines of one link, or of all."""
    argv = ["tc", "-json", "qdisc", "show", *_of(link)]
    return rows_in(_listed(shell, argv, link), argv)


def _filters(shell: Shell, link: str, side: str) -> str:
    """Return the filters on one side of a link as text."""
    return _listed(shell, ["tc", "filter", "show", "dev", link, side], link)


def _listed(shell: Shell, argv: list[str], link: str | None) -> str:
    """Return what ``tc`` lists: nothing on a host without ``tc`` or a kernel without the table.

    Raises ``Unsupported`` if a link of ours has a limit, which only ``tc`` can read.
    """
    if find_program("tc") is None:
        ours = ["ip", "-json", "link", "show", *_of(link), "group", str(LINK_GROUP)]
        if any(row.get("qdisc") == "tbf" for row in shell.rows(ours)):
            raise Unsupported(missing_program("tc"))
        return ""
    try:
        return shell.ask(argv)
    except Refused as error:
        if error.number != errno.EOPNOTSUPP:
            raise
        return ""


def _of(link: str | None) -> list[str]:
    return [] if link is None else ["dev", link]


def _shapers(rows: Rows, link: str | None = None) -> Iterator[Shaper]:
    for row in rows:
        ours = row.get("root") and row.get("handle") == _HANDLE and row.get("kind") == "tbf"
        rate = row.get("options", {}).get("rate")
        if ours and isinstance(rate, int):  # in bytes
            yield Shaper(link=row.get("dev", link or ""), rate=8 * rate)


def _check_rate(noun: Shaper) -> None:
    if not 8 <= noun.rate <= RATE_MAX:
        raise Refused(errno.EINVAL, f"{noun.rate} bits a second is no rate")
