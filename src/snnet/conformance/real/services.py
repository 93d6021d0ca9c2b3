"""The answering side: every endpoint answers on one port, with its name and the source it saw.

There is no thread: questions are answered while a probe waits for its answer.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TypeVar

from snnet.conformance.endpoints import PORT, Endpoint
from snnet.conformance.rig import Answer
from snnet.system.namespaces import Namespace

from . import sctp

TRY = 0.15
"""Seconds to wait for a packet; between namespaces it takes about 0.1 ms."""

_IP_PKTINFO = 8  # linux/in.h
_TAG = 0x736E6E74
_PKTINFO = struct.Struct("=i4s4s")  # struct in_pktinfo, ip(7)
_PKTINFO6 = struct.Struct("=16si")  # struct in6_pktinfo, ipv6(7)

Control = tuple[int, int, bytes]
"""A control message: level, type, data."""

T = TypeVar("T")


class Services:
    """A listener for each protocol in each namespace."""

    def __init__(self, spaces: Mapping[Endpoint, Namespace]) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in spaces}
        self._selector = selectors.DefaultSelector()
        with ExitStack() as opened:
            opened.callback(self.close)
            for endpoint, space in spaces.items():
                for make, serve in (
                    (_tcp_listener, self._accept),
                    (_udp_listener, self._reply),
                    (_sctp_listener, self._acknowledge),
                ):
                    for family in (socket.AF_INET, socket.AF_INET6):
                        sock = space.call(lambda make=make, family=family: make(family))  # type: ignore[misc]
                        self._selector.register(sock, selectors.EVENT_READ, (serve, endpoint))
            opened.pop_all()

    def wait(
        self, sock: socket.socket, read: Callable[[], T | None], seconds: float = TRY
    ) -> T | None:
        """Call ``read`` whenever ``sock`` is readable; return its first result that is not None.

        Return None when the time is over or reading fails (connection refused).
        """
        end = time.monotonic() + seconds
        self._selector.register(sock, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                    if key.data is None:
                        found = read()
                        if found is not None:
                            return found
                    else:
                        serve, endpoint = key.data
                        serve(key.fileobj, endpoint)
                if time.monotonic() >= end:
                    return None
        except OSError:
            return None
        finally:
            self._selector.unregister(sock)

    def answer(self, text: bytes) -> Answer | None:
        """Parse the answer of one of our listeners."""
        name, _, source = text.decode().partition(" ")
        return Answer(self._endpoints[name], ip_address(source)) if source else None

    def close(self) -> None:
        """Close the listeners; may be repeated."""
        for key in list((self._selector.get_map() or {}).values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _accept(self, listener: socket.socket, endpoint: Endpoint) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return  # the client has gone
        with connection:
            connection.settimeout(TRY)
            try:
                connection.sendall(_answer_text(endpoint, peer[0]))
            except OSError:
                return

    def _reply(self, sock: socket.socket, endpoint: Endpoint) -> None:
        _, controls, _, peer = sock.recvmsg(2048, 256)
        _send_from(sock, _asked(controls), _answer_text(endpoint, peer[0]), peer)

    def _acknowledge(self, sock: socket.socket, endpoint: Endpoint) -> None:
        packet, controls, _, peer = sock.recvmsg(2048, 256)
        asked = sctp.parse(packet, headed=sock.family == socket.AF_INET)
        if asked is None or asked.chunk != sctp.INIT or asked.port != PORT:
            return
        text = _answer_text(endpoint, peer[0])
        answer = sctp.message(
            PORT, asked.source_port, sctp.INIT_ACK, tag=_TAG, to=asked.tag, cookie=text
        )
        _send_from(sock, _asked(controls), answer, (peer[0], 0))


def _answer_text(endpoint: Endpoint, source: str) -> bytes:
    return f"{endpoint.name} {source}".encode()


def _asked(controls: list[Control]) -> list[Control]:
    """Return what makes the answer come from the address that the question was sent to."""
    for level, kind, data in controls:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return [(level, kind, _PKTINFO.pack(0, _PKTINFO.unpack(data)[2], bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, _PKTINFO6.pack(_PKTINFO6.unpack(data)[0], 0))]
    return []


def _send_from(sock: socket.socket, own: list[Control], data: bytes, peer: tuple[str, int]) -> None:
    try:
        sock.sendmsg([data], own, 0, peer)
    except OSError:
        return  # dropped by the filter, or no route back: the same as lost


def _tcp_listener(family: int) -> socket.socket:
    sock = _listener(family, socket.SOCK_STREAM)
    sock.listen(16)
    return sock


def _udp_listener(family: int) -> socket.socket:
    return _listener(family, socket.SOCK_DGRAM)


def _sctp_listener(family: int) -> socket.socket:
    return _listener(family, socket.SOCK_RAW, sctp.PROTOCOL)


def _listener(family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a socket that hears questions, and to which of our addresses they were sent."""
    sock = socket.socket(family, kind, protocol)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    if kind != socket.SOCK_RAW:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", PORT))
    sock.setblocking(False)
    return sock
