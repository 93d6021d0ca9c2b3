"""Requests to the kernel (rtnetlink(7)): how they are built and sent."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import accumulate
from struct import Struct
from typing import Any

from snnet.contract import IPAddress
from snnet.system.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Netlink, NetlinkError

from . import encoder, layouts
from .encoder import Field

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

# linux/netlink.h
REPLACE, EXCLUSIVE, CREATE, ECHO = 0x100, 0x200, 0x400, 0x8

_FLAGS, _FLAGS_AT = Struct("=H"), 6  # of struct nlmsghdr

_NUMBER = 0x3FFF  # masks NLA_F_NESTED and NLA_F_NET_BYTEORDER of an attribute's type
ALL_ATTRIBUTES = range(1 << 16)

_LAYOUTS = (
    layouts.LINK,
    layouts.ADDRESS,
    layouts.ROUTE,
    layouts.NEIGHBOUR,
    layouts.RULE,
    layouts.TRAFFIC,  # disciplines
    layouts.TRAFFIC,  # classes, of which snnet has none
    layouts.TRAFFIC,  # filters
)

Values = Mapping[Field, Any]

FAMILIES = {4: Field("family", value=2), 6: Field("family", value=10)}
"""The header field for AF_INET and AF_INET6, by IP version."""


def by_family(path: str) -> dict[int, Field]:
    """Return the field for an address, by IP version."""
    return {4: Field(path, encoder.IP4), 6: Field(path, encoder.IP6)}


class Kernel:
    """The kernel's tables of one network namespace.  Every method may raise ``NetlinkError``."""

    def __init__(self, netns: int) -> None:
        self.netns = netns
        self._netlink = Netlink(netns)
        self.index = self._netlink.index
        self.name = self._netlink.name
        self.send = self._netlink.request
        self.close = self._netlink.close

    def message(self, kind: int, values: Values, flags: int = 0) -> bytearray:
        """Return a request of this kind (an RTM_ constant) with the flag for an ack."""
        layout = _LAYOUTS[kind - RTM_NEWLINK >> 2]  # each layout has four kinds
        return encoder.encode(layout, kind, flags | NLM_F_REQUEST | NLM_F_ACK, values)

    def ask(self, kind: int, values: Values, flags: int = 0) -> list[bytes]:
        """Send a request; return what came back before the ack."""
        return self.send(self.message(kind, values, flags))

    def look_up(self, kind: int, values: Values) -> bytes:
        """Send a request that one message answers; return that message."""
        layout = _LAYOUTS[kind - RTM_NEWLINK >> 2]
        return self._netlink.look_up(encoder.encode(layout, kind, NLM_F_REQUEST, values))

    def send_all(self, messages: Sequence[bytearray]) -> None:
        """Send several requests at once; raise for the first that the kernel refuses.

        It carries out the others all the same.  Only the last one is acknowledged.
        """
        for message in messages[:-1]:
            (flags,) = _FLAGS.unpack_from(message, _FLAGS_AT)
            _FLAGS.pack_into(message, _FLAGS_AT, flags & ~NLM_F_ACK)
        starts = [0, *accumulate(map(len, messages))][:-1]
        self.send(bytearray(b"".join(messages)), starts)

    def dump(self, kind: int, values: Values) -> list[bytes]:
        """Return everything in a table that matches the kernel's filters."""
        return self._netlink.dump(self.message(kind, values, NLM_F_DUMP))

    def names(self) -> Callable[[int], str | None]:
        """Return a cached look-up of names by index, for one listing; None for a deleted link."""

        @functools.cache
        def name(index: int) -> str | None:
            try:
                return self.name(index)
            except NetlinkError:
                return None

        return name


def attributes(
    message: bytes, offset: int = 0, wanted: Container[int] = ALL_ATTRIBUTES
) -> dict[int, bytes]:
    """Return the attributes from ``offset`` to the end, by number, as bytes.

    Another call reads nested ones.  This is the innermost loop of every listing; a
    view of 16-bit numbers is the fastest way in Python.
    """
    found: dict[int, bytes] = {}
    halves = memoryview(message).cast("H")
    at, end = offset >> 1, len(halves) - 1
    while at < end:
        size = halves[at]
        kind = halves[at + 1] & _NUMBER
        if kind in wanted:
            found[kind] = message[2 * at + 4 : 2 * at + size]
        at += size + 3 >> 2 << 1 or 2  # a broken message must not cause an endless loop
    return found


def number(value: bytes) -> int:
    """Return an unsigned integer in the machine's byte order; empty bytes are 0."""
    return int.from_bytes(value, sys.byteorder)


def ip(value: bytes) -> IPAddress:
    """Return an address; its length determines the family."""
    return IPv4Address(value) if len(value) == 4 else IPv6Address(value)


def text(value: bytes) -> str:
    """Return a string attribute without its NUL."""
    return value.split(b"\0", 1)[0].decode(errors="replace")
