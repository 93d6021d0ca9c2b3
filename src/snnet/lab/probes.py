"""Pings and TCP connections between namespaces, observed at both ends.

Guests of different tenants may have the same address, so an answer alone does not
show who was reached.  A raw ICMP socket in each guest's namespace sees every echo
request and reply that the guest's kernel receives; each request carries a token that
names its sender and its target.  A TCP listener sends its own name and the source
address it saw.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address

from snnet.contract import IPAddress
from snnet.system.namespaces import Namespace

from .lab import Answer
from .scenario import Connection

Pair = tuple[str, str]
"""A sender and its target, by name."""

_ECHOES = {4: (8, 0), 6: (128, 129)}
"""By IP version, the types of an echo request and reply (RFC 792; RFC 4443, 4)."""
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_TOKEN = struct.Struct("!16sHH")  # of this run; sender, target
_BURST = 32
"""Requests to send before reading answers, so that no queue overflows."""

_CONNECT_TIMEOUT = 8.0
"""Seconds to wait for an expected answer; TCP retries after 1 and 3 seconds."""
_SETTLE_TIME = 0.4
"""Seconds to keep listening after all expected answers, for answers that must not come."""


class Pings:
    """A raw ICMP socket of one IP version in each guest.

    ``requested``: pairs whose target received the request.  ``answered``: pairs
    whose sender received the reply.  A context manager that closes the sockets.
    """

    def __init__(self, guests: Mapping[str, Namespace], version: int = 4) -> None:
        self._version = version
        self.requested: set[Pair] = set()
        self.answered: set[Pair] = set()
        self._names = list(guests)
        self._run = os.urandom(16)
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        with ExitStack() as opened:
            opened.callback(self.close)
            for name, namespace in guests.items():
                self._sockets[name] = sock = namespace.call(_ICMP_SOCKETS[version])
                self._selector.register(sock, selectors.EVENT_READ, name)
            opened.pop_all()

    @property
    def reached(self) -> set[Pair]:
        """Pairs whose target received the request and whose sender received the reply."""
        return self.requested & self.answered

    def send(self, pairs: Collection[Pair], addresses: Mapping[str, IPAddress]) -> None:
        """Send one request for each pair; a request that cannot be sent counts as lost."""
        for number, (sender, target) in enumerate(pairs, 1):
            token = _TOKEN.pack(self._run, self._names.index(sender), self._names.index(target))
            try:
                self._sockets[sender].sendto(
                    echo_request(number, token, self._version), (str(addresses[target]), 0)
                )
            except OSError:
                continue  # no route: this guest has no lease
            if number % _BURST == 0:
                self.listen(0)

    def listen(self, seconds: float, enough: Collection[Pair] | None = None) -> bool:
        """Receive for up to ``seconds``; return True as soon as ``enough`` are reached."""
        end = time.monotonic() + seconds
        while True:
            for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                self._receive(key.data)
            if enough is not None and self.reached.issuperset(enough):
                return True
            if time.monotonic() >= end:
                return False

    def _receive(self, receiver: str) -> None:
        try:
            packet = self._sockets[receiver].recv(65536)
        except BlockingIOError:
            return
        # After the IP header, which a socket of IPv6 does not deliver.
        message = packet[4 * (packet[0] & 0x0F) :] if self._version == 4 else packet
        if len(message) != _ICMP.size + _TOKEN.size:
            return
        run, sender_number, target_number = _TOKEN.unpack_from(message, _ICMP.size)
        if run != self._run:
            return
        sender, target = self._names[sender_number], self._names[target_number]
        request, reply = _ECHOES[self._version]
        if message[0] == request and receiver == target:
            self.requested.add((sender, target))
        elif message[0] == reply and receiver == sender:
            self.answered.add((sender, target))

    def close(self) -> None:
        """Close the sockets; may be repeated."""
        self._selector.close()
        for sock in self._sockets.values():
            sock.close()

    def __enter__(self) -> Pings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def icmp_socket() -> socket.socket:
    """A non-blocking raw ICMP socket in the caller's network namespace."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    return sock


def icmp6_socket() -> socket.socket:
    """A non-blocking raw ICMPv6 socket; the kernel computes its checksums (RFC 3542, 3.1)."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setblocking(False)
    return sock


_ICMP_SOCKETS = {4: icmp_socket, 6: icmp6_socket}


def echo_request(
    sequence: int, token: bytes, version: int = 4, identifier: int | None = None
) -> bytes:
    """An ICMP echo request with this payload, which has an even length.

    Its identifier is by default that of the process.
    """
    identifier = os.getpid() & 0xFFFF if identifier is None else identifier
    echo, _ = _ECHOES[version]
    header = _ICMP.pack(echo, 0, 0, identifier, sequence)
    checksum = _checksum(header + token) if version == 4 else 0
    return _ICMP.pack(echo, 0, checksum, identifier, sequence) + token


def _checksum(message: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Servers:
    """A TCP listener of each family in each namespace, on each of its ports.

    A context manager that closes the listeners and the connections made to them.
    """

    def __init__(self, places: Mapping[str, tuple[Namespace, Collection[int]]]) -> None:
        self._places = places
        self._open = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._open.callback(self._selector.close)
        with ExitStack() as opened:
            opened.callback(self._open.close)
            for name, (namespace, ports) in places.items():
                for port in ports:
                    for listener in namespace.call(_listeners):
                        self._open.enter_context(listener)
                        listener.bind(("", port))
                        listener.listen(64)
                        self._selector.register(listener, selectors.EVENT_READ, name)
            opened.pop_all()

    def connect(self, connections: Sequence[Connection]) -> list[Answer | None]:
        """Open all connections at once; return who answered each."""
        answers: list[Answer | None] = [None] * len(connections)
        for number, connection in enumerate(connections):
            self._open_connection(number, connection)
        waiting = {number for number, each in enumerate(connections) if each.server is not None}
        end = time.monotonic() + _CONNECT_TIMEOUT
        while waiting and time.monotonic() < end:
            self._receive(end, answers)
            waiting -= {number for number in waiting if answers[number] is not None}
        end = time.monotonic() + _SETTLE_TIME
        while time.monotonic() < end:
            self._receive(end, answers)
        return answers

    def _open_connection(self, number: int, connection: Connection) -> None:
        namespace, _ = self._places[connection.client]
        make = _tcp_socket if connection.address.version == 4 else _tcp6_socket
        sock = self._open.enter_context(namespace.call(make))
        code = sock.connect_ex((str(connection.address), connection.port))
        if code in (0, errno.EINPROGRESS):
            self._selector.register(sock, selectors.EVENT_READ, number)

    def _receive(self, end: float, answers: list[Answer | None]) -> None:
        for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if isinstance(key.data, str):
                _accept(sock, key.data)
                continue
            self._selector.unregister(sock)
            try:
                server, _, source = sock.recv(200).decode().partition(" ")
            except OSError:  # refused, or no route
                continue
            if source:
                answers[key.data] = Answer(server, ip_address(source))

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _accept(listener: socket.socket, name: str) -> None:
    try:
        client, (address, *_) = listener.accept()
    except OSError:  # the client has closed the connection already
        return
    with client:
        client.sendall(f"{name} {address}".encode())


def _tcp_socket(family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _listeners() -> list[socket.socket]:
    """One of each family that the kernel has."""
    found = [_tcp_socket()]
    with suppress(OSError):
        found.append(_tcp6_socket())
    return found


def _tcp6_socket() -> socket.socket:
    sock = _tcp_socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock
