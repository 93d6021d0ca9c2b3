"""Running programs in the namespace: their output, and how many of several succeeded."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from snnet.backends.iproute2.commands import Command
from snnet.contract import Busy
from snnet.system.netns import new_netns
from snnet.system.process import run

from .errors import Refused, refusal

_PATIENCE = 30.0
"""Seconds; a command that takes longer is killed."""
_TRIES = 10
_INTERRUPTED = "Dump was interrupted"  # rtnl_dump_filter_l, lib/libnetlink.c

Rows = list[dict[str, Any]]


class Shell:
    """Runs iproute2's programs, and sysctl, in one network namespace."""

    def __init__(self, netns: int) -> None:
        self._netns = netns

    # Reading

    def ask(self, argv: Command, *, elsewhere: bool = False) -> str:
        """Return what a command prints; raise ``Refused`` if it fails.

        ``elsewhere``: it enters a namespace of somebody, who may kill all in it at its end.
        Then it is asked again.
        """
        _check_words([argv])
        for left in reversed(range(_TRIES)):
            done = run(argv, netns=self._netns, timeout=_PATIENCE, check=False)
            if elsewhere and left and done.returncode < 0:
                continue
            if done.returncode != 0:
                raise refusal(done)
            # The kernel's tables changed during the dump (NLM_F_DUMP_INTR).
            if _INTERRUPTED not in done.stderr:
                return done.stdout
        raise Busy(f"the output of {' '.join(argv)} changes faster than it is read: try again")

    def rows(self, argv: Command, *, elsewhere: bool = False) -> Rows:
        """Return the objects that a command prints as JSON; see ``ask``."""
        return rows_in(self.ask(argv, elsewhere=elsewhere), argv)

    def said_apart(self, argv: Command, text: str) -> str:
        """Return what a command says of its input to stderr, run in a new namespace.

        "" where this process may not make one.
        """
        try:
            netns = new_netns()
        except OSError:
            return ""
        try:
            return run(argv, input=text, netns=netns, timeout=_PATIENCE, check=False).stderr
        finally:
            os.close(netns)

    # Doing

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Run the commands in order, up to the first that fails.

        One process runs consecutive commands of ``ip`` from its stdin.  The position in
        ``Refused`` says what was done: all commands before it.
        """
        _check_words(commands)
        start = 0
        while start < len(commands):
            count = self.together(commands[start:])
            try:
                if count > 1:
                    self._batch(_lines(commands[start : start + count]))
                else:
                    self._single(commands[start])
            except Refused as error:
                if error.position is not None:
                    error.position += start
                if error.position is None or not _harmless(commands[error.position], error):
                    raise
                start = error.position + 1
            else:
                start += count

    @staticmethod
    def together(commands: Sequence[Command]) -> int:
        """Return how many of the first commands one process carries out: at least one."""
        return max(len(_lines(commands)), 1)

    def _single(self, argv: Command) -> None:
        done = run(argv, netns=self._netns, timeout=_PATIENCE, check=False)
        # sysctl(8) exits with 0 after some failures, for example EINVAL for a folder.
        if done.returncode != 0 or (argv[0] == "sysctl" and done.stderr.strip()):
            raise refusal(done)

    def _batch(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        argv = ["ip", "-batch", "-"]
        done = run(argv, input=text, netns=self._netns, timeout=_PATIENCE, check=False)
        if done.returncode != 0:
            raise refusal(done, batch=True)


def rows_in(text: str, argv: Command) -> Rows:
    """Return the objects that a command printed as JSON."""
    try:
        listed = json.loads(text, strict=False) if text.strip() else []
    except ValueError as error:
        raise Refused(said=f"{' '.join(argv)} did not print JSON: {error}") from error
    # ``ip`` prints an empty object for each one that a filter excludes.
    return [row for row in listed if row]


def _harmless(argv: Command, error: Refused) -> bool:
    """Whether the next commands can run in spite of the error.

    If the link has no IPv6 (ipv6.disable, or an MTU below 1280), it gets no link-local
    address anyway.
    """
    return "addrgenmode" in argv and error.number == errno.EAFNOSUPPORT


def _lines(commands: Sequence[Command]) -> list[str]:
    """Return the first commands as lines for ``ip -batch``, as many as possible."""
    lines = []
    for argv in commands:
        words = [_quoted(word) for word in argv[1:]]
        line = " ".join(word for word in words if word is not None)
        if argv[0] != "ip" or None in words or line.endswith("\\"):
            break
        lines.append(line)
    return lines


def _quoted(word: str) -> str | None:
    """Quote the word for a line of ``ip -batch``, or return None if that is impossible.

    A quote is special only at the beginning of a word, a # everywhere (makeargs and
    getcmdline, lib/utils.c).
    """
    if "#" in word or "\n" in word:
        return None
    if word and not re.search(r"\s", word) and word[0] not in "'\"":
        return word
    for quote in "'\"":
        if quote not in word:
            return f"{quote}{word}{quote}"
    return None


def _check_words(commands: Iterable[Command]) -> None:
    """Raise ``Refused`` for a word that cannot be an argument of a program."""
    for word in (word for argv in commands for word in argv):
        try:
            encoded = word.encode()
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise Refused(errno.EINVAL, f"{word!r} cannot be an argument of a program")
