"""Network namespaces: opened by reference, entered by a thread of their own.

See network_namespaces(7), setns(2) and ip-netns(8).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from snnet.contract import InvalidRequest
from snnet.contract.errors import shown

from .green import this_thread

NAMED = "/run/netns"
"""Where ``ip netns add`` keeps its namespaces."""

CURRENT = "/proc/thread-self/ns/net"
"""The namespace of the calling thread; /proc/self is that of the main thread."""

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h, ioctl_ns(2)
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14

T = TypeVar("T")


def open_netns(ref: str | os.PathLike[str] | int | None = None) -> int:
    """Return a new close-on-exec descriptor of the namespace ``ref``.

    ``ref`` is a name under /run/netns, a path, a descriptor (which the caller keeps), or
    None for the namespace of the calling thread.  Raise ``InvalidRequest`` if it is not a
    network namespace.
    """
    if ref in ("", ".", ".."):
        raise _not_a_netns(ref)
    fd = _open(ref)
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:  # ENOTTY: not a file of nsfs
        kind = 0
    if kind != _CLONE_NEWNET:
        os.close(fd)
        raise _not_a_netns(ref)
    return fd


def new_netns() -> int:
    """Return a close-on-exec descriptor of a new network namespace.

    Nobody else sees it, and it ends with the descriptor.  Raise ``PermissionError`` without
    CAP_SYS_ADMIN.
    """
    results: list[int | OSError] = []
    caller = this_thread()

    def unshare_and_open() -> None:
        try:
            with _home_again(caller):
                _libc_call("unshare", _CLONE_NEWNET)
                results.append(open_netns())
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=unshare_and_open, name="snnet-new-netns")
    thread.start()
    thread.join()
    result = results.pop()
    if isinstance(result, OSError):
        raise result
    return result


def netns_id(fd: int) -> str:
    """Return device and inode of the namespace: equal for equal namespaces.

    The kernel may reuse the number for a later namespace.
    """
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def netns_cookie(fd: int) -> int:
    """Return a number that, unlike the inode, is never reused; 0 on old kernels."""

    def ask() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            raw = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        return int.from_bytes(raw, sys.byteorder)

    try:
        return in_netns(fd, ask)
    except OSError:
        return 0


def is_current(fd: int) -> bool:
    """Whether the calling thread is in the namespace."""
    return os.path.samestat(os.fstat(fd), os.stat(CURRENT))


def in_netns(fd: int, function: Callable[[], T]) -> T:
    """Return what ``function`` returns when called inside the namespace.

    It runs in a short-lived thread, so that the caller's namespace never changes.  If the
    caller is in the namespace already, no thread is needed.  Processes that it starts and
    sockets that it opens belong to the namespace.  Its exceptions are raised here.  An
    interrupt waits for its end.

    With patches of gevent or eventlet threads are not the kernel's: the caller's own thread
    goes there and comes back, and ``function`` must not let other code run meanwhile.
    """
    if is_current(fd):
        return function()
    results: list[T] = []
    errors: list[BaseException] = []
    caller = this_thread()

    def enter_and_call() -> None:
        try:
            with _home_again(caller):
                _setns(fd)
                results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_call, name="snnet-in-netns")
    try:
        thread.start()
        thread.join()
    except BaseException:
        # It must not go on behind the back of a caller who undoes its work.
        while thread.is_alive():
            thread.join()
        raise
    if errors:
        # Else the cycle error -> traceback -> frame -> list would stay alive.
        raise errors.pop()
    return results.pop()


@contextlib.contextmanager
def _home_again(caller: str) -> Iterator[None]:
    """If this is the caller's own thread, bring it back to its namespace afterwards."""
    if this_thread() != caller:
        yield
        return
    home = open_netns()
    try:
        yield
    finally:
        _setns(home)
        os.close(home)


def _open(ref: str | os.PathLike[str] | int | None) -> int:
    try:
        if isinstance(ref, int) and not isinstance(ref, bool):
            return fcntl.fcntl(ref, fcntl.F_DUPFD_CLOEXEC, 0)
        if ref is None or isinstance(ref, (str, os.PathLike)):
            # O_NONBLOCK: opening a FIFO by mistake must not block.
            return os.open(_path(ref), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = f" (create it: ip netns add {ref})" if _is_name(ref) else ""
        raise InvalidRequest(
            f"cannot open network namespace {shown(ref)}: {reason}{hint}", field="netns"
        ) from error
    raise InvalidRequest(
        f"expected a name, a path or a file descriptor, got {type(ref).__name__}", field="netns"
    )


def _path(ref: str | os.PathLike[str] | None) -> str:
    if ref is None:
        return CURRENT
    return f"{NAMED}/{ref}" if _is_name(ref) else os.fspath(ref)


def _not_a_netns(ref: object) -> InvalidRequest:
    return InvalidRequest(f"{shown(ref)} is not a network namespace", field="netns")


def _is_name(ref: object) -> bool:
    return isinstance(ref, str) and "/" not in ref


def _setns(fd: int) -> None:
    _libc_call("setns", fd, _CLONE_NEWNET)


def _libc_call(name: str, *arguments: int) -> None:
    import ctypes

    if _libc_function(name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}")


@functools.cache
def _libc_function(name: str) -> Callable[..., int]:
    # os.setns and os.unshare are new in Python 3.12; loading libc takes longer than the call.
    import ctypes

    function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    return function
