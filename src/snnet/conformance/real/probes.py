"""The asking side: pings, connections, conversations and false frames."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv6Address

from snnet.conformance.endpoints import HUB, Endpoint
from snnet.conformance.rig import Answer, Conversation
from snnet.contract import IPAddress
from snnet.system.namespaces import Namespace

from . import frames, frames6, sctp
from .services import Services
from .wiring import NIC

_ECHO_REPLY, _ECHO, _ECHO6_REPLY = 0, 8, 129
_ALL = 3  # ETH_P_ALL, linux/if_ether.h


def token() -> bytes:
    """Return random bytes that identify one packet."""
    return os.urandom(16)


def ping(services: Services, space: Namespace, address: IPAddress, size: int) -> bool:
    mark = token().ljust(size, b"\0")
    six = address.version == 6
    with space.call(_icmp6_socket if six else _icmp_socket) as sock:
        request = frames.echo_request(mark)
        if six:  # the kernel adds the checksum of ICMPv6: RFC 3542, 3.1
            request = b"\x80\0\0\0" + request[4:]
        if not _send(sock, request, (str(address), 0)):
            return False

        def read() -> bool | None:
            packet = sock.recv(65536)
            body = packet if six else packet[4 * (packet[0] & 0x0F) :]
            mine = body[0] == (_ECHO6_REPLY if six else _ECHO_REPLY) and mark in body
            return mine or None

        return services.wait(sock, read) is not None


class Frames:
    """A packet socket in each namespace except the hub's, and a raw socket in the hub.

    They stay open: closing a packet socket takes the kernel 25 ms.
    """

    def __init__(self, services: Services, spaces: Mapping[Endpoint, Namespace]) -> None:
        self._services = services
        self._sockets: dict[Endpoint, socket.socket] = {}
        self._hub6: socket.socket | None = None
        with ExitStack() as opened:
            opened.callback(self.close)
            for endpoint, space in spaces.items():
                # Packet sockets would also receive what the hub's filter then drops.
                make = _icmp_socket if endpoint is HUB else _packet_socket
                self._sockets[endpoint] = space.call(make)
            self._hub6 = spaces[HUB].call(_icmp6_socket)
            opened.pop_all()

    def hears(self, source: Endpoint, frame: bytes, mark: bytes, hearer: Endpoint) -> bool:
        """Whether a frame with this token reaches an endpoint; for the hub, its IP layer."""
        six = hearer is HUB and frame[12:14] == b"\x86\xdd"
        ear = self._hub6 if six and self._hub6 else self._sockets[hearer]
        _drain(ear)
        self._sockets[source].send(frame)
        return self._services.wait(ear, lambda: (mark in ear.recv(2048)) or None) is not None

    def send(self, source: Endpoint, frame: bytes) -> None:
        """Send a frame; namespaces wired directly to the source have it afterwards."""
        self._sockets[source].send(frame)

    def resolve(self, source: Endpoint, address: IPAddress) -> bool:
        sock = self._sockets[source]
        _drain(sock)
        if isinstance(address, IPv6Address):
            sock.send(frames6.solicit(source, address))
        else:
            sock.send(frames.arp_frame(source.mac, source.mac, source.ip, address))

        def read() -> bool | None:
            heard = sock.recv(2048)
            return address in (frames.arp_answer(heard), frames6.advertised(heard)) or None

        return self._services.wait(sock, read) is not None

    def close(self) -> None:
        """Close the sockets; may be repeated."""
        for sock in (*self._sockets.values(), self._hub6):
            if sock is not None:
                sock.close()


def connect(
    services: Services, space: Namespace, address: IPAddress, protocol: str, port: int
) -> Answer | None:
    if protocol == "tcp":
        return _tcp(services, space, address, port)
    if protocol == "udp":
        with space.call(lambda: _udp_socket(_family(address))) as sock:
            return _question(services, sock, address, port)
    return _sctp(services, space, address, port)


class UdpConversation(Conversation):
    """A bound socket, so that the port and with it the flow stay the same."""

    def __init__(self, services: Services, space: Namespace, address: IPAddress, port: int) -> None:
        self._services = services
        self._target = address, port
        self._sock = space.call(lambda: _udp_socket(_family(address)))

    def ask(self) -> Answer | None:
        _drain(self._sock)  # late answers to earlier questions
        return _question(self._services, self._sock, *self._target)

    def close(self) -> None:
        self._sock.close()


def _tcp(services: Services, space: Namespace, address: IPAddress, port: int) -> Answer | None:
    with space.call(lambda: _ready(socket.socket(_family(address), socket.SOCK_STREAM))) as sock:
        sock.connect_ex((str(address), port))
        return services.wait(sock, lambda: services.answer(sock.recv(2048)))


def _question(
    services: Services, sock: socket.socket, address: IPAddress, port: int
) -> Answer | None:
    if not _send(sock, b"who are you?", (str(address), port)):
        return None

    def read() -> Answer | None:
        text, peer = sock.recvfrom(2048)
        return services.answer(text) if peer[:2] == (str(address), port) else None

    return services.wait(sock, read)


def _sctp(services: Services, space: Namespace, address: IPAddress, port: int) -> Answer | None:
    own = 32768 + int.from_bytes(os.urandom(2), "big") % 28000
    tag = int.from_bytes(os.urandom(4), "big") | 1
    with space.call(lambda: _sctp_socket(_family(address))) as sock:
        if not _send(sock, sctp.message(own, port, sctp.INIT, tag=tag), (str(address), 0)):
            return None

        def read() -> Answer | None:
            packet, peer = sock.recvfrom(2048)
            heard = sctp.parse(packet, headed=address.version == 4)
            if heard is None or heard.chunk != sctp.INIT_ACK or peer[0] != str(address):
                return None
            mine = (heard.source_port, heard.port) == (port, own)
            return services.answer(heard.cookie) if mine else None

        return services.wait(sock, read)


def _send(sock: socket.socket, data: bytes, target: tuple[str, int]) -> bool:
    try:
        sock.sendto(data, target)
    except OSError:
        return False  # no route
    return True


def gre(
    services: Services, space: Namespace, hub: Namespace, address: IPv4Address, key: int
) -> bool:
    """Return whether a GRE packet with this key (RFC 2890) reaches the hub's sockets."""
    mark = token()
    with hub.call(_gre_socket) as heard, space.call(_gre_socket) as sock:
        # A local experimental protocol type: no tunnel of the kernel accepts it.
        packet = struct.pack("!HHI", 0x2000, 0x88B5, key) + mark
        if not _send(sock, packet, (str(address), 0)):
            return False
        return services.wait(heard, lambda: mark in heard.recv(2048) or None) is not None


def _drain(sock: socket.socket) -> None:
    """Discard what arrived before."""
    with suppress(BlockingIOError):
        while True:
            sock.recv(2048)


def _icmp_socket() -> socket.socket:
    return _ready(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))


def _icmp6_socket() -> socket.socket:
    return _ready(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))


def _gre_socket() -> socket.socket:
    return _ready(socket.socket(socket.AF_INET, socket.SOCK_RAW, 47))  # IPPROTO_GRE


def _sctp_socket(family: int) -> socket.socket:
    return _ready(socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL))


def _udp_socket(family: int) -> socket.socket:
    sock = _ready(socket.socket(family, socket.SOCK_DGRAM))
    sock.bind(("", 0))
    return sock


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _packet_socket() -> socket.socket:
    """Return a socket that sends raw frames and receives all frames at the NIC (packet(7))."""
    sock = _ready(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)))
    sock.bind((NIC, _ALL))
    return sock


def _ready(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock
