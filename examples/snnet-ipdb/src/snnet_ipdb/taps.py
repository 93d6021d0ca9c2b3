"""Creating taps through /dev/net/tun (Documentation/networking/tuntap.rst).

IPDB can create them too (kind ``tuntap``), but it adopts a tap that exists, and makes a
tap persistent before anything else is set.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from struct import Struct

DEVICE = "/dev/net/tun"

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_TUN_EXCL = 0x8000
_IFREQ = Struct("=16sH22x")


def make_tap(name: str, finish: Callable[[int], None]) -> None:
    """Create a persistent tap in the calling thread's namespace, completely or not at all.

    ``finish`` receives the index and sets everything else.  Raises ``OSError``, with
    EEXIST if a link of that name exists.
    """
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.ioctl(
                fd, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL)
            )
        except OSError as error:
            if error.errno == errno.EBUSY:  # tun_set_iff reports an existing tap as busy
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            raise
        finish(socket.if_nametoindex(name))
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)  # until now, closing the descriptor removes the tap
    finally:
        os.close(fd)
