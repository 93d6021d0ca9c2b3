"""Who reaches whom on the wire: real pings, connections and datagrams."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import TypeVar

from snnet.lab.probes import echo_request, icmp6_socket, icmp_socket
from snnet.system.netns import in_netns, open_netns
from snnet.system.process import run
from tests.ports import wait_for_link_local, wait_for_ports

from .hosts import OPEN, Host

T = TypeVar("T")
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_REPLY = {4: 0, 6: 129}


class Wire:
    """Places of a host from which one may ask, each with a server on the port ``OPEN``."""

    def __init__(self, host: Host) -> None:
        self._open = ExitStack()
        self.places: dict[str, int] = {
            "host": host.host.netns.fd,
            "outside": host.outside.fd,
            **{guest.link: guest.space.fd for guest in host.guests},
        }
        self._inside = [open_netns(name) for name in host.spaces]
        for fd in self._inside:
            self._open.callback(os.close, fd)
        self._selector = selectors.DefaultSelector()
        self._open.callback(self._selector.close)
        for place in self.places:
            for version in (4, 6):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    self._serve(place, version, kind)
        self._ended = False
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until all can send: bridges take frames, and addresses are not tried any more."""
        spaces = (*self.places.values(), *self._inside)
        wait_for_ports(*spaces)
        wait_for_link_local(*spaces)

    def call(self, place: str, function: Callable[[], T]) -> T:
        return in_netns(self.places[place], function)

    def _serve(self, place: str, version: int, kind: int) -> None:
        sock = self.call(place, lambda: socket.socket(_FAMILY[version], kind))
        self._open.callback(sock.close)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", OPEN))
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        self._selector.register(sock, selectors.EVENT_READ)

    def _answer(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with suppress(OSError):
                    if sock.type == socket.SOCK_DGRAM:
                        data, sender = sock.recvfrom(64)
                        sock.sendto(data, sender)
                    else:
                        connection, _ = sock.accept()
                        # The answer to a word of the client's: both directions carry data.
                        threading.Thread(target=_echo, args=(connection,), daemon=True).start()

    def forget(self) -> None:
        """Have everybody ask for their neighbours again."""
        for fd in (*self.places.values(), *self._inside):
            run(["ip", "neighbour", "flush", "all"], netns=fd, check=False)

    def reaches(
        self, place: str, target: str, protocol: str | None, port: int | None, patience: float
    ) -> bool:
        """Return whether an answer comes within so many seconds."""
        version = ip_address(target).version
        if protocol is None:
            return self.call(place, lambda: _ping(target, version, patience))
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        sock = self.call(place, lambda: socket.socket(_FAMILY[version], kind))
        with sock:
            sock.settimeout(patience)
            try:
                sock.connect((target, port))
                sock.send(b"hello")
                return sock.recv(64) == b"hello"
            except OSError:
                return False

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        self._open.close()


def _echo(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.settimeout(2)
        connection.send(connection.recv(64))


def _ping(target: str, version: int, patience: float) -> bool:
    sock = icmp_socket() if version == 4 else icmp6_socket()
    token, number = os.urandom(8), int.from_bytes(os.urandom(2)) or 1
    with sock:
        try:
            sock.sendto(echo_request(1, token, version, number), (target, 0))
        except OSError:
            return False
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                packet = sock.recv(2048)
            except OSError:
                return False
            body = packet if version == 6 else packet[4 * (packet[0] & 15) :]
            if body[0] == _REPLY[version] and body[8:16] == token:
                assert struct.unpack("!H", body[4:6])[0] == number
                return True
    return False
