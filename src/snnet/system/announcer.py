"""Announcing addresses: frames that correct the tables of neighbours, switches and bridges.

IPv4: an ARP announcement (RFC 5227, 3), which Linux takes at once even for an entry that has
just changed (arp_process, net/ipv4/arp.c).  IPv6: an unsolicited neighbour advertisement
(RFC 4861, 7.2.6).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from .netlink import NLM_F_ACK, NLM_F_DUMP, Netlink, NetlinkError, message
from .netns import in_netns
from .nfnetlink import attribute, attributes

# linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h
_NEWLINK = 16
_DELNEIGH, _GETNEIGH = 29, 30
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NTF_MASTER = 0x04
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40
_IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_BR_FDB_FLUSH = 18, 1, 2, 21

_HEADER = struct.Struct("=IHHII")
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFINFOMSG = struct.Struct("=BxHiII")

ARP, IPV6 = 0x0806, 0x86DD
BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP_HEAD = struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
_OVERRIDE = 0x20000000
_SIOCGIFHWADDR = 0x8927  # linux/sockios.h


class Announcer:
    """Sends announcements in one network namespace, from any thread.

    It opens its sockets when it first needs them, and keeps them: closing one for packets
    waits for the whole kernel (packet_release, net/packet/af_packet.c).
    """

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._netlink = Netlink(netns)
        self._lock = threading.Lock()
        self._packets: socket.socket | None = None

    def announce(self, link: str, address: IPv4Address | IPv6Address, mac: str | None) -> None:
        """Say on the link that the address has the MAC; raise OSError if that fails."""
        packets = self._open()
        hardware = _bytes(mac) if mac else mac_of(packets, link)
        frame = arp(hardware, address) if address.version == 4 else na(hardware, address)
        packets.sendto(frame, (link, 0))

    def forget(self, port: str, mac: str) -> None:
        """Have the bridge of this port forget that the MAC is behind it."""
        try:
            self._neighbour(_DELNEIGH, socket.AF_BRIDGE, self._netlink.index(port), _NTF_MASTER,
                            attribute(_NDA_LLADDR, _bytes(mac)))  # fmt: skip
        except NetlinkError:
            return  # it may be elsewhere already, and so may the port

    def renew(self, bridge: str) -> None:
        """Have the bridge forget all MACs that it learned, and the host its neighbours there."""
        index = self._netlink.index(bridge)
        flush = attribute(_IFLA_BR_FDB_FLUSH, b"")
        info = attribute(_IFLA_INFO_KIND, b"bridge\0") + attribute(_IFLA_INFO_DATA, flush)
        body = _IFINFOMSG.pack(0, 0, index, 0, 0) + attribute(_IFLA_LINKINFO, info)
        self._netlink.request(message(_NEWLINK, NLM_F_ACK, body))
        for family in (socket.AF_INET, socket.AF_INET6):
            for address in self._learned(family, index):
                with suppress(NetlinkError):
                    self._neighbour(_DELNEIGH, family, index, 0, attribute(_NDA_DST, address))

    def close(self) -> None:
        """Close the sockets; may be repeated."""
        with self._lock:
            if self._packets is not None:
                self._packets.close()
                self._packets = None
        self._netlink.close()

    def _open(self) -> socket.socket:
        with self._lock:
            if self._packets is None:
                self._packets = in_netns(self._netns, packet_socket)
            return self._packets

    def _neighbour(self, kind: int, family: int, index: int, flags: int, rest: bytes) -> None:
        body = _NDMSG.pack(family, index, 0, flags, 0) + rest
        self._netlink.request(message(kind, NLM_F_ACK, body))

    def _learned(self, family: int, index: int) -> Iterator[bytes]:
        """The neighbours of a link that nobody set, as bytes."""
        asked = _NDMSG.pack(family, 0, 0, 0, 0)
        asked += attribute(_NDA_IFINDEX, struct.pack("=I", index))
        for reply in self._netlink.dump(message(_GETNEIGH, NLM_F_DUMP, asked)):
            _, found, state, _, _ = _NDMSG.unpack_from(reply, _HEADER.size)
            if found == index and not state & (_NUD_PERMANENT | _NUD_NOARP):
                values = dict(attributes(reply[_HEADER.size + _NDMSG.size :]))
                if _NDA_DST in values:
                    yield values[_NDA_DST]


def arp(mac: bytes, address: IPv4Address | IPv6Address) -> bytes:
    """The frame of an ARP announcement."""
    ip = address.packed
    return BROADCAST + mac + _ARP_HEAD + mac + ip + bytes(6) + ip


def na(mac: bytes, address: IPv4Address | IPv6Address) -> bytes:
    """The frame of an unsolicited neighbour advertisement to all nodes."""
    body = struct.pack("!BBHI", 136, 0, 0, _OVERRIDE) + address.packed + b"\x02\x01" + mac
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    ip = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + struct.pack("!H", IPV6) + ip + body


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet_socket() -> socket.socket:
    """A socket for frames, which receives nothing before it is bound to a link and a protocol."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def mac_of(packets: socket.socket, link: str) -> bytes:
    """The MAC of a link of the socket's namespace."""
    answer = fcntl.ioctl(packets.fileno(), _SIOCGIFHWADDR, struct.pack("16s24x", link.encode()))
    return answer[18:24]


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
