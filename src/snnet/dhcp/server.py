"""A running dnsmasq: find it, prove that it is ours, signal it, stop it.

A number in a pid file proves nothing: the process may have ended and the number may be
in use again.  A process is ours if its command line names our pid file and it is in our
network namespace.  Both are read while a pidfd (pidfd_open(2)) refers to it, and
signals are sent through that pidfd.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from snnet.contract import Busy, Denied
from snnet.system.green import is_readable
from snnet.system.process import Completed, errno_in, run

_log = logging.getLogger("snnet.dhcp")

_GRACE = 2.0
"""Seconds between TERM and KILL."""

_PATIENCE = 5.0
"""Seconds that KILL may take: the kernel finishes pending I/O first."""

_ROUNDS = 5
"""How often to look for processes that were forked while others were stopped."""

_LOOK = 0.1
"""Seconds after which a start that found its port taken is tried once more."""

_ARGUMENTS_MAX = 1 << 16
"""More bytes than our command line has; one read(2) returns as many of it as there are."""


def launch(argv: Sequence[str], netns: int) -> Completed:
    """Start dnsmasq: it forks to the background when it serves, or fails with a message.

    It binds the port of all links, and then takes one of them.  ``bridge.may_be_served`` takes
    the port of another link for a moment, so a port that is in use is tried once more.
    """
    done = run(argv, netns=netns, check=False)
    if done.returncode != 0 and errno_in(done.stderr) == errno.EADDRINUSE:
        time.sleep(_LOOK)
        done = run(argv, netns=netns, check=False)
    return done


class Server:
    """The dnsmasq that was started with ``pid_file`` in the namespace ``netns`` (a descriptor)."""

    def __init__(self, pid_file: Path, netns: int) -> None:
        self.argument = os.fsencode(f"--pid-file={pid_file}")
        """What its command line has."""
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

    def _is_ours(self, pid: int) -> bool:
        """Whether command line and namespace match; ``Denied`` if we may not look."""
        try:
            argv = _command_line(pid)
            if self.argument not in argv or os.path.basename(argv[0]) != b"dnsmasq":
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


def stop_all(servers: Collection[tuple[Server, int | None]]) -> None:
    """Stop servers and their children, and wait until their sockets are closed.

    All are signalled before one is waited for.  Each has the pid from its pid file: that gets
    TERM, then KILL if it does not end.  The others get KILL at once: dnsmasq answers TCP queries
    in children, which share its sockets, outlive it if it is killed, and ignore TERM.  Raise
    ``Busy`` if one does not end.
    """
    # Nearly always these are all that there are.
    _end_all(((server, pid) for server, pid in servers if pid is not None), gently=True)
    by_argument = {server.argument: server for server, _ in servers}
    for _ in range(_ROUNDS):
        if not _end_all(_processes(by_argument), gently=False):
            return
    raise Busy("dnsmasq is started again as soon as it is stopped: find out by what")


def _processes(servers: Mapping[bytes, Server]) -> Iterator[tuple[Server, int]]:
    """Yield what may be a process of one of the servers, by a word of their command lines."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = _command_line(int(name))
                yield from ((servers[word], int(name)) for word in words if word in servers)


def _end_all(processes: Iterable[tuple[Server, int]], *, gently: bool) -> bool:
    """End those that are the servers', and wait for all; return whether there is one."""
    with contextlib.ExitStack() as stack:
        found = {
            pid: pidfd
            for server, pid in processes
            if (pidfd := stack.enter_context(server.opened(pid))) is not None
        }
        _end(found, gently=gently)
        return bool(found)


def _end(processes: dict[int, int], *, gently: bool) -> None:
    """Signal all of them (pidfds by pid) and wait until they have ended."""
    for pidfd in processes.values():
        _send(pidfd, signal.SIGTERM if gently else signal.SIGKILL)
    if gently:
        left = _left_after(processes, _GRACE)
        for pid, pidfd in left.items():
            _log.warning("dnsmasq (pid %d) did not end after TERM: killed", pid)
            _send(pidfd, signal.SIGKILL)
        processes = left
    if left := _left_after(processes, _PATIENCE):
        raise Busy(f"dnsmasq (pid {min(left)}) does not end after KILL: check its state")


def _left_after(processes: dict[int, int], seconds: float) -> dict[int, int]:
    """Wait so long for all of them together; return those that have not ended."""
    end = time.monotonic() + seconds
    return {
        pid: pidfd
        for pid, pidfd in processes.items()
        if not _has_ended(pidfd, max(end - time.monotonic(), 0))
    }


def _send(pidfd: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _has_ended(pidfd: int, seconds: float) -> bool:
    """Whether the process has ended: its pidfd is readable, its sockets are closed."""
    return is_readable(pidfd, seconds)
