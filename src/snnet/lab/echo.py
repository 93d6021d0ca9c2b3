"""Pings between guests, with an eye on both ends.

A raw ICMP socket in each guest's namespace sees every echo request and reply
that its kernel gets.  A request carries a token for its sender and its
target, which the reply brings back.  So it shows who heard whom, even where
guests of different tenants have the same address.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address

from snnet.system.namespaces import Namespace

Pair = tuple[str, str]
"""A sender and its target, by name."""

_ECHO_REPLY, _ECHO = 0, 8  # RFC 792
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_TOKEN = struct.Struct("!16sHH")  # of this run; sender, target
_BURST = 32
"""Requests sent before the answers are looked at, so that no queue overflows."""


class Echoes:
    """A raw ICMP socket in each guest.

    ``requested``: pairs whose target got the request.  ``answered``: pairs
    whose sender got the reply.  A context manager: it closes the sockets.
    """

    def __init__(self, guests: Mapping[str, Namespace]) -> None:
        self.requested: set[Pair] = set()
        self.answered: set[Pair] = set()
        self._names = list(guests)
        self._run = os.urandom(16)
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        with ExitStack() as opened:
            opened.callback(self.close)
            for name, namespace in guests.items():
                self._sockets[name] = sock = namespace.call(_icmp_socket)
                self._selector.register(sock, selectors.EVENT_READ, name)
            opened.pop_all()

    @property
    def reached(self) -> set[Pair]:
        """Pairs whose target got the request and whose sender got the answer."""
        return self.requested & self.answered

    def send(self, pairs: Collection[Pair], addresses: Mapping[str, IPv4Address]) -> None:
        """Send one request for each pair; one that cannot leave is lost."""
        for number, (sender, target) in enumerate(pairs, 1):
            token = _TOKEN.pack(self._run, self._names.index(sender), self._names.index(target))
            try:
                self._sockets[sender].sendto(_request(number, token), (str(addresses[target]), 0))
            except OSError:
                continue  # no route: this guest has no lease
            if number % _BURST == 0:
                self.listen(0)

    def listen(self, seconds: float, enough: Collection[Pair] | None = None) -> bool:
        """Take in what comes within so many seconds; True as soon as ``enough`` are reached."""
        end = time.monotonic() + seconds
        while True:
            for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                self._hear(key.data)
            if enough is not None and self.reached.issuperset(enough):
                return True
            if time.monotonic() >= end:
                return False

    def _hear(self, hearer: str) -> None:
        try:
            packet = self._sockets[hearer].recv(65536)
        except BlockingIOError:
            return
        message = packet[4 * (packet[0] & 0x0F) :]  # after the IP header
        if len(message) != _ICMP.size + _TOKEN.size:
            return
        run, sender_number, target_number = _TOKEN.unpack_from(message, _ICMP.size)
        if run != self._run:
            return
        sender, target = self._names[sender_number], self._names[target_number]
        if message[0] == _ECHO and hearer == target:
            self.requested.add((sender, target))
        elif message[0] == _ECHO_REPLY and hearer == sender:
            self.answered.add((sender, target))

    def close(self) -> None:
        """Close the sockets; may be repeated."""
        self._selector.close()
        for sock in self._sockets.values():
            sock.close()

    def __enter__(self) -> Echoes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _icmp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    return sock


def _request(sequence: int, token: bytes) -> bytes:
    identifier = os.getpid() & 0xFFFF
    header = _ICMP.pack(_ECHO, 0, 0, identifier, sequence)
    return _ICMP.pack(_ECHO, 0, _checksum(header + token), identifier, sequence) + token


def _checksum(message: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
