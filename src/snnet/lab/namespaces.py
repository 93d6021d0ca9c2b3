"""Network namespaces without a name: they vanish with the process that holds them."""

from __future__ import annotations

import ctypes
import os
import threading

from snnet.contract import error_for
from snnet.system.netns import CURRENT, netns_id

_CLONE_NEWNET = 0x40000000  # linux/sched.h


class Namespace:
    """A new network namespace, there for as long as its descriptor or a process in it.

    Raises ``Denied`` for those who may not make one.
    """

    def __init__(self) -> None:
        self.fd = _in_thread(_new_namespace)
        self.id = netns_id(self.fd)

    @property
    def path(self) -> str:
        """A path for programs to open it by while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; may be repeated."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _new_namespace() -> int:
    """The caller's thread moves into a new namespace; a descriptor of that."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise error_for(ctypes.get_errno(), "make a network namespace")
    return os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(function: object) -> int:
    raise NotImplementedError
