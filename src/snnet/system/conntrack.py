"""Connections that the kernel tracks, and making it forget some (conntrack(8)).

See net/netfilter/nf_conntrack_netlink.c and linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import closing
from ipaddress import IPv4Address
from typing import NamedTuple

from .netlink import NetlinkError
from .nfnetlink import Nfnetlink, attribute, attributes

_CTNETLINK = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST = 1, 2
_PROTO_NUM, _DST_PORT = 1, 3
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


class Match(NamedTuple):
    """Which IPv4 connections are meant; None stands for any.

    ``original_source``, ``original_destination`` and ``original_port`` are who asks
    and what was asked for, before NAT; ``reply_source`` is who answers, the destination after NAT, and
    ``reply_destination`` whom they answer, the source after NAT.
    """

    protocol: str | None = None
    original_destination: IPv4Address | None = None
    original_port: int | None = None
    reply_source: IPv4Address | None = None
    reply_destination: IPv4Address | None = None
    original_source: IPv4Address | None = None


class _Connection(NamedTuple):
    protocol: int
    source: bytes
    destination: bytes
    port: int
    answering: bytes
    answered: bytes
    identity: bytes
    """The attributes that name it to the kernel."""


def forget(netns: int, matches: Iterable[Match]) -> int:
    """Make the kernel forget every connection that fits one of the matches.

    Their next packets are looked at anew, as those of new connections.  Gives back
    how many there were.  Costs one listing of the namespace's connections, however
    many matches.  Raises ``NetlinkError`` where the kernel does not list them.
    """
    tests = [_Test(match) for match in matches]
    if not tests:
        return 0
    count = 0
    with closing(Nfnetlink(netns, _CTNETLINK)) as kernel:
        for message in kernel.dump(_GET, family=socket.AF_INET):
            connection = _parse(message)
            if connection is None or not any(test.fits(connection) for test in tests):
                continue
            try:
                kernel.ask(_DELETE, connection.identity)
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it ended by itself
                    raise
            count += 1
    return count


class _Test:
    """A match in the terms of what the kernel tells."""

    def __init__(self, match: Match) -> None:
        self._protocol = None if match.protocol is None else _NUMBERS[match.protocol]
        self._source = _packed(match.original_source)
        self._destination = _packed(match.original_destination)
        self._port = match.original_port
        self._answering = _packed(match.reply_source)
        self._answered = _packed(match.reply_destination)

    def fits(self, connection: _Connection) -> bool:
        return (
            self._protocol in (None, connection.protocol)
            and self._source in (None, connection.source)
            and self._destination in (None, connection.destination)
            and self._port in (None, connection.port)
            and self._answering in (None, connection.answering)
            and self._answered in (None, connection.answered)
        )


def _packed(address: IPv4Address | None) -> bytes | None:
    return None if address is None else address.packed


def _parse(message: bytes) -> _Connection | None:
    found = dict(attributes(message))
    original = dict(attributes(found.get(_TUPLE_ORIG, b"")))
    reply = dict(attributes(found.get(_TUPLE_REPLY, b"")))
    addresses = dict(attributes(original.get(_TUPLE_IP, b"")))
    protocol = dict(attributes(original.get(_TUPLE_PROTO, b"")))
    answering = dict(attributes(reply.get(_TUPLE_IP, b"")))
    if _V4_DST not in addresses or _V4_SRC not in answering or _PROTO_NUM not in protocol:
        return None
    identity = attribute(_TUPLE_ORIG, found[_TUPLE_ORIG], nested=True)
    for kind in (_ID, _ZONE):
        if kind in found:
            identity += attribute(kind, found[kind])
    return _Connection(
        protocol[_PROTO_NUM][0],
        addresses.get(_V4_SRC, b""),
        addresses[_V4_DST],
        int.from_bytes(protocol.get(_DST_PORT, b""), "big"),
        answering[_V4_SRC],
        answering.get(_V4_DST, b""),
        identity,
    )
