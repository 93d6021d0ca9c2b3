"""Bytes to and from the kernel over netlink (netlink(7), rtnetlink(7), nfnetlink).

The sockets are plain and blocking, and each is used by one call at a time.  There is
no thread, no event loop, and no state except a small pool of sockets.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Sequence

from .netns import in_netns

# linux/netlink.h
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
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
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; the socket module does not define it

_BUFFER = 1 << 16
"""The kernel fills at most 32 KiB at a time (netlink_recvmsg, af_netlink.c)."""
_RECEIVE_BUFFER = 1 << 20
_OVERHEAD = 32
"""Bytes of the send buffer that no message may use (netlink_sendmsg, af_netlink.c)."""
_PATIENCE = 30.0
"""Seconds to wait for an answer; only a hung kernel takes that long."""
_POOL = 16
_DUMP_PATIENCE = 10.0
"""Seconds to try for a dump that no change interrupts."""


def message(kind: int, flags: int, body: bytes) -> bytearray:
    """Return a request of this type, to be given its sequence number."""
    return bytearray(
        _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body
    )


class NetlinkError(OSError):
    """The kernel refused a request: ``errno``, and its own text if any in ``detail``."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, os.strerror(number) + (f": {detail}" if detail else ""))
        self.detail = detail


class Netlink:
    """Requests to one network namespace, from any number of threads.

    ``protocol`` is a family of netlink(7).  ``netns`` belongs to the caller and must stay
    open as long as this object is used.  A forked child opens its own sockets.
    """

    def __init__(self, netns: int, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._netns = netns
        self._protocol = protocol
        self._pid = os.getpid()
        self._idle: list[_Socket] = []
        self._closed = False

    def request(
        self, message: bytearray, starts: Sequence[int] = (0,), *, single: bool = False
    ) -> list[bytes]:
        """Send one message with NLM_F_ACK set; return the messages before the ack.

        They are complete, with their headers.  The sequence number is written into
        ``message``, which may be several that start at ``starts``: of these one asks for an
        ack.  ``single``: it has no NLM_F_ACK, and one message answers it.
        Raise ``NetlinkError`` if the kernel refuses.
        """
        sock = self._take()
        try:
            replies = sock.exchange(message, starts, single)
        except NetlinkError:
            self._give_back(sock)
            raise
        except BaseException:
            sock.close()  # a late answer could be taken for that of a later request
            raise
        self._give_back(sock)
        return replies

    def look_up(self, message: bytearray) -> bytes:
        """Send a request without NLM_F_ACK that one message answers; return that message.

        Without the ack there is one less to receive.  Raise ``NetlinkError`` if the kernel refuses.
        """
        (answer,) = self.request(message, single=True)
        return answer

    def dump(self, message: bytearray) -> list[bytes]:
        """Return all messages that answer a request with NLM_F_DUMP set.

        The dump is repeated if a change interrupts it.  Raise ``NetlinkError`` with EBUSY if
        that goes on for ten seconds.
        """
        deadline = time.monotonic() + _DUMP_PATIENCE
        while time.monotonic() < deadline:
            try:
                return self.request(message)
            except _Interrupted:
                continue
        raise NetlinkError(errno.EBUSY, "changed during every attempt to list it")

    def index(self, name: str) -> int:
        """Return the index of a link; ``NetlinkError`` with ENODEV if there is none.

        Uses SIOCGIFINDEX of netdevice(7), which takes no lock in the kernel.
        """
        raw = name.encode()
        if not 0 < len(raw) <= 15 or b"\0" in raw:
            raise _no_link(name)
        try:
            answer: bytes = self._ioctl(_SIOCGIFINDEX, _IFREQ.pack(raw, 0))
        except OSError as error:
            raise _about_link(name, error) from error
        return int(_IFREQ.unpack(answer)[1])

    def name(self, index: int) -> str:
        """Return the name of a link; ``NetlinkError`` with ENODEV if there is none."""
        try:
            answer: bytes = self._ioctl(_SIOCGIFNAME, _IFREQ.pack(b"", index))
        except OSError as error:
            raise _about_link(f"number {index}", error) from error
        raw: bytes = _IFREQ.unpack(answer)[0]
        return raw.split(b"\0", 1)[0].decode(errors="replace")

    def _ioctl(self, request: int, argument: bytes) -> bytes:
        sock = self._take()
        try:
            return sock.ioctl(request, argument)
        finally:
            self._give_back(sock)

    def close(self) -> None:
        """Close the sockets; may be repeated.  Those in use are closed when their call ends."""
        self._closed = True
        self._close_idle()

    def _take(self) -> _Socket:
        if self._pid != os.getpid():
            # On a socket shared with the parent the answers would mix.
            self._close_idle()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return in_netns(self._netns, lambda: _Socket(self._protocol))
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, "no socket for netlink") from error

    def _give_back(self, sock: _Socket) -> None:
        if len(self._idle) < _POOL and not self._closed:
            self._idle.append(sock)
        else:
            sock.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


