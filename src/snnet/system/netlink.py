"""Bytes to and from the kernel by netlink (netlink(7), rtnetlink(7), nfnetlink).

Plain blocking sockets, each used by one call at a time: no thread, no event
loop, no state but a small pool.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time

from .netns import in_netns

# linux/netlink.h
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ECHO = 0x8
NLM_F_DUMP = 0x300
_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR = 0x2
_NLMSG_DONE = 0x3
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = struct.Struct("=I")
_SEQUENCE_AT = 8
_IFREQ = struct.Struct("=16si20x")  # struct ifreq, linux/if.h
_SIOCGIFNAME = 0x8910  # linux/sockios.h
_SIOCGIFINDEX = 0x8933

_BUFFER = 1 << 16
"""The kernel fills at most 32 KiB at a time (netlink_recvmsg, af_netlink.c)."""
_RECEIVE_BUFFER = 1 << 20
_PATIENCE = 30.0
"""Seconds to wait for an answer; only a hung kernel takes that long."""
_POOL = 16
_DUMP_PATIENCE = 10.0
"""Seconds to try for a dump that nothing changed under."""


class NetlinkError(OSError):
    """The kernel refused a request: ``errno``, and ``detail``, its own words if any."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, os.strerror(number) + (f": {detail}" if detail else ""))
        self.detail = detail


class Netlink:
    """Requests to one network namespace, from any number of threads.

    ``protocol`` is one of netlink(7)'s families.  ``netns`` stays the caller's and
    must be open as long as this is.  After a fork the child opens sockets of its own.
    """

    def __init__(self, netns: int, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._netns = netns
        self._protocol = protocol
        self._pid = os.getpid()
        self._idle: list[_Socket] = []
        self._closed = False

    def request(self, message: bytearray) -> list[bytes]:
        """Send one message with NLM_F_ACK set; return what came before the ack.

        Those are whole messages with their headers.  The sequence number is
        written into ``message``.  Raises ``NetlinkError`` if the kernel refuses.
        """
        sock = self._take()
        try:
            replies = sock.exchange(message)
        except NetlinkError:
            self._give_back(sock)
            raise
        except BaseException:
            sock.close()  # answers to this request could be taken for later ones
            raise
        self._give_back(sock)
        return replies

    def dump(self, message: bytearray) -> list[bytes]:
        """All messages that answer a request with NLM_F_DUMP set.

        Repeated while changes interrupt it; raises ``NetlinkError`` with EBUSY
        if they do so for ten seconds.
        """
        deadline = time.monotonic() + _DUMP_PATIENCE
        while time.monotonic() < deadline:
            try:
                return self.request(message)
            except _Interrupted:
                continue
        raise NetlinkError(errno.EBUSY, "it changed during every attempt to list it")

    def index(self, name: str) -> int:
        """Index of the link called ``name``; ``NetlinkError`` with ENODEV if there is none.

        By netdevice(7)'s SIOCGIFINDEX, which needs no lock of the kernel's.
        """
        raw = name.encode()
        if not 0 < len(raw) <= 15 or b"\0" in raw:
            raise _no_link(name)
        try:
            answer: bytes = self._ioctl(_SIOCGIFINDEX, _IFREQ.pack(raw, 0))
        except OSError as error:
            raise _no_link(name) from error
        return int(_IFREQ.unpack(answer)[1])

    def name(self, index: int) -> str:
        """Name of the link with this index; ``NetlinkError`` with ENODEV if there is none."""
        try:
            answer: bytes = self._ioctl(_SIOCGIFNAME, _IFREQ.pack(b"", index))
        except OSError as error:
            raise _no_link(f"number {index}") from error
        raw: bytes = _IFREQ.unpack(answer)[0]
        return raw.split(b"\0", 1)[0].decode(errors="replace")

    def _ioctl(self, request: int, argument: bytes) -> bytes:
        sock = self._take()
        try:
            return sock.ioctl(request, argument)
        finally:
            self._give_back(sock)

    def close(self) -> None:
        """Close the sockets; may be repeated.  Those in use close when their call ends."""
        self._closed = True
        self._close_idle()

    def _take(self) -> _Socket:
        if self._pid != os.getpid():
            # A socket shared with the parent would mix up the answers.
            self._close_idle()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return in_netns(self._netns, lambda: _Socket(self._protocol))

    def _give_back(self, sock: _Socket) -> None:
        if len(self._idle) < _POOL and not self._closed:
            self._idle.append(sock)
        else:
            sock.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


class _Interrupted(NetlinkError):
    """A dump that something changed under (NLM_F_DUMP_INTR); the socket is clean."""

    def __init__(self) -> None:
        super().__init__(errno.EINTR)


class _Socket:
    """One socket in the calling thread's network namespace."""

    def __init__(self, protocol: int) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._sock = socket.socket(socket.AF_NETLINK, flags, protocol)
        try:
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._sock.setsockopt(_SOL_NETLINK, option, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            limit = struct.pack("@ll", int(_PATIENCE), int(_PATIENCE % 1 * 1_000_000))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._sock.connect((0, 0))  # the kernel, so that nobody else can answer
        except BaseException:
            self._sock.close()
            raise
        self._buffer = bytearray(_BUFFER)
        self._sequence = 0

    def close(self) -> None:
        self._sock.close()

    def ioctl(self, request: int, argument: bytes) -> bytes:
        return fcntl.ioctl(self._sock.fileno(), request, argument)

    def exchange(self, message: bytearray) -> list[bytes]:
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        _SEQUENCE.pack_into(message, _SEQUENCE_AT, self._sequence)
        try:
            self._sock.send(message)
            return self._answer(self._sequence)
        except BlockingIOError as error:
            raise TimeoutError(
                errno.ETIMEDOUT, f"no answer from the kernel's netlink within {_PATIENCE:g} s"
            ) from error

    def _answer(self, expected: int) -> list[bytes]:
        messages: list[bytes] = []
        interrupted = 0
        buffer = self._buffer
        while True:
            size = self._sock.recv_into(buffer, 0, socket.MSG_TRUNC)
            if size > _BUFFER:
                raise OSError(errno.EMSGSIZE, f"an answer of {size} bytes from the kernel")
            offset = 0
            while offset < size:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
                end = offset + length
                if sequence == expected:
                    interrupted |= flags & _NLM_F_DUMP_INTR
                    if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                        number = -_ERROR.unpack_from(buffer, offset + 16)[0]
                        if number > 0:
                            raise NetlinkError(number, _explanation(buffer[offset:end]))
                        if interrupted:
                            raise _Interrupted
                        return messages
                    messages.append(bytes(buffer[offset:end]))
                offset = end + 3 & ~3


def _no_link(name: str) -> NetlinkError:
    return NetlinkError(errno.ENODEV, f"there is no link {name}")


def _explanation(message: bytearray) -> str:
    """The extended ack's text in an NLMSG_ERROR or NLMSG_DONE, or nothing.

    With NETLINK_CAP_ACK the request itself is not repeated, only its header.
    """
    length, kind, flags, _, _ = _HEADER.unpack_from(message)
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    offset = 16 + 4
    if kind == _NLMSG_ERROR:
        offset += 16 if flags & _NLM_F_CAPPED else _HEADER.unpack_from(message, offset)[0]
    while offset + 4 <= length:
        size, attribute = _ATTRIBUTE.unpack_from(message, offset)
        if size < 4:
            break
        if attribute == _NLMSGERR_ATTR_MSG:
            return message[offset + 4 : offset + size].rstrip(b"\0").decode(errors="replace")
        offset += size + 3 & ~3
    return ""
