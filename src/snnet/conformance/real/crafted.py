"""Frames that look like others, or are rare: see ``snnet.conformance.rig.CRAFTED``.

Formats: IEEE 802.1Q, 802.1ad (tags), 802.2 (LLC, SNAP), RFC 791, 826, 903, 3376.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

from . import frames
from .frames import ANY, EVERYBODY, checksum

_IP, _ARP, _RARP, _TAG, _OUTER_TAG = 0x0800, 0x0806, 0x8035, 0x8100, 0x88A8
_MORE = 0x2000
_REPORTS = IPv4Address("224.0.0.22")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _frame(mac: str, rest: bytes) -> bytes:
    return (_mac(frames.BROADCAST) + _mac(mac) + rest).ljust(60, b"\0")


def _packet(
    source: IPv4Address,
    target: IPv4Address,
    protocol: int,
    payload: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    size = words * 4 + len(payload)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, size, 4711, fragment, 64, protocol, 0)
    header += source.packed + target.packed + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def _offer(source: IPv4Address, token: bytes, port: int = 67, **how: int | bytes) -> bytes:
    """What a DHCP server sends, as far as a guard looks at it."""
    body = token.ljust(16, b"\0")
    udp = struct.pack("!HHHH", port, 68, 8 + len(body), 0) + body
    return _packet(source, EVERYBODY, socket.IPPROTO_UDP, udp, **how)  # type: ignore[arg-type]


def _typed(kind: int, payload: bytes) -> bytes:
    return struct.pack("!H", kind) + payload


def _vlan_0(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _frame(mac, struct.pack("!HH", _TAG, 0) + _typed(_IP, _offer(ip, token)))


def _two_tags(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    tags = struct.pack("!HHHH", _OUTER_TAG, 0, _TAG, 0)
    return _frame(mac, tags + _typed(_IP, _offer(ip, token)))


def _snap(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    body = bytes.fromhex("aaaa03000000") + _typed(_IP, _offer(ip, token))
    return _frame(mac, struct.pack("!H", len(body)) + body)


def _fragment(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _frame(mac, _typed(_IP, _offer(ip, token, fragment=_MORE)))


def _options(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _frame(mac, _typed(_IP, _offer(ip, token, options=bytes([1, 1, 1, 1]))))


def _other_port(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    """Clients look at the port that it is for."""
    return _frame(mac, _typed(_IP, _offer(ip, token, 1067)))


def _arp(mac: str, sender: IPv4Address, target: IPv4Address, token: bytes, op: int = 1) -> bytes:
    body = struct.pack("!HHBBH", 1, _IP, 6, 4, op) + _mac(mac) + sender.packed
    return _frame(mac, _typed(_ARP, body + _mac(mac) + target.packed + token))


def _other_arp(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _arp(mac, ip + 1, ip + 1, token, op=2)


def _gratuitous(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _arp(mac, ip, ip, token)


def _gratuitous_reply(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _arp(mac, ip, ip, token, op=2)


def _rarp(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    """What QEMU sends when a guest has arrived (qemu/net/announce.c)."""
    body = struct.pack("!HHBBH", 1, _IP, 6, 4, 3) + _mac(mac) + bytes(4) + _mac(mac) + bytes(4)
    return _frame(mac, _typed(_RARP, body + token))


def _igmp(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    body = struct.pack("!BBHHH", 0x22, 0, 0, 0, 0) + token
    return _frame(mac, _typed(_IP, _packet(ip, _REPORTS, socket.IPPROTO_IGMP, body)))


def _igmp_without_address(mac: str, ip: IPv4Address, token: bytes) -> bytes:
    return _igmp(mac, ANY, token)


FRAMES: dict[str, Callable[[str, IPv4Address, bytes], bytes]] = {
    "vlan 0": _vlan_0,
    "two tags": _two_tags,
    "snap": _snap,
    "fragment": _fragment,
    "options": _options,
    "other port": _other_port,
    "other arp": _other_arp,
    "rarp": _rarp,
    "igmp": _igmp,
    "igmp without address": _igmp_without_address,
    "gratuitous arp": _gratuitous,
    "gratuitous arp reply": _gratuitous_reply,
}
"""By kind: from MAC, address and token of the sender."""
