"""The addresses of a network namespace, and the ways out of it (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import ip_address

from snnet.contract import IPAddress

from .netlink import NLM_F_ACK, NLM_F_DUMP, Netlink, NetlinkError, message
from .nfnetlink import attribute, attributes

_GETADDR, _GETROUTE = 22, 26
_IFA_ADDRESS, _IFA_LOCAL, _RTA_DST, _RTA_OIF = 1, 2, 1, 4
_RTN_LOCAL = 2  # linux/rtnetlink.h
_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Reach:
    """Looks at one network namespace; to be closed, for instance by ``contextlib.closing``."""

    def __init__(self, netns: int) -> None:
        self._netlink = Netlink(netns)
        self.close = self._netlink.close

    def addresses(self) -> dict[IPAddress, set[str]]:
        """Return the names of the links that have each address of the host."""
        found: dict[IPAddress, set[str]] = {}
        asked = message(_GETADDR, NLM_F_DUMP, _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        names: dict[int, str] = {}
        for reply in self._netlink.dump(asked):
            index = _IFADDRMSG.unpack_from(reply, _HEADER.size)[4]
            values = dict(attributes(reply[_HEADER.size + _IFADDRMSG.size :]))
            packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            try:
                name = names.setdefault(index, names.get(index) or self._netlink.name(index))
            except NetlinkError:
                continue  # gone meanwhile
            if packed:
                found.setdefault(ip_address(packed), set()).add(name)
        return found

    def first_address(self, device: str) -> IPAddress | None:
        """Return the first IPv4 address of a link, which masqueraded packets get; None without one.

        One in the subnet of the next hop comes before it (inet_select_addr, net/ipv4/devinet.c).
        """
        asked = message(_GETADDR, NLM_F_DUMP, _IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, 0))
        try:
            index = self._netlink.index(device)
        except NetlinkError:
            return None
        for reply in self._netlink.dump(asked):
            if _IFADDRMSG.unpack_from(reply, _HEADER.size)[4] == index:
                values = dict(attributes(reply[_HEADER.size + _IFADDRMSG.size :]))
                return ip_address(values.get(_IFA_LOCAL) or values[_IFA_ADDRESS])
        return None

    def is_local(self, address: IPAddress) -> bool:
        """Whether packets to this address are for the host itself."""
        found = self._route(address)
        return found is not None and _RTMSG.unpack_from(found, _HEADER.size)[7] == _RTN_LOCAL

    def way(self, remote: IPAddress) -> str | None:
        """Return the link by which packets to this address leave; None if they do not."""
        found = self._route(remote)
        try:
            values = dict(attributes(found[_HEADER.size + _RTMSG.size :])) if found else {}
            return self._netlink.name(int.from_bytes(values[_RTA_OIF], sys.byteorder))
        except (NetlinkError, KeyError):
            return None

    def _route(self, remote: IPAddress) -> bytes | None:
        """Return the kernel's route to an address, or None."""
        family = _FAMILIES[remote.version]
        body = _RTMSG.pack(family, remote.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        body += attribute(_RTA_DST, remote.packed)
        try:
            return self._netlink.request(message(_GETROUTE, NLM_F_ACK, body))[0]
        except (NetlinkError, IndexError):
            return None
