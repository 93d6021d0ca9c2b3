"""The kernel's table of connections, and deleting entries from it (conntrack(8)).

See net/netfilter/nf_conntrack_netlink.c and linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from snnet.contract import IPAddress

from .netlink import NetlinkError
from .nfnetlink import Nfnetlink, attribute, attributes

_CTNETLINK = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE, _GET_STATS = 1, 2, 5
_STATS_ENTRIES = 1
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_SRC_NAT, _DST_NAT = 1 << 4, 1 << 5  # IPS_SRC_NAT, IPS_DST_NAT, nf_conntrack_common.h
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE: dict[int, int] = {socket.AF_INET: 1, socket.AF_INET6: 3}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_DESTINATION: dict[int, int] = {socket.AF_INET: 2, socket.AF_INET6: 4}
_FAMILIES: dict[int, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_FILTER_ORIG, _FILTER_REPLY = 1, 2
_BY_SRC, _BY_DST, _BY_PROTO, _BY_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_U32, _BE32 = struct.Struct("=I"), struct.Struct("!I")


class Match(NamedTuple):
    """A pattern for connections; None matches anything.

    ``original_source``, ``original_destination`` and ``original_port`` are the client and
    its target before NAT.  ``reply_source`` is the server, the target after NAT;
    ``reply_destination`` is the source after NAT.  A port needs its protocol.
    """

    protocol: str | None = None
    original_destination: IPAddress | None = None
    original_port: int | None = None
    reply_source: IPAddress | None = None
    reply_destination: IPAddress | None = None
    original_source: IPAddress | None = None

    @property
    def families(self) -> set[int]:
        """The families of the addresses in it; both if there is no address."""
        addresses = (self.original_destination, self.reply_source, self.reply_destination)
        given = [ip for ip in (*addresses, self.original_source) if ip is not None]
        return {_FAMILIES[ip.version] for ip in given} or set(_FAMILIES.values())


class Sweep(NamedTuple):
    """Connections of IPv4 that the kernel finds by itself: those of a pattern.

    ``target_translated`` and ``source_translated`` say whether NAT has changed their target
    or source; None matches both.  The pattern has no more than one end of each direction.
    """

    match: Match
    target_translated: bool | None = None
    source_translated: bool | None = None


class Connection(NamedTuple):
    """The fields of a match, in the same order, in the kernel's bytes.

    Then the port of the responder, and the kernel's own identification.
    """

    protocol: int
    original_destination: bytes
    original_port: int
    reply_source: bytes
    reply_destination: bytes
    original_source: bytes
    reply_port: int
    identity: bytes

    @property
    def protocol_name(self) -> str:
        """The protocol's name, where it has ports; else empty."""
        return _NAMES.get(self.protocol, "")


class Conntrack:
    """The connections of one network namespace.  It keeps its socket.

    Closing the socket would wait until nftables has cleaned up after its last transaction
    (nft_rcv_nl_event, net/netfilter/nf_tables_api.c), which takes 20 ms.
    """

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, _CTNETLINK)
        self._sweeps = True
        """Whether the kernel forgets connections by a filter, until it refuses."""
        self.close = self._kernel.close

    def any(self) -> bool:
        """Whether there are any connections: the kernel knows this without a search."""
        found = dict(attributes(self._kernel.look_up(_GET_STATS, b"")))
        return found.get(_STATS_ENTRIES) != bytes(4)

    def forget(
        self, matches: Iterable[Match], spare: Callable[[Connection], bool] | None = None
    ) -> int:
        """Make the kernel forget every connection that fits one of the matches.

        Except those for which ``spare`` returns True; it is called for no others.  Their
        next packets count as those of new connections.  Return the number of connections
        forgotten.  The kernel goes through its table once for all matches of a family; this
        takes about 10 ms, depending on the table's size, not on its content.  Raise
        ``NetlinkError`` if the kernel cannot list connections.
        """
        matches = list(dict.fromkeys(matches))
        count = 0
        for family in sorted(set[int]().union(*(match.families for match in matches))):
            asked = [match for match in matches if family in match.families]
            count += self._forget(family, asked, spare)
        return count

    def sweep(self, sweeps: Iterable[Sweep]) -> bool:
        """Make the kernel forget these connections, and list none; return False if it cannot.

        That takes 0.2 ms for each.  The kernel locks no empty place of its table, which it
        does for a list.  Linux before 6.12 forgets a single connection only, whose ends it
        must be given whole, and refuses (ctnetlink_del_conntrack).
        """
        if not self._sweeps:
            return False
        for one in sweeps:
            try:
                asked = _filter(socket.AF_INET, one.match) + _status(one)
                self._kernel.ask(_DELETE, asked)
            except NetlinkError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                self._sweeps = False
                return False
        return True

    def _forget(
        self, family: int, matches: list[Match], spare: Callable[[Connection], bool] | None
    ) -> int:
        wanted = _Index(matches)
        count = 0
        listed = self._kernel.dump(_GET, _filter(family, _common(matches)), family)
        for message in listed:
            connection = _parse(family, message)
            if connection is None or not wanted.has(connection):
                continue
            if spare is not None and spare(connection):
                continue
            try:
                self._kernel.ask(_DELETE, connection.identity, family)
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it has ended by itself
                    raise
            count += 1
        return count


