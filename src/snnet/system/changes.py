"""Whether something in a network namespace changed: sockets to which the kernel reports.

They do not say what changed: the caller compares the namespace with what should be.
"""

from __future__ import annotations

import errno
import socket
from struct import Struct

from snnet.contract import Alarm

from .green import never_waiting
from .netns import in_netns

_NFNL = 12  # NETLINK_NETFILTER, linux/netlink.h
_ROUTE_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25)
"""RTNLGRP_LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE,
IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF (linux/rtnetlink.h)."""
_NFT_GROUPS = (7,)
"""NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h); iptables-nft is reported there too."""

_HEADER = Struct("=IHHII")  # struct nlmsghdr
_NEIGHBOUR = Struct("=BBHiHBB")  # struct ndmsg
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40  # linux/neighbour.h
_AF_BRIDGE = 7
_TC = range(36, 48)
"""RTM_NEWQDISC to RTM_GETTFILTER."""
_RTM_DELQDISC, _RTM_DELTFILTER = 37, 45
_BUFFER = 1 << 16
_RECEIVE_BUFFER = 1 << 20


class KernelChanges(Alarm):
    """Reports changes of links, addresses, routes, neighbours, forwarding and nf_tables.

    ``netns`` is a descriptor.  What the kernel learns by itself (ARP, the fdb of a bridge)
    does not count.  Of traffic control only what is deleted or replaced does.
    """

    def __init__(self, netns: int) -> None:
        self._sockets = in_netns(netns, _open)

    def noticed(self) -> bool:
        """See :meth:`snnet.contract.Alarm.noticed`."""
        # Both are read to the end: any() would stop at the first.
        return True in [_drained(sock) for sock in self._sockets]

    def extend(self) -> bool:
        """See :meth:`snnet.contract.Alarm.extend`.  It tells of the whole namespace anyway."""
        return True

    def descriptors(self) -> list[int]:
        """See :meth:`snnet.contract.Alarm.descriptors`."""
        return [sock.fileno() for sock in self._sockets]

    def close(self) -> None:
        """See :meth:`snnet.contract.Alarm.close`."""
        for sock in self._sockets:
            sock.close()


def _open() -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, groups in ((socket.NETLINK_ROUTE, _ROUTE_GROUPS), (_NFNL, _NFT_GROUPS)):
            try:
                sockets.append(_listening(family, groups))
            except OSError as error:
                # A kernel without nf_tables has no such family; then iptables is looked at in
                # turn.  Without descriptors, for one, nobody may believe that all is told.
                if family != _NFNL or error.errno != errno.EPROTONOSUPPORT:
                    raise
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, groups: tuple[int, ...]) -> socket.socket:
    sock = never_waiting(socket.AF_NETLINK, socket.SOCK_RAW, family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        # The mask has a bit for each of the first 32 groups (netlink(7)).
        sock.bind((0, sum(1 << group - 1 for group in groups)))
    except BaseException:
        sock.close()
        raise
    return sock


def _drained(sock: socket.socket) -> bool:
    """Read all that is there; return whether any of it counts."""
    counts = False
    while True:
        try:
            data = sock.recv(_BUFFER)
        except BlockingIOError:
            return counts
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            counts = True  # more came than the socket could hold
            continue
        counts = counts or _counts(data)


def _counts(data: bytes) -> bool:
    _, kind, *_ = _HEADER.unpack_from(data)
    if kind in _TC:
        # The kernel answers whoever reads a queue as if somebody had made it, to all.
        return kind in (_RTM_DELQDISC, _RTM_DELTFILTER)
    if kind not in (_RTM_NEWNEIGH, _RTM_DELNEIGH):
        return True
    family, _, _, _, state, *_ = _NEIGHBOUR.unpack_from(data, _HEADER.size)
    # Programs set these; all others are learned.  For IP the kernel itself makes entries
    # without ARP, for each multicast and broadcast address that something is sent to.
    return bool(state & _NUD_PERMANENT or (family == _AF_BRIDGE and state & _NUD_NOARP))
