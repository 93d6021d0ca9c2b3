"""Refusals of the system at every call that is made below the drivers, and damaged answers.

Python tells audit hooks (PEP 578) of each file that is opened, each program, socket and
ioctl; an exception that a hook raises takes the place of the call.  What goes over netlink
is counted too.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snnet.system import netlink

ERRNOS = (
    errno.EPERM,
    errno.EIO,
    errno.ENOSPC,
    errno.EMFILE,
    errno.EACCES,
    errno.EROFS,
    errno.EINTR,
    errno.ETIMEDOUT,
)

_CALLS = ("open", "os.", "socket.", "subprocess.Popen", "fcntl.")
_NOT_OURS = (".py", ".pyc", ".so", ".zip", "entry_points.txt", "METADATA")


class Injector:
    """Counts calls, and refuses the one that was chosen."""

    def __init__(self) -> None:
        self.active = False
        self.count = 0
        self.chosen = 0
        self.number = 0
        self.hit = ""

    @contextmanager
    def refusing(self, at: int, number: int) -> Iterator[None]:
        """Refuse the ``at``-th call of the block with this errno."""
        self.count, self.chosen, self.number, self.hit = 0, at, number, ""
        self.active = True
        try:
            yield
        finally:
            self.active = False

    def call(self, what: str) -> None:
        if not self.active:
            return
        self.count += 1
        if self.count == self.chosen:
            self.hit = what
            raise OSError(self.number, os.strerror(self.number), "injected")

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or not event.startswith(_CALLS):
            return
        if event == "open" and str(arguments[0]).endswith(_NOT_OURS):
            return  # what Python itself imports
        self.call(f"{event} {arguments[:1]}")


_injector: list[Injector] = []


def injector() -> Injector:
    """The one injector of the process: an audit hook cannot be removed."""
    if not _injector:
        made = Injector()
        _injector.append(made)
        sys.addaudithook(made.audit)
        exchange, ioctl = netlink._Socket.exchange, netlink._Socket.ioctl

        def counted(self: netlink._Socket, *args: Any) -> list[bytes]:
            made.call("netlink")
            return exchange(self, *args)

        def counted_ioctl(self: netlink._Socket, request: int, argument: bytes) -> bytes:
            made.call("ioctl of a netlink socket")
            return ioctl(self, request, argument)

        netlink._Socket.exchange = counted  # type: ignore[method-assign, assignment]
        netlink._Socket.ioctl = counted_ioctl  # type: ignore[method-assign]
    return _injector[0]
