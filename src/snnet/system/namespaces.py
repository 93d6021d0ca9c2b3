"""Network namespaces without a name: they vanish with the process that holds them."""

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
    """A new network namespace, there for as long as our descriptor or a process in it.

    Raises ``Denied`` for those who may not make one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        """What it stands for, for messages; the kernel does not know it."""
        with ThreadPoolExecutor(1) as thread:
            self.fd = thread.submit(_new_namespace).result()
        self.id = netns_id(self.fd)

    @property
    def path(self) -> str:
        """A path for programs to open it by while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns when called inside."""
        return in_netns(self.fd, function)

    def ip(self, commands: Iterable[str]) -> None:
        """Carry out ``ip`` commands inside, all by one process; the first error ends it."""
        run(["ip", "-batch", "-"], input="\n".join(commands) + "\n", netns=self.fd, timeout=30)

    def close(self) -> None:
        """Let go of it; may be repeated."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def processes_in(namespaces: Iterable[Namespace]) -> Iterator[tuple[int, Namespace]]:
    """Every other process whose main thread is in one of the namespaces, by pid."""
    wanted = {namespace.id: namespace for namespace in namespaces}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            status = os.stat(entry / "ns" / "net")
        except OSError:  # it has just ended, or we may not look
            continue
        namespace = wanted.get(f"{status.st_dev}:{status.st_ino}")
        if namespace is not None:
            yield int(entry.name), namespace


def end_processes(namespaces: Iterable[Namespace]) -> None:
    """Kill what runs in the namespaces: they are ours, so nobody else's can be there."""
    namespaces = list(namespaces)
    for pid, _ in processes_in(namespaces):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # Looked at again, for only now the number cannot change hands.
            if pid in dict(processes_in(namespaces)):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def _new_namespace() -> int:
    """Move the calling thread, which is to end soon, into a new namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise error_for(ctypes.get_errno(), "make a network namespace")
    return os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
