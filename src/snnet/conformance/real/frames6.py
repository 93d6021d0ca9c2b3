"""IPv6 frames made by hand: their parts, and the simple ones.

Formats: RFC 8200 (IPv6 and its extension headers), 4443 (ICMPv6), 4861 (neighbour discovery).
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from snnet.conformance.endpoints import Endpoint
from snnet.conformance.messages import ALL_NODES

from .frames import checksum

IP6 = 0x86DD
_UDP, _ICMP6 = 17, 58
_ECHO, _ECHO_REPLY, _SOLICIT, _ADVERT = 128, 129, 135, 136
_SOURCE = 1


def echo6(
    source: IPv6Address, target: IPv6Address, token: bytes, macs: tuple[str, str], *, reply: bool
) -> bytes:
    """Return a frame with an echo request or reply, from the first MAC to the second."""
    kind = _ECHO_REPLY if reply else _ECHO
    icmp = icmp6(source, target, kind, token[:2] + b"\0\1" + token)
    return ethernet6(*macs, packet6(source, target, _ICMP6, icmp))


def udp6(
    source: IPv6Address,
    target: IPv6Address,
    ports: tuple[int, int],
    token: bytes,
    macs: tuple[str, str],
) -> bytes:
    return ethernet6(*macs, packet6(source, target, _UDP, udp(source, target, ports, token)))


def solicit(
    me: Endpoint, target: IPv6Address, *, own: IPv6Address | None = None, mac: str | None = None
) -> bytes:
    """Return a solicitation for the address, by default from the guest's own address and MAC."""
    own = own or me.ip6
    source = option(_SOURCE, mac_bytes(mac or me.mac))
    icmp = icmp6(own, ALL_NODES, _SOLICIT, neighbour(target, source))
    return ethernet6(me.mac, "33:33:00:00:00:01", packet6(own, ALL_NODES, _ICMP6, icmp))


def advertised(heard: bytes) -> IPv6Address | None:
    """Return the address that a neighbour advertisement is about, None for other frames."""
    packet = heard[14:]
    if heard[12:14] != b"\x86\xdd" or packet[6] != _ICMP6 or packet[40] != _ADVERT:
        return None
    return IPv6Address(packet[48:64])


# -- parts ---------------------------------------------------------------------------


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet6(source: str, target: str, packet: bytes, tags: bytes = b"") -> bytes:
    body = mac_bytes(target) + mac_bytes(source) + tags + struct.pack("!H", IP6) + packet
    return body.ljust(60, b"\0")


def packet6(source: IPv6Address, target: IPv6Address, kind: int, payload: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), kind, 255)
    return head + source.packed + target.packed + payload


def checksum_of(source: IPv6Address, target: IPv6Address, kind: int, payload: bytes) -> int:
    pseudo = source.packed + target.packed + struct.pack("!II", len(payload), kind)
    return checksum(pseudo + payload)


def icmp6(source: IPv6Address, target: IPv6Address, kind: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum_of(source, target, _ICMP6, message)
    return message[:2] + struct.pack("!H", total) + message[4:]


def udp(source: IPv6Address, target: IPv6Address, ports: tuple[int, int], data: bytes) -> bytes:
    message = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    total = checksum_of(source, target, _UDP, message) or 0xFFFF
    return message[:6] + struct.pack("!H", total) + data


def option(kind: int, value: bytes) -> bytes:
    return bytes([kind, (len(value) + 2) // 8]) + value


def header(following: int, options: bytes = b"\1\4\0\0\0\0") -> bytes:
    """A header of options, by default padding."""
    return bytes([following, (len(options) + 2) // 8 - 1]) + options


def fragment(following: int, offset: int, flags: int, number: int = 4711) -> bytes:
    return struct.pack("!BBHI", following, 0, offset | flags, number)


def neighbour(target: IPv6Address, *options: bytes, flags: int = 0) -> bytes:
    return struct.pack("!I", flags) + target.packed + b"".join(options)
