"""Hearing others on a link use addresses of ours: ARP (RFC 5227, 2.4), neighbour advertisements.

Sockets with filters of their own: the kernel drops everything else, so that listening on a busy
link costs nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address

from snnet.contract import Hearing, IPAddress

from .announcer import ARP, IPV6, mac_of
from .green import never_waiting
from .netns import in_netns
from .prober import OUTGOING

_ALL = 0x0003  # ETH_P_ALL, linux/if_ether.h
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h
_ADVERTISEMENT = 136  # RFC 4861
# linux/bpf_common.h: load a half-word, byte or word at an offset; jump if equal; return.
_LDH, _LDB, _LD, _JEQ, _RET = 0x28, 0x30, 0x20, 0x15, 0x06
_WHOLE = 0xFFFF
_INSTRUCTION = struct.Struct("=HBBI")
_MAX = 1000
"""Addresses of one socket, whose filter has at most 4096 instructions (BPF_MAXINSNS)."""


class LinkHearing(Hearing):
    """Hears on a link who else has some addresses.  Raises OSError where it cannot.

    It follows the link's name: a new link of that name is heard from the next call on.
    """

    def __init__(self, netns: int, link: str, addresses: Collection[IPAddress]) -> None:
        self._link, self._addresses = link, frozenset(addresses)
        several = sorted(self._addresses, key=str)
        self._sockets: list[socket.socket] = []
        try:
            for first in range(0, len(several) or 1, _MAX):
                self._sockets.append(in_netns(netns, _packet_socket))
                _attach(self._sockets[-1], _program(several[first : first + _MAX]))
            self._bind()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        self._mac = mac_of(self._sockets[0], self._link)
        for sock in self._sockets:
            sock.bind((self._link, _ALL))

    def heard(self) -> set[IPAddress]:
        """See :meth:`snnet.contract.Hearing.heard`."""
        users = [user for sock in self._sockets for user in _users(sock)]
        found = {address for address, mac in users if mac != self._mac} & self._addresses
        # A socket leaves a link that is removed (packet_notifier, net/packet/af_packet.c).
        if any(sock.getsockname()[0] != self._link for sock in self._sockets):
            with contextlib.suppress(OSError):  # there may be none yet
                self._bind()
        return found

    def close(self) -> None:
        """See :meth:`snnet.contract.Hearing.close`."""
        for sock in self._sockets:
            sock.close()


def _users(sock: socket.socket) -> Iterator[tuple[IPAddress, bytes]]:
    """Yield what the frames say that have come from others."""
    with contextlib.suppress(OSError):  # there are no more, or the link is down
        while True:
            frame, sender = sock.recvfrom(2048)
            if sender[2] != OUTGOING and (user := user_of(frame)):
                yield user


def user_of(frame: bytes) -> tuple[IPAddress, bytes] | None:
    """The address that the sender of this frame says it has, and its MAC, if it says so."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP and len(frame) >= 42:
        return ip_address(frame[28:32]), frame[22:28]
    if kind == IPV6 and len(frame) >= 78 and frame[20] == 58 and frame[54] == _ADVERTISEMENT:
        return ip_address(frame[62:78]), frame[6:12]
    return None


def _program(addresses: Collection[IPAddress]) -> list[tuple[int, int, int, int]]:
    """A filter that accepts what ``user_of`` understands, of these addresses (IPv6: their ends)."""
    arp = list(_one_of(28, (address for address in addresses if address.version == 4)))
    advertisements = [
        (_LDB, 0, 0, 20),
        (_JEQ, 1, 0, 58),
        (_RET, 0, 0, 0),
        (_LDB, 0, 0, 54),
        (_JEQ, 1, 0, _ADVERTISEMENT),
        (_RET, 0, 0, 0),
        *_one_of(74, (address for address in addresses if address.version == 6)),
    ]
    return [
        (_LDH, 0, 0, 12),
        (_JEQ, 1, 0, IPV6),
        (0x05, 0, 0, len(advertisements)),  # jump always: its distance has 32 bits
        *advertisements,
        (_JEQ, 1, 0, ARP),
        (_RET, 0, 0, 0),
        *arp,
    ]


def _one_of(offset: int, addresses: Iterable[IPAddress]) -> Iterator[tuple[int, int, int, int]]:
    """Accept the frame if the word at the offset is the end of one of these, else drop it."""
    yield (_LD, 0, 0, offset)
    for address in addresses:
        yield (_JEQ, 0, 1, int.from_bytes(address.packed[-4:], "big"))
        yield (_RET, 0, 0, _WHOLE)
    yield (_RET, 0, 0, 0)


def _attach(packets: socket.socket, program: Iterable[tuple[int, int, int, int]]) -> None:
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
    kept = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, and where they are.
    fprog = struct.pack("HP", len(code) // _INSTRUCTION.size, ctypes.addressof(kept))
    packets.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, fprog)


def _packet_socket() -> socket.socket:
    # Without a protocol it receives nothing before it is bound to the link.
    return never_waiting(socket.AF_PACKET, socket.SOCK_RAW, 0)
