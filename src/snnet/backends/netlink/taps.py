"""Taps: created through /dev/net/tun, completed by one netlink message.

See Documentation/networking/tuntap.rst and drivers/net/tun.c.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from struct import Struct

from snnet.backends.linux import TUN
from snnet.contract import NAME_MAX, Tap
from snnet.system.netlink import NetlinkError
from snnet.system.netns import in_netns, is_current

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_IFREQ = Struct("=16sH22x")

_STOCK = 8


class TapMaker:
    """Creates taps in one network namespace, for any number of threads.

    A tun file belongs to the namespace of the task that opened it.  If that is not the
    caller's namespace, a thread enters it and opens a few files at once, because
    starting the thread takes longer than everything else.
    """

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._pid = os.getpid()
        self._stock: list[int] = []

    def make(self, tap: Tap, finish: Callable[[], object]) -> tuple[int, ...]:
        """Create a persistent tap; return one descriptor for each queue if there are several.

        ``finish`` sets everything else.  If it raises, there is no tap: only the last
        step makes the tap persistent.  Raises ``OSError``, with EEXIST if a link of
        that name exists.

        A tap with one queue can be opened with IFF_VNET_HDR or without: the flags of
        the program that opens it apply.  IFF_MULTI_QUEUE must be as at creation.
        """
        several = tap.multi_queue or tap.queues > 1
        flags = _IFF_TAP | _IFF_NO_PI
        if several:
            flags |= _IFF_MULTI_QUEUE | _IFF_VNET_HDR
        fds: list[int] = []
        try:
            self._attach(tap.name, flags | _IFF_TUN_EXCL, fds)
            if tap.user is not None:  # before anything else: every user may join until then
                fcntl.ioctl(fds[0], _TUNSETOWNER, tap.user)
            finish()
            for _ in range(tap.queues - 1):
                self._attach(tap.name, flags, fds)
            fcntl.ioctl(fds[0], _TUNSETPERSIST, 1)
            if tap.queues > 1:
                handed, fds = tuple(fds), []
                return handed
        finally:
            for fd in fds:
                os.close(fd)
        return ()

    def close(self) -> None:
        """Close the files in stock.  May be called again."""
        while self._stock:
            os.close(self._stock.pop())

    def _attach(self, name: str, flags: int, fds: list[int]) -> None:
        """Open one more queue of the tap, and add its descriptor."""
        fds.append(fd := self._open())
        raw = name.encode()
        if not raw or len(raw) > NAME_MAX or b"\0" in raw or b"%" in raw:
            number = errno.ERANGE if len(raw) > NAME_MAX else errno.EINVAL
            raise NetlinkError(number, f"{name!r} is not a name for a link")
        try:
            fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(raw, flags))
        except OSError as error:
            if error.errno == errno.EBUSY and flags & _IFF_TUN_EXCL:
                # tun_set_iff reports an existing tap as busy.
                raise NetlinkError(errno.EEXIST) from error
            raise

    def _open(self) -> int:
        if is_current(self._netns):
            return _open_tun()
        if self._pid != os.getpid():
            self.close()  # after a fork: parent and child would share one tap
            self._pid = os.getpid()
        try:
            return self._stock.pop()
        except IndexError:
            pass
        first, *others = in_netns(self._netns, _open_several)
        self._stock += others
        return first


def _open_tun() -> int:
    return os.open(TUN, os.O_RDWR | os.O_CLOEXEC)


def _open_several() -> list[int]:
    fds = [_open_tun()]
    with contextlib.suppress(OSError):  # one is enough
        fds += [_open_tun() for _ in range(_STOCK - 1)]
    return fds
