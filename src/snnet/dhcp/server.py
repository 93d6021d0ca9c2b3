"""A running dnsmasq: find it, prove that it is ours, signal it, stop it.

A number in a pid file proves nothing: the process may have ended and the number may be
in use again.  A process is ours if its command line names our pid file and it is in our
network namespace.  Both are read while a pidfd (pidfd_open(2)) refers to it, and
signals are sent through that pidfd.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

from snnet.contract import Busy, Denied
from snnet.system.green import is_readable

_log = logging.getLogger("snnet.dhcp")

_GRACE = 2.0
"""Seconds between TERM and KILL."""

_PATIENCE = 5.0
"""Seconds that KILL may take: the kernel finishes pending I/O first."""

_ROUNDS = 5
"""How often to look for processes that were forked while others were stopped."""

_ARGUMENTS_MAX = 1 << 16
"""More bytes than our command line has; one read(2) returns as many of it as there are."""


class Server:
    """The dnsmasq that was started with ``pid_file`` in the namespace ``netns`` (a descriptor)."""

    def __init__(self, pid_file: Path, netns: int) -> None:
        self._argument = os.fsencode(f"--pid-file={pid_file}")
        self._netns = netns

    @contextlib.contextmanager
    def opened(self, pid: int) -> Iterator[int | None]:
        """Yield a pidfd of the process, or None if it is not ours or has ended."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # no such process, or not a pid
            yield None
            return
        try:
            yield pidfd if self._is_ours(pid) and not _has_ended(pidfd, 0) else None
        finally:
            os.close(pidfd)

    def is_running(self, pid: int) -> bool:
        with self.opened(pid) as pidfd:
            return pidfd is not None

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal; return False if the process is not ours or has ended."""
        with self.opened(pid) as pidfd:
            return pidfd is not None and _send(pidfd, number)

    def stop(self, pid: int | None) -> None:
        """Stop the server and its children, and wait until their sockets are closed.

        ``pid``, from the pid file, gets TERM, then KILL if it does not end.  The others get
        KILL at once: dnsmasq answers TCP queries in children, which share its sockets, outlive
        it if it is killed, and ignore TERM.  Raise ``Busy`` if one does not end.
        """
        if pid is not None:
            self._end([pid], gently=True)  # nearly always the only one
        for _ in range(_ROUNDS):
            if not self._end(self._processes(), gently=False):
                return
        raise Busy("dnsmasq is started again as soon as it is stopped: find out by what")

    def _end(self, pids: Iterable[int], *, gently: bool) -> bool:
        """End those that are ours, and wait until they have ended; return whether one is."""
        with contextlib.ExitStack() as stack:
            found = {
                pid: pidfd
                for pid in pids
                if (pidfd := stack.enter_context(self.opened(pid))) is not None
            }
            _end(found, gently=gently)
            return bool(found)

    def _processes(self) -> Iterator[int]:
        for name in os.listdir("/proc"):
            if name.isdecimal() and self._is_ours(int(name)):
                yield int(name)

    def _is_ours(self, pid: int) -> bool:
        """Whether command line and namespace match; ``Denied`` if we may not look."""
        try:
            argv = _command_line(pid)
            if self._argument not in argv or os.path.basename(argv[0]) != b"dnsmasq":
                return False
            # stat(2) follows this link to the namespace itself; see proc_pid_ns(5).
            return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.fstat(self._netns))
        except (FileNotFoundError, ProcessLookupError):
            return False
        except PermissionError as error:
            raise Denied(
                f"cannot see the namespace of dnsmasq (pid {pid}): run with CAP_SYS_PTRACE"
            ) from error


def _command_line(pid: int) -> list[bytes]:
    """Return the arguments of a process, at the least cost: all processes are asked."""
    fd = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _ARGUMENTS_MAX).split(b"\0")
    finally:
        os.close(fd)


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process (proc_pid_stat(5), state T)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def _end(processes: dict[int, int], *, gently: bool) -> None:
    """Signal all of them (pidfds by pid) and wait until they have ended."""
    for pidfd in processes.values():
        _send(pidfd, signal.SIGTERM if gently else signal.SIGKILL)
    for pid, pidfd in processes.items():
        if gently and not _has_ended(pidfd, _GRACE):
            _log.warning("dnsmasq (pid %d) did not end after TERM: killed", pid)
            _send(pidfd, signal.SIGKILL)
        if not _has_ended(pidfd, _PATIENCE):
            raise Busy(f"dnsmasq (pid {pid}) does not end after KILL: check its state")


def _send(pidfd: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _has_ended(pidfd: int, seconds: float) -> bool:
    """Whether the process has ended: its pidfd is readable, its sockets are closed."""
    return is_readable(pidfd, seconds)
