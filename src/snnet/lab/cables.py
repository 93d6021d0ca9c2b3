"""Cables between a VM and its VNIC: frames copied from one descriptor to another.

A real VM does the same: what the guest sends leaves by the descriptor of a
tap or macvtap, what comes in there goes to the guest.
"""

from __future__ import annotations

import os
import select
import threading

_FRAME = 65536 + 22
"""Bytes of the longest frame: an IP packet of 64 KiB and an Ethernet header with two tags."""
_BURST = 64
"""Frames taken from one end before the others get their turn."""


class Cables:
    """Pairs of tap descriptors, and one thread that copies frames between them.

    It owns the descriptors; ``close()`` ends the thread and closes them.
    """

    def __init__(self) -> None:
        self._other: dict[int, int] = {}
        self._poll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._thread = threading.Thread(target=self._copy, name="snnet-cables", daemon=True)
        self._thread.start()

    def join(self, one: int, other: int) -> None:
        """Lay a cable between two descriptors, each giving and taking whole frames."""
        self._other[one], self._other[other] = other, one
        for fd in (one, other):
            os.set_blocking(fd, False)
        for fd in (one, other):
            self._poll.register(fd, select.EPOLLIN)

    def close(self) -> None:
        """Unplug everything; may be repeated."""
        if self._thread.is_alive():
            os.eventfd_write(self._end, 1)
            self._thread.join()
            self._poll.close()
            os.close(self._end)
        while self._other:
            os.close(self._other.popitem()[0])

    def _copy(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._end:
                    return
                self._pass_on(fd, self._other[fd])

    def _pass_on(self, source: int, target: int) -> None:
        for _ in range(_BURST):
            try:
                frame = os.read(source, _FRAME)
            except BlockingIOError:
                return
            except OSError:
                # Its link was deleted: nothing will ever come from there.
                self._poll.unregister(source)
                return
            try:
                os.write(target, frame)
            except OSError:
                continue  # as on any wire: a frame for a link that is down is lost
