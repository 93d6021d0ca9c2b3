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

    def way(self, remote: IPAddress) -> str | None:
        """Return the link by which packets to this address leave; None if they do not."""
        family = _FAMILIES[remote.version]
        body = _RTMSG.pack(family, remote.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        body += attribute(_RTA_DST, remote.packed)
        try:
            replies = self._netlink.request(message(_GETROUTE, NLM_F_ACK, body))
            found = dict(attributes(replies[0][_HEADER.size + _RTMSG.size :]))
            return self._netlink.name(int.from_bytes(found[_RTA_OIF], sys.byteorder))
        except (NetlinkError, IndexError, KeyError):
            return None