class _Interrupted(NetlinkError):
    """A change interrupted the dump (NLM_F_DUMP_INTR); the socket is still usable."""

    def __init__(self) -> None:
        super().__init__(errno.EINTR)


class _Socket:
    """One socket in the network namespace of the calling thread."""

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
            self._sock.connect((0, 0))  # the kernel, so that no other process can answer
        except BaseException:
            self._sock.close()
            raise
        self._buffer = bytearray(_BUFFER)
        self._room = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _OVERHEAD
        self._sequence = 0

    def close(self) -> None:
        self._sock.close()

    def ioctl(self, request: int, argument: bytes) -> bytes:
        return fcntl.ioctl(self._sock.fileno(), request, argument)

    def exchange(
        self, message: bytearray, starts: Sequence[int] = (0,), single: bool = False
    ) -> list[bytes]:
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        for start in starts:
            _SEQUENCE.pack_into(message, start + _SEQUENCE_AT, self._sequence)
        if len(message) > self._room:
            self._make_room(len(message))
        try:
            self._sock.send(message)
            return self._answer(self._sequence, single)
        except BlockingIOError as error:
            raise TimeoutError(
                errno.ETIMEDOUT, f"no answer from the kernel's netlink within {_PATIENCE:g} s"
            ) from error

    def _make_room(self, size: int) -> None:
        """Enlarge the send buffer, which must have room for the whole message."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
        except OSError as error:
            detail = f"cannot send {size} bytes at once: CAP_NET_ADMIN is needed"
            raise NetlinkError(error.errno or errno.EIO, detail) from error
        self._room = size  # the kernel doubles it

    def _answer(self, expected: int, single: bool) -> list[bytes]:
        messages: list[bytes] = []
        interrupted = 0
        buffer = self._buffer
        while True:
            size = self._sock.recv_into(buffer, 0, socket.MSG_TRUNC)
            if size > _BUFFER:
                raise OSError(errno.EMSGSIZE, f"an answer of {size} bytes from the kernel")
            offset = 0
            if size < _HEADER.size:
                raise OSError(errno.EBADMSG, f"an answer of {size} bytes from the kernel")
            while offset < size:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
                end = offset + length
                if length < _HEADER.size or end > size:
                    raise OSError(errno.EBADMSG, "an answer from the kernel is cut off")
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
                    if single:
                        return messages
                offset = end + 3 & ~3


def _no_link(name: str) -> NetlinkError:
    return NetlinkError(errno.ENODEV, f"there is no link {name}")


def _about_link(name: str, error: OSError) -> NetlinkError:
    """Return the error of a look-up: only some mean that there is no such link."""
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return _no_link(name)
    return NetlinkError(error.errno or errno.EIO, f"cannot look up link {name}")


def _explanation(message: bytearray) -> str:
    """Return the extended ack's text in an NLMSG_ERROR or NLMSG_DONE, or "".

    With NETLINK_CAP_ACK only the header of the request is repeated.
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
