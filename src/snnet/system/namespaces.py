"""Network namespaces without a name: they end with the process that holds them."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from snnet.contract import error_for
from snnet.system.netns import CURRENT, in_netns, netns_id
from snnet.system.process import run

_CLONE_NEWNET = 0x40000000  # linux/sched.h

T = TypeVar("T")


class Namespace:
    """A new network namespace.  It lives as long as our descriptor or a process in it.

    Raises ``Denied`` if the caller may not make one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        """For messages; the kernel does not know this name."""
        with ThreadPoolExecutor(1) as thread:
            self.fd = thread.submit(_new_namespace).result()
        self.id = netns_id(self.fd)

    @property
    def path(self) -> str:
        """A path by which programs can open it while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns when called inside."""
        return in_netns(self.fd, function)

    def ip(self, commands: Iterable[str]) -> None:
        """Run ``ip`` commands inside, all in one process; the first error stops it."""
        run(["ip", "-batch", "-"], input="\n".join(commands) + "\n", netns=self.fd, timeout=30)

    def close(self) -> None:
        """Close the descriptor; may be repeated."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def processes_in(namespaces: Iterable[Namespace]) -> Iterator[tuple[int, Namespace]]:
    """Return every other process whose main thread is in one of the namespaces, by pid."""
    wanted = {namespace.id: namespace for namespace in namespaces}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            status = os.stat(entry / "ns" / "net")
        except OSError:  # it has just ended, or we may not look at it
            continue
        namespace = wanted.get(f"{status.st_dev}:{status.st_ino}")
        if namespace is not None:
            yield int(entry.name), namespace


def end_processes(namespaces: Iterable[Namespace]) -> None:
    """Kill the processes in the namespaces, which only our own tests can have started."""
    namespaces = list(namespaces)
    for pid, _ in processes_in(namespaces):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # Checked again: only now can the pid not be reused.
            if pid in dict(processes_in(namespaces)):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def _new_namespace() -> int:
    """Move the calling thread, which ends soon, into a new namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise error_for(ctypes.get_errno(), "create a network namespace")
    return os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
