"""The bridge that a scope is served on, in the network namespace of the calling thread."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct

from snnet.contract import DhcpScope, IPAddress, Missing

_SIOCGIFADDR = 0x8915  # linux/sockios.h, netdevice(7)
_PORTS = {socket.AF_INET: 67, socket.AF_INET6: 547}  # of servers: RFC 2131, 4.1; RFC 8415, 7.2


def index_of(link: str) -> int | None:
    """Return the ifindex of the link in the calling thread's namespace, or None."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return None


def bridge_index(scope: DhcpScope) -> int:
    """Return the ifindex of the bridge; raise ``Missing`` if it lacks a gateway address."""
    for gateway in scope.gateways:
        if not _has_address(scope.link, gateway):
            raise Missing(f"bridge {scope.link} has no address {gateway}: add it before the scope")
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(scope.link)
    raise Missing(f"bridge {scope.link} does not exist")


def may_be_served(link: str) -> bool:
    """Whether somebody has a port of DHCP on the link; also True where that cannot be told."""
    return any(_is_taken(link, family, port) for family, port in _PORTS.items())


def _is_taken(link: str, family: socket.AddressFamily, port: int) -> bool:
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    with sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("", port))  # fails beside any other, for it lets nobody share the port
        except OSError:
            return True
    return False


def _has_address(link: str, address: IPAddress) -> bool:
    """Whether the link has the address, usable: a socket on the link can be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sock.bind((str(address), 0))
        return family == socket.AF_INET6 or _first_address(sock, link, address) == address.packed
    return False


def _first_address(sock: socket.socket, link: str, address: IPAddress) -> bytes:
    """Return this IPv4 address if the link has it, else the link's first one.

    The kernel binds an IPv4 socket to the address of any link.
    """
    request = struct.pack("16sHH4s16x", link.encode(), socket.AF_INET, 0, address.packed)
    return fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24]
