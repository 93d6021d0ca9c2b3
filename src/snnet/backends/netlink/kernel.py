"""Requests to the kernel: what is asked, in rtnetlink(7)'s words, and how it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any

from snnet.system.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Netlink

from . import encoder
from .encoder import Encoder, Field, Layout

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

# linux/netlink.h
REPLACE, EXCLUSIVE, CREATE, ECHO = 0x100, 0x200, 0x400, 0x8

_ATTRIBUTE = Struct("=HH")  # struct nlattr: length, number
_NUMBER = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_LAYOUTS: tuple[Layout, ...] = (
    encoder.LINK,
    encoder.ADDRESS,
    encoder.ROUTE,
    encoder.NEIGHBOUR,
)

Values = Mapping[Field, Any]


class Kernel:
    """The kernel's tables of one network namespace.  Every method raises ``NetlinkError``."""

    def __init__(self, netns: int) -> None:
        self.netns = netns
        self._netlink = Netlink(netns)
        self._encoder = Encoder()
        self.index = self._netlink.index
        self.name = self._netlink.name
        self.send = self._netlink.request
        self.close = self._netlink.close

    def message(self, kind: int, values: Values, flags: int = 0) -> bytearray:
        """A request of this kind (an RTM_ constant) that asks for an ack, ready to be sent."""
        layout = _LAYOUTS[kind - RTM_NEWLINK >> 2]  # four kinds to a layout
        return self._encoder.message(layout, kind, flags | NLM_F_REQUEST | NLM_F_ACK, values)

    def ask(self, kind: int, values: Values, flags: int = 0) -> list[bytes]:
        """Make the request and send it; what came back before the ack."""
        return self.send(self.message(kind, values, flags))

    def dump(self, kind: int, values: Values) -> list[bytes]:
        """Everything in a table that the kernel's own filters let through."""
        return self._netlink.dump(self.message(kind, values, NLM_F_DUMP))


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from ``offset`` to the end, by number, still as bytes."""
    found: dict[int, bytes] = {}
    end = len(message) - 3
    header = _ATTRIBUTE.unpack_from
    while offset < end:
        size, number = header(message, offset)
        found[number & _NUMBER] = message[offset + 4 : offset + size]
        offset += (size + 3 & ~3) or 4  # on the way, whatever a broken message says
    return found


def text(value: bytes) -> str:
    """A string attribute: up to its NUL."""
    return value.split(b"\0", 1)[0].decode(errors="replace")
