"""The first two messages of SCTP, by hand: many kernels have no SCTP sockets.

NAT and connection tracking only need INIT and INIT ACK (RFC 9260, 3.3.2 and 3.3.3).
The state cookie says which endpoint answered.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PROTOCOL = 132
INIT, INIT_ACK = 1, 2
_COOKIE = 7
_COMMON = struct.Struct("!HHI")  # ports, verification tag; then the checksum
_CHUNK = struct.Struct("!BBH")  # type, flags, length
_BODY = struct.Struct("!IIHHI")  # own tag, window, outbound and inbound streams, first TSN
_POLYNOMIAL = 0x82F63B78  # CRC32c, reflected


class Message(NamedTuple):
    source_port: int
    port: int
    chunk: int
    tag: int
    cookie: bytes


def message(
    source_port: int, port: int, chunk: int, *, tag: int, to: int = 0, cookie: bytes = b""
) -> bytes:
    """Return an INIT with our tag, or an INIT ACK to the peer's tag ``to``.

    An INIT has the verification tag 0 (RFC 9260, 8.5.1).
    """
    body = _BODY.pack(tag, 65536, 1, 1, 1)
    if cookie:
        body += struct.pack("!HH", _COOKIE, 4 + len(cookie)) + cookie
    header = _COMMON.pack(source_port, port, to)
    rest = _CHUNK.pack(chunk, 0, _CHUNK.size + len(body)) + body
    rest += bytes(-len(rest) % 4)
    return header + struct.pack("<I", _crc32c(header + bytes(4) + rest)) + rest


def parse(packet: bytes, *, headed: bool) -> Message | None:
    """Return the message that a raw socket received, or None if it is another or damaged.

    ``headed``: with its IP header, as raw sockets of IPv4 get it (raw(7)).
    """
    segment = packet[4 * (packet[0] & 0x0F) :] if headed else packet
    if len(segment) < 12 + _CHUNK.size + _BODY.size:
        return None
    intact = segment[:8] + bytes(4) + segment[12:]
    if struct.pack("<I", _crc32c(intact)) != segment[8:12]:
        return None
    source_port, port, _ = _COMMON.unpack_from(segment)
    chunk, _, length = _CHUNK.unpack_from(segment, 12)
    tag = _BODY.unpack_from(segment, 12 + _CHUNK.size)[0]
    cookie = segment[12 + _CHUNK.size + _BODY.size + 4 : 12 + length]
    return Message(source_port, port, chunk, tag, cookie) if chunk in (INIT, INIT_ACK) else None


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
