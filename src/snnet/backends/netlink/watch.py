"""The stream of link events: a socket in the multicast group for links (rtnetlink(7))."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from struct import Struct

from snnet.contract import Exhausted, LinkEvent, Watch
from snnet.system.green import is_readable, never_waiting
from snnet.system.netns import in_netns

from .found import ParsedLink
from .kernel import RTM_DELLINK, RTM_NEWLINK

_RTMGRP_LINK = 1  # linux/rtnetlink.h
_HEADER = Struct("=IHHII")
_BUFFER = 1 << 16
_RECEIVE_BUFFER = 4 << 20
_AF_UNSPEC = 0
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h


class LinkWatch(Watch):
    """The link events of one network namespace since this was opened."""

    def __init__(self, netns: int) -> None:
        self._sock = in_netns(netns, _open)

    def read(self, timeout: float) -> list[LinkEvent]:
        deadline = time.monotonic() + timeout
        events: list[LinkEvent] = []
        while True:
            wait = 0.0 if events else max(deadline - time.monotonic(), 0.0)
            if not is_readable(self._sock.fileno(), wait):
                return events
            came = self._receive()
            events += came
            if not came and not events and time.monotonic() >= deadline:
                return events

    def close(self) -> None:
        self._sock.close()

    def _receive(self) -> list[LinkEvent]:
        try:
            data = self._sock.recv(_BUFFER)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            raise Exhausted(
                "link events were lost, because they arrived faster than they were read: "
                "take a new snapshot",
                errno=error.errno,
            ) from error
        return list(_events(data))


def _open() -> socket.socket:
    sock = never_waiting(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        with contextlib.suppress(PermissionError):  # beyond net.core.rmem_max
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        sock.bind((0, _RTMGRP_LINK))
    except BaseException:
        sock.close()
        raise
    return sock


def _events(data: bytes) -> list[LinkEvent]:
    events: list[LinkEvent] = []
    offset = 0
    while offset < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            found = ParsedLink.parse(data[offset : offset + length])
            # Events of bridge ports have the family AF_BRIDGE.
            if found.family == _AF_UNSPEC:
                events.append(LinkEvent(found.name, found.index, kind == RTM_DELLINK))
        offset += (length + 3 & ~3) or len(data)
    return events
