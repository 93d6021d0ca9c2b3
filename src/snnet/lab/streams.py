"""Pings that go on while something is broken: how many were lost, and for how long."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from snnet.contract import IPAddress
from snnet.system.namespaces import Namespace

from .probes import echo_request, icmp_socket

INTERVAL = 0.05
"""Seconds between two pings of a stream."""

_ECHO = struct.Struct("!4xHH")
"""Identifier and number of a message (RFC 792)."""

_REPLY = 0  # RFC 792


@dataclass(slots=True)
class Stream:
    """Pings from one guest to one address of IPv4, one each ``INTERVAL``."""

    source: str
    target: str
    space: Namespace
    address: IPAddress
    tenant: str
    sent: list[float] = field(default_factory=list)
    """When each ping was sent, by time.monotonic()."""
    answered: set[int] = field(default_factory=set)
    """The numbers of those that were answered."""

    def lost(self, after: float) -> int:
        """How many pings since a time were lost, before the last that was answered."""
        last = max(self.answered, default=-1)
        numbers = range(last + 1)
        return sum(1 for n in numbers if self.sent[n] >= after and n not in self.answered)

    def silence(self, after: float) -> float:
        """The longest time, in seconds, between two pings in a row that were answered."""
        times = [self.sent[n] for n in sorted(self.answered) if self.sent[n] >= after]
        before = [self.sent[n] for n in self.answered if self.sent[n] < after]
        times = [max(before, default=after), *times]
        return max((later - one for one, later in pairwise(times)), default=0.0)

    def answers_since(self, moment: float) -> int:
        """How many of the pings that were sent since a time are answered."""
        return sum(1 for n in self.answered if self.sent[n] >= moment)

    def to_dict(self, after: float) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "from": self.source,
            "to": self.target,
            "tenant": self.tenant,
            "sent": len(self.sent),
            "lost": self.lost(after),
            "longest_silence_seconds": round(self.silence(after), 3),
        }


class Streams:
    """Sends all streams at once, in a thread; a context manager that ends it."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = streams
        self._token = os.urandom(16)
        self._over = threading.Event()
        self._sockets: dict[socket.socket, Stream] = {}
        self._identifiers: dict[socket.socket, int] = {}
        self._thread = threading.Thread(target=self._run, name="snnet-pings")

    def __enter__(self) -> Streams:
        try:
            for identifier, stream in enumerate(self.streams, 1):
                sock = stream.space.call(icmp_socket)
                self._sockets[sock], self._identifiers[sock] = stream, identifier
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            for sock, stream in self._sockets.items():
                self._send(sock, stream)
            due = max(due + INTERVAL, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                self._receive(left)

    def _send(self, sock: socket.socket, stream: Stream) -> None:
        identifier, number = self._identifiers[sock], len(stream.sent) & 0xFFFF
        message = echo_request(number, self._token, identifier=identifier)
        stream.sent.append(time.monotonic())
        try:
            sock.sendto(message, (str(stream.address), 0))
        except OSError:
            return  # that one is lost

    def _receive(self, wait: float) -> None:
        readable, _, _ = select.select(list(self._sockets), [], [], wait)
        for sock in readable:
            try:
                packet = sock.recv(2048)
            except OSError:
                continue
            message = packet[4 * (packet[0] & 0x0F) :]
            if message[:1] == bytes([_REPLY]) and message[8:] == self._token:
                identifier, sequence = _ECHO.unpack_from(message)
                # Each socket of a guest receives the answers to all of the guest's streams.
                if identifier == self._identifiers[sock]:
                    self._sockets[sock].answered.add(sequence)
