"""Programs, run in the namespace: what they print, and what of several got done."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from snnet.backends.iproute2.commands import Command
from snnet.contract import Busy
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

    def ask(self, argv: Command) -> str:
        """What a command prints; raises ``Refused`` where it fails."""
        _check_words([argv])
        for _ in range(_TRIES):
            done = run(argv, netns=self._netns, timeout=_PATIENCE, check=False)
            if done.returncode != 0:
                raise refusal(done)
            # The kernel's tables changed while it told of them (NLM_F_DUMP_INTR).
            if _INTERRUPTED not in done.stderr:
                return done.stdout
        raise Busy(f"what {' '.join(argv)} lists changes faster than it can be read: try again")

    def rows(self, argv: Command) -> Rows:
        """The objects of a command that prints JSON."""
        text = self.ask(argv)
        try:
            listed = json.loads(text, strict=False) if text.strip() else []
        except ValueError as error:
            raise Refused(said=f"{' '.join(argv)} printed no JSON: {error}") from error
        # What a filter of ``ip`` leaves out stands there as an empty object.
        return [row for row in listed if row]

    # Doing

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Run the commands in order up to the first that fails.

        Those of ``ip`` that follow each other are read by one process, from its
        stdin.  ``Refused`` says by its position what was done: all before it.
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
        """How many of the first commands one process carries out: one at least."""
        return max(len(_lines(commands)), 1)

    def _single(self, argv: Command) -> None:
        done = run(argv, netns=self._netns, timeout=_PATIENCE, check=False)
        # sysctl(8) ends well after some failures, an EINVAL for a folder say.
        if done.returncode != 0 or (argv[0] == "sysctl" and done.stderr.strip()):
            raise refusal(done)

    def _batch(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        argv = ["ip", "-batch", "-"]
        done = run(argv, input=text, netns=self._netns, timeout=_PATIENCE, check=False)
        if done.returncode != 0:
            raise refusal(done, batch=True)


def _harmless(argv: Command, error: Refused) -> bool:
    """Whether what follows can go on.

    No IPv6 on this link (ipv6.disable, or an MTU below 1280): then there is no
    link-local address to be avoided.
    """
    return "addrgenmode" in argv and error.number == errno.EAFNOSUPPORT


def _lines(commands: Sequence[Command]) -> list[str]:
    """The first of the commands as lines for ``ip -batch``, as far as they can be."""
    lines = []
    for argv in commands:
        words = [_quoted(word) for word in argv[1:]]
        line = " ".join(word for word in words if word is not None)
        if argv[0] != "ip" or None in words or line.endswith("\\"):
            break
        lines.append(line)
    return lines


def _quoted(word: str) -> str | None:
    """The word as ``ip`` reads it in a line, or None where it cannot be written.

    A quote counts at the beginning of a word only, a # everywhere (makeargs and
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
    """Refuse what cannot be an argument of a program."""
    for word in (word for argv in commands for word in argv):
        try:
            encoded = word.encode()
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise Refused(errno.EINVAL, f"{word!r} is no word of a command")
