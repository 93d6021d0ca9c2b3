"""Asking a link who answers for addresses: ARP requests and neighbour solicitations.

The questions come from an address of the host, not from none: a proxy does not answer probes
of RFC 5227 (arp_process, net/ipv4/arp.c).
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, ip_address

from snnet.contract import IPAddress

from .announcer import ARP, BROADCAST, IPV6, checksum, mac_of, packet_socket
from .green import is_readable
from .netns import in_netns

TRIES = 3
"""How often each question is asked."""

_ALL = 0x0003  # ETH_P_ALL, linux/if_ether.h
OUTGOING = 4
"""A packet of the host's own: PACKET_OUTGOING, linux/if_packet.h."""
_SOLICITATION, _ADVERTISEMENT = 135, 136  # RFC 4861


def answering(
    netns: int, link: str, addresses: Collection[IPAddress], source: IPAddress, wait: float
) -> set[IPAddress]:
    """Return the addresses that somebody on the link answers for within ``wait`` seconds.

    Each is asked for three times, and ``source`` is the asking host's address on the link.
    Returns as soon as all have answered.  Raises OSError.
    """
    asked = [address for address in addresses if address.version == source.version]
    found: set[IPAddress] = set()
    with in_netns(netns, packet_socket) as packets:
        packets.bind((link, _ALL))
        mac = mac_of(packets, link)
        for _ in range(TRIES if asked else 0):
            for address in asked:
                if address not in found:
                    packets.send(question(mac, source, address))
            found |= set(_answers(packets, set(asked) - found, wait / TRIES))
            if len(found) == len(asked):
                break
    return found


def question(mac: bytes, source: IPAddress, address: IPAddress) -> bytes:
    """The frame that asks who has the address."""
    if address.version == source.version == 4:
        head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        frame = BROADCAST + mac + struct.pack("!H", ARP)
        return frame + head + mac + source.packed + bytes(6) + address.packed
    low = address.packed[-3:]
    group = IPv6Address("ff02::1:ff00:0").packed[:-3] + low  # RFC 4291, 2.7.1
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed + b"\x01\x01" + mac
    pseudo = source.packed + group + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source.packed + group + body
    return b"\x33\x33\xff" + low + mac + struct.pack("!H", IPV6) + packet


def answer(frame: bytes) -> IPAddress | None:
    """The address that the sender of this frame says it answers for, if it says so."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP and frame[20:22] == b"\0\2" and len(frame) >= 42:
        return ip_address(frame[28:32])
    if kind == IPV6 and len(frame) >= 78 and frame[20] == 58 and frame[54] == _ADVERTISEMENT:
        return ip_address(frame[62:78])
    return None


def _answers(packets: socket.socket, wanted: set[IPAddress], wait: float) -> Iterator[IPAddress]:
    end = time.monotonic() + wait
    while wanted and (left := end - time.monotonic()) > 0:
        if is_readable(packets.fileno(), left):
            frame, sender = packets.recvfrom(2048)
            # What this host answers others is on its way out.
            heard = answer(frame) if sender[2] != OUTGOING else None
            if heard in wanted:
                wanted.discard(heard)
                yield heard
