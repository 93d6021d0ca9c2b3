"""A command that hands the terminal back and goes on in the background."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Background:
    """Forks the process: the child does the work, the parent waits for its exit code.

    The parent ends inside the constructor, with the exit code that the child gave to
    ``detach()`` or ended with.  It forwards INT, TERM and HUP.  Threads do not survive a
    fork, so the child must start its own.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        reader, self._writer = os.pipe()
        child = os.fork()
        if child:
            os.close(self._writer)
            os._exit(_exit_code_of(child, reader))
        os.close(reader)

    def detach(self, code: int) -> None:
        """Let the parent end with this exit code, and give up the terminal.

        The child continues in its own session, with /dev/null as stdin, stdout and stderr.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.chdir("/")
        os.write(self._writer, bytes([code]))
        os.close(self._writer)


def _exit_code_of(child: int, reader: int) -> int:
    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    if code := os.read(reader, 1):
        return code[0]
    _, status = os.waitpid(child, 0)
    code_of_child = os.waitstatus_to_exitcode(status)
    return code_of_child if code_of_child >= 0 else 128 - code_of_child