def _common(matches: list[Match]) -> Match:
    """Return what all matches have in common, which the kernel can filter by."""
    return Match(
        *(values[0] if len(set(values)) == 1 else None for values in zip(*matches, strict=True))
    )


class _Index:
    """Matches grouped by the fields that they use: one look-up for each group."""

    def __init__(self, matches: Iterable[Match]) -> None:
        self._by_fields: dict[tuple[int, ...], set[tuple[object, ...]]] = {}
        for match in matches:
            values = [
                _NUMBERS[value] if isinstance(value, str) else getattr(value, "packed", value)
                for value in match
            ]
            fields = tuple(number for number, value in enumerate(values) if value is not None)
            key = tuple(values[number] for number in fields)
            self._by_fields.setdefault(fields, set()).add(key)

    def has(self, connection: Connection) -> bool:
        return any(
            tuple(connection[number] for number in fields) in keys
            for fields, keys in self._by_fields.items()
        )


def _filter(family: int, match: Match) -> bytes:
    """Return the attribute that makes the kernel list those connections only (CTA_FILTER).

    Not by IPv6 addresses: it would leave out just those that have them, because its comparison
    is the wrong way round (ctnetlink_filter_match_tuple, "!ipv6_addr_cmp").
    """
    if family == socket.AF_INET6:
        match = Match(match.protocol, original_port=match.original_port)
    asking = match.original_source, match.original_destination
    original, original_flags = _tuple(family, *asking, match.protocol, match.original_port)
    answering = match.reply_source, match.reply_destination
    reply, reply_flags = _tuple(family, *answering, None, None)
    flags = attribute(_FILTER_ORIG, _U32.pack(original_flags))
    flags += attribute(_FILTER_REPLY, _U32.pack(reply_flags))
    asked = attribute(_FILTER, flags, nested=True)
    if original:
        asked += attribute(_TUPLE_ORIG, original, nested=True)
    if reply:
        asked += attribute(_TUPLE_REPLY, reply, nested=True)
    return asked


def _status(sweep: Sweep) -> bytes:
    """Return the attributes that compare what NAT has done, if anything."""
    asked = {_DST_NAT: sweep.target_translated, _SRC_NAT: sweep.source_translated}
    mask = sum(bit for bit, wanted in asked.items() if wanted is not None)
    bits = sum(bit for bit, wanted in asked.items() if wanted)
    if not mask:
        return b""  # the kernel refuses a mask without bits
    return attribute(_STATUS, _BE32.pack(bits)) + attribute(_STATUS_MASK, _BE32.pack(mask))


def _tuple(
    family: int,
    source: IPAddress | None,
    destination: IPAddress | None,
    protocol: str | None,
    port: int | None,
) -> tuple[bytes, int]:
    """Return one direction of a connection, and which of its fields count."""
    flags, addresses, ends = 0, b"", b""
    if source is not None:
        flags |= _BY_SRC
        addresses += attribute(_SOURCE[family], source.packed)
    if destination is not None:
        flags |= _BY_DST
        addresses += attribute(_DESTINATION[family], destination.packed)
    if protocol is not None:
        flags |= _BY_PROTO
        ends += attribute(_PROTO_NUM, bytes([_NUMBERS[protocol]]))
        if port is not None:
            flags |= _BY_PORT
            ends += attribute(_DST_PORT, port.to_bytes(2, "big"))
    parts = attribute(_TUPLE_IP, addresses, nested=True) if addresses else b""
    parts += attribute(_TUPLE_PROTO, ends, nested=True) if ends else b""
    return parts, flags


def _parse(family: int, message: bytes) -> Connection | None:
    found = dict(attributes(message))
    original = dict(attributes(found.get(_TUPLE_ORIG, b"")))
    reply = dict(attributes(found.get(_TUPLE_REPLY, b"")))
    asking = dict(attributes(original.get(_TUPLE_IP, b"")))
    protocol = dict(attributes(original.get(_TUPLE_PROTO, b"")))
    answering = dict(attributes(reply.get(_TUPLE_IP, b"")))
    source, destination = _SOURCE[family], _DESTINATION[family]
    if destination not in asking or source not in answering or _PROTO_NUM not in protocol:
        return None
    identity = attribute(_TUPLE_ORIG, found[_TUPLE_ORIG], nested=True)
    for kind in (_ID, _ZONE):
        if kind in found:
            identity += attribute(kind, found[kind])
    answers = dict(attributes(reply.get(_TUPLE_PROTO, b"")))
    return Connection(
        protocol=protocol[_PROTO_NUM][0],
        original_destination=asking[destination],
        original_port=int.from_bytes(protocol.get(_DST_PORT, b""), "big"),
        reply_source=answering[source],
        reply_destination=answering.get(destination, b""),
        original_source=asking.get(source, b""),
        reply_port=int.from_bytes(answers.get(_SRC_PORT, b""), "big"),
        identity=identity,
    )
