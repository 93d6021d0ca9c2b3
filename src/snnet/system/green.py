"""Working beside gevent and eventlet, which replace parts of the standard library.

With their monkey patches ``threading.Thread`` starts no thread of the kernel's, and waiting for
a program or a descriptor lets other code run meanwhile.  What must not be so is here.
"""

from __future__ import annotations

import _thread
import functools
import importlib.util
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, ModuleType, SimpleNamespace
from typing import Any

_COPIED = ("_thread", "time", "select", "os", "selectors")
"""What :mod:`subprocess` imports and patches replace, in the order of their own imports."""

_PATCHED = (
    (_thread, "start_new_thread"),
    (os, "read"),
    (os, "waitpid"),
    (select, "select"),
    (time, "sleep"),
)
"""A function that each patch replaces: gevent and eventlet can patch any part alone."""


def unpatched(subprocess: ModuleType) -> Any:
    """Return the module, or a copy that no patch has changed: it lets nothing else run."""
    real = subprocess.Popen.__module__ == "subprocess" and all(
        isinstance(getattr(module, name), BuiltinFunctionType) for module, name in _PATCHED
    )
    return subprocess if real else _copy_of_subprocess()


def this_thread() -> str:
    """Return what tells the kernel's thread of the caller from others of the process."""
    return os.readlink("/proc/thread-self")


def is_readable(fd: int, seconds: float) -> bool:
    """Whether the descriptor is readable, or gets so within this time; waits as patches do."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    return bool(select.select([fd], [], [], seconds)[0])  # eventlet takes poll away


def never_waiting(family: int, kind: int, protocol: int) -> socket.socket:
    """Return a close-on-exec socket whose calls raise ``BlockingIOError`` rather than wait.

    SOCK_NONBLOCK would not do: a patched socket waits in Python, whatever the kernel says.
    """
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    sock.setblocking(False)
    return sock


@functools.cache
def _copy_of_subprocess() -> ModuleType:
    with _as_imported() as modules:
        for name in _COPIED:
            modules[name] = _copy(name)
        modules["threading"] = SimpleNamespace(Lock=modules["_thread"].allocate_lock)
        return _copy("subprocess")


def _copy(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _as_imported() -> Iterator[dict[str, Any]]:
    """Yield the imported modules, and put them back; nothing else runs meanwhile."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules.get(name) for name in (*_COPIED, "threading", "os.path")}
    try:
        yield modules
    finally:
        for name, module in before.items():
            if module is None:
                modules.pop(name, None)
            else:
                modules[name] = module
