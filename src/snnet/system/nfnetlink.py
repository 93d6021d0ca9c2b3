"""Messages of netfilter's netlink: building them and reading their attributes.

See linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from itertools import accumulate
from socket import htons

from .netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Netlink

_HEADER = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, then struct nfgenmsg
_FLAGS, _FLAGS_AT = struct.Struct("=H"), 6
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END
_GENERATION = 1  # NFNL_BATCH_GENID
_ATTRIBUTE = struct.Struct("=HH")
NESTED = 0x8000  # NLA_F_NESTED, linux/netlink.h
_NUMBER = 0x3FFF
_PADDING = (b"", bytes(3), bytes(2), bytes(1))
Request = tuple[int, int, int, bytes]
"""Kind, flags, family and attributes of a message."""
NETFILTER = 12  # NETLINK_NETFILTER, which the socket module does not define


class Nfnetlink:
    """Requests to the netfilter subsystem ``subsystem`` of one network namespace."""

    def __init__(self, netns: int, subsystem: int) -> None:
        self._netlink = Netlink(netns, NETFILTER)
        self._kind = subsystem << 8
        self.close = self._netlink.close

    def ask(self, kind: int, attributes: bytes, family: int = socket.AF_INET) -> list[bytes]:
        """Return the attributes of every message before the ack.

        Raise ``NetlinkError`` if the kernel refuses.
        """
        message = self._message(kind, NLM_F_REQUEST | NLM_F_ACK, family, attributes)
        return _bodies(self._netlink.request(message))

    def look_up(self, kind: int, attributes: bytes, family: int = socket.AF_INET) -> bytes:
        """Return the attributes of the one message that answers a look-up.

        Raise ``NetlinkError`` if the kernel refuses.
        """
        message = self._message(kind, NLM_F_REQUEST, family, attributes)
        return self._netlink.look_up(message)[_HEADER.size :]

    def dump(self, kind: int, attributes: bytes = b"", family: int = 0) -> list[bytes]:
        """Return the attributes of all objects, or of those that fit ``attributes``."""
        message = self._message(kind, NLM_F_REQUEST | NLM_F_DUMP, family, attributes)
        return _bodies(self._netlink.dump(message))

    def transact(self, requests: Iterable[Request], *, generation: int | None = None) -> None:
        """Carry out requests in one transaction.

        Raise ``NetlinkError`` if the kernel refuses one, or if the ruleset is no longer that of
        ``generation`` (ERESTART); then none took effect.
        """
        self._netlink.request(*self.batch(requests, generation=generation))

    def batch(
        self, requests: Iterable[Request], *, generation: int | None = None
    ) -> tuple[bytearray, list[int]]:
        """Return the messages of one transaction, and where those begin that need a number."""
        resource = self._kind >> 8
        of = b"" if generation is None else attribute(_GENERATION, struct.pack("!I", generation))
        size = _HEADER.size + len(of)
        begin = _HEADER.pack(size, _BEGIN, NLM_F_REQUEST, 0, 0, 0, 0, htons(resource))
        parts = [bytearray(begin + of)]
        for kind, flags, family, attributes in requests:
            parts.append(self._message(kind, NLM_F_REQUEST | flags, family, attributes))
        # The acks come after the commit, and the errors before them.
        (flags,) = _FLAGS.unpack_from(parts[-1], _FLAGS_AT)
        _FLAGS.pack_into(parts[-1], _FLAGS_AT, flags | NLM_F_ACK)
        end = _HEADER.pack(_HEADER.size, _END, NLM_F_REQUEST, 0, 0, 0, 0, htons(resource))
        starts = [0, *accumulate(map(len, parts))]
        parts.append(bytearray(end))
        return bytearray(b"".join(parts)), starts

    def _message(self, kind: int, flags: int, family: int, attributes: bytes) -> bytearray:
        length = _HEADER.size + len(attributes)
        head = _HEADER.pack(length, self._kind | kind, flags, 0, 0, family, 0, 0)
        return bytearray(head + attributes)


def _bodies(messages: list[bytes]) -> list[bytes]:
    return [message[_HEADER.size :] for message in messages]


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """Return one attribute, padded to a multiple of four bytes."""
    size = len(value)
    head = _ATTRIBUTE.pack(4 + size, kind | NESTED if nested else kind)
    return head + value + _PADDING[size & 3]


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Return the attributes in ``data``: their numbers without flags, and their values."""
    found: list[tuple[int, bytes]] = []
    offset, last, unpack = 0, len(data) - _ATTRIBUTE.size, _ATTRIBUTE.unpack_from
    while offset <= last:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found.append((kind & _NUMBER, data[offset + 4 : offset + length]))
        offset += length + 3 & ~3
    return found
