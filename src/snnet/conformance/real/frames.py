"""Frames made by hand, for guests that send false addresses.

Formats: RFC 791 (IPv4), 792 (ICMP), 768 (UDP), 826 (ARP), 2131 (DHCP).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ANY = IPv4Address("0.0.0.0")
EVERYBODY = IPv4Address("255.255.255.255")

_IP, _ARP = 0x0800, 0x0806  # linux/if_ether.h
_EXPERIMENTAL = 0x88B5  # IEEE 802, local experimental ethertype 1
_DHCP_SERVER, _DHCP_CLIENT = 67, 68


def echo_request(token: bytes, *, reply: bool = False) -> bytes:
    """Return an ICMP echo request, or reply, with the token as its data.

    Its identifier comes from the token too, so that conntrack sees a flow of its own.
    """
    packet = struct.pack("!BBH2sH", 0 if reply else 8, 0, 0, token[:2], 1) + token
    return packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]


def echo_frame(
    source_mac: str,
    mac: str,
    source: IPv4Address,
    target: IPv4Address,
    token: bytes,
    *,
    reply: bool = False,
) -> bytes:
    packet = _ip(source, target, socket.IPPROTO_ICMP, echo_request(token, reply=reply))
    return _ethernet(source_mac, mac, _IP, packet)


def arp_frame(
    source_mac: str, sender_mac: str, sender: IPv4Address, target: IPv4Address, token: bytes = b""
) -> bytes:
    """Return a request for ``target``, with the token in the Ethernet padding."""
    body = struct.pack("!HHBBH", 1, _IP, 6, 4, 1)
    body += _mac(sender_mac) + sender.packed + bytes(6) + target.packed
    return _ethernet(source_mac, BROADCAST, _ARP, body + token)


def dhcp_frame(
    source_mac: str,
    source: IPv4Address,
    *,
    server: bool,
    token: bytes,
    client: str | None = None,
) -> bytes:
    """Return a client's request or a server's answer, with the token in the options.

    It is about the MAC ``client``, by default the sender's.
    """
    op, ports = (2, (_DHCP_SERVER, _DHCP_CLIENT)) if server else (1, (_DHCP_CLIENT, _DHCP_SERVER))
    body = struct.pack("!BBBBI", op, 1, 6, 0, 1).ljust(28, b"\0") + _mac(client or source_mac)
    body = body.ljust(236, b"\0") + bytes.fromhex("63825363") + token
    # A UDP checksum of 0 means that there is no checksum.
    udp = struct.pack("!HHHH", *ports, 8 + len(body), 0) + body
    return _ethernet(source_mac, BROADCAST, _IP, _ip(source, EVERYBODY, socket.IPPROTO_UDP, udp))


def udp_frame(
    source_mac: str,
    mac: str,
    source: IPv4Address,
    target: IPv4Address,
    ports: tuple[int, int],
    token: bytes,
) -> bytes:
    """Return a UDP datagram without a checksum, from the first port to the second."""
    udp = struct.pack("!HHHH", *ports, 8 + len(token), 0) + token
    return _ethernet(source_mac, mac, _IP, _ip(source, target, socket.IPPROTO_UDP, udp))


def strange_frame(source_mac: str, token: bytes) -> bytes:
    """Return a frame that is neither ARP nor IP."""
    return _ethernet(source_mac, BROADCAST, _EXPERIMENTAL, token)


def arp_answer(frame: bytes) -> IPv4Address | None:
    """Return the sender's MAC if the frame is an ARP reply, else None."""
    if frame[12:14] != struct.pack("!H", _ARP) or frame[20:22] != b"\0\2":
        return None
    return IPv4Address(frame[28:32])


def checksum(message: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    message += bytes(len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip(source: IPv4Address, target: IPv4Address, protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    header += source.packed + target.packed
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def _ethernet(source: str, target: str, ethertype: int, payload: bytes) -> bytes:
    frame = _mac(target) + _mac(source) + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
