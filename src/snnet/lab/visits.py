"""Visits by TCP between guests and the internet, with an eye on both ends.

Whoever listens tells each visitor who he is and where he saw him come from.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address

from snnet.system.namespaces import Namespace

from .lab import Welcome
from .scenario import Visit

_PATIENCE = 8.0
"""Seconds until a visitor who should be answered gives up; TCP asks again after 1 and 3."""
_QUIET = 0.4
"""Seconds to wait on once all that shall answer has answered: for those that must not."""


class Visits:
    """Listening sockets in namespaces.  A context manager: it closes them."""

    def __init__(self, places: Mapping[str, tuple[Namespace, int]]) -> None:
        self._places = places
        self._open = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._open.callback(self._selector.close)
        with ExitStack() as opened:
            opened.callback(self._open.close)
            for name, (namespace, port) in places.items():
                listener = self._open.enter_context(namespace.call(_socket))
                listener.bind(("", port))
                listener.listen(64)
                self._selector.register(listener, selectors.EVENT_READ, name)
            opened.pop_all()

    def make(self, visits: Sequence[Visit]) -> list[Welcome | None]:
        """Make all visits at once; who answered each."""
        found: list[Welcome | None] = [None] * len(visits)
        for number, visit in enumerate(visits):
            self._set_out(number, visit)
        waiting = {number for number, visit in enumerate(visits) if visit.host is not None}
        end = time.monotonic() + _PATIENCE
        while waiting and time.monotonic() < end:
            self._look(end, found)
            waiting -= {number for number in waiting if found[number] is not None}
        end = time.monotonic() + _QUIET
        while time.monotonic() < end:
            self._look(end, found)
        return found

    def _set_out(self, number: int, visit: Visit) -> None:
        namespace, _ = self._places[visit.visitor]
        visitor = self._open.enter_context(namespace.call(_socket))
        code = visitor.connect_ex((str(visit.address), visit.port))
        if code in (0, errno.EINPROGRESS):
            self._selector.register(visitor, selectors.EVENT_READ, number)

    def _look(self, end: float, found: list[Welcome | None]) -> None:
        for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if isinstance(key.data, str):
                _welcome(sock, key.data)
                continue
            self._selector.unregister(sock)
            try:
                host, _, seen_as = sock.recv(200).decode().partition(" ")
            except OSError:  # refused, or no way there
                continue
            if seen_as:
                found[key.data] = Welcome(host, IPv4Address(seen_as))

    def __enter__(self) -> Visits:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _welcome(listener: socket.socket, name: str) -> None:
    try:
        visitor, (address, _) = listener.accept()
    except OSError:  # he has left already
        return
    with visitor:
        visitor.sendall(f"{name} {address}".encode())


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock
