"""Ethernet frames, ARP, IP packets, and their payloads.

Here: what travels.  Not here: where it travels.  All classes are values that are not
modified after construction, except ``Frame.visited``.  ``size`` is in bytes and counts
this layer and its payload, as the MTU of a link counts the payload of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from snnet.contract import TUNNELS, IPAddress, IPNetwork
from snnet.contract.addresses import is_multicast_mac

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETHERNET_HEADER = 14
_ARP = 28  # RFC 826, for Ethernet and IPv4
_SOLICITATION = 72  # IPv6 header, neighbour solicitation and its option (RFC 4861, 4.3)
_IP_HEADER = {4: 20, 6: 40}
_UDP_HEADER = 8
_ICMP_HEADER = 8
_OPENING = {"tcp": 20, "udp": 8, "sctp": 32}  # headers; SCTP includes an INIT chunk (RFC 9260)
_DHCP = 300  # minimum size of BOOTP (RFC 1542, 2.1)
_TUNNEL_HEADER = {noun.protocol: noun.header for noun in TUNNELS}
TTL = 64


@dataclass(slots=True, eq=False)
class Arp:
    """An ARP request for ``target`` or the reply; for IPv6 addresses, neighbour discovery.

    ``sender_mac`` is empty if a message of IPv6 has no link-layer option.  ``options`` is the
    number of its options beside that one; a nonce (RFC 7527) is none of them.
    """

    request: bool
    sender: IPAddress
    sender_mac: str
    target: IPAddress
    options: int = 0
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _ARP if self.target.version == 4 else _SOLICITATION

    def __str__(self) -> str:
        if self.target.version == 6:
            if not self.request:
                return f"neighbour advertisement for {self.sender}"
            return f"neighbour solicitation for {self.target}"
        return f"ARP who-has {self.target}"


@dataclass(slots=True, eq=False)
class Echo:
    """An ICMP echo request or reply (RFC 792) with ``data`` bytes after the header."""

    request: bool
    number: int
    data: int
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _ICMP_HEADER + self.data

    def reply(self) -> Echo:
        return Echo(False, self.number, self.data)

    def __str__(self) -> str:
        return "echo request" if self.request else "echo reply"


@dataclass(slots=True, eq=False)
class Segment:
    """The packet that opens a connection (TCP SYN, SCTP INIT, UDP datagram), or the answer.

    ``source`` and ``target`` are ports.
    """

    protocol: str
    source: int
    target: int
    request: bool = True
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _OPENING[self.protocol]

    def reply(self) -> Segment:
        return Segment(self.protocol, self.target, self.source, request=False)

    def __str__(self) -> str:
        if self.request:
            return f"{self.protocol}/{self.target}"
        return f"answer from {self.protocol}/{self.source}"


@dataclass(slots=True, eq=False)
class Dhcp:
    """A message of DHCP, or of DHCPv6 (``six``); only servers set the fields of the lease."""

    kind: str
    mac: str
    address: IPAddress | None = None
    prefix: int = 0
    server: IPAddress | None = None
    router: IPAddress | None = None
    mtu: int = 0
    six: bool = False
    size: int = _DHCP

    def __str__(self) -> str:
        return f"DHCP{'v6' if self.six else ''} {self.kind} for {self.mac}"


@dataclass(slots=True, eq=False)
class Icmp6:
    """An ICMPv6 message that is neither an echo nor about a neighbour (RFC 4443, RFC 4861).

    ``mac`` is that of its link-layer option.  ``mtu`` is what "packet too big" and router
    advertisements say, ``network`` the prefix of the latter, ``about`` the packet that an
    error is about.
    """

    kind: str
    mac: str = ""
    mtu: int = 0
    network: IPNetwork | None = None
    about: Packet | None = None
    size: int = 56

    def __str__(self) -> str:
        return self.kind


ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = "router solicitation", "router advertisement"
REDIRECT, MLD_REPORT = "redirect", "MLD report"
UNREACHABLE, TOO_BIG = "destination unreachable", "packet too big"
TIME_EXCEEDED, PARAMETER_PROBLEM = "time exceeded", "parameter problem"
ICMP6_ERRORS = frozenset({UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM})


@dataclass(slots=True, eq=False)
class Fragment:
    """A fragment of an IPv6 packet (RFC 8200, 4.5).

    ``of`` is what a first fragment tells of the packet's upper layer; None if that comes in
    a later one.  ``start`` is the byte at which a later one begins.
    """

    first: bool
    of: Echo | Segment | Udp | Icmp6 | None = None
    start: int = 1232
    size: int = 1240

    def __str__(self) -> str:
        return f"{'first' if self.first else 'later'} fragment of {self.of or 'a packet'}"


@dataclass(slots=True, eq=False)
class Encapsulated:
    """A frame behind a tunnel's header; multipoint gre carries a packet instead.

    ``protocol`` is a tunnel noun's; ``key`` is the GRE key or the VNI.
    """

    protocol: str
    key: int
    inner: Frame | Packet
    size: int = field(init=False)
    depth: int = field(init=False)
    """The number of nested tunnels: 1 for a frame in one tunnel."""

    def __post_init__(self) -> None:
        self.depth = 1 + _depth(self.inner)
        header = _TUNNEL_HEADER[self.protocol]
        inner = ETHERNET_HEADER if isinstance(self.inner, Frame) else 0
        self.size = header + inner + self.inner.size

    def __str__(self) -> str:
        return f"{self.protocol} {'key' if self.protocol == 'gre' else 'vni'} {self.key}"


@dataclass(slots=True, eq=False)
class Udp:
    source: int
    target: int
    payload: Dhcp | Encapsulated
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _UDP_HEADER + self.payload.size

    def __str__(self) -> str:
        return f"{self.payload} to UDP port {self.target}"


@dataclass(slots=True, eq=False)
class Packet:
    """An IPv4 or IPv6 packet; ``headers`` are the names of its extension headers."""

    source: IPAddress
    target: IPAddress
    payload: Echo | Segment | Udp | Encapsulated | Icmp6 | Fragment | Arp
    ttl: int = TTL
    headers: tuple[str, ...] = ()
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _IP_HEADER[self.target.version] + 8 * len(self.headers) + self.payload.size

    def forwarded(self) -> Packet:
        """Return the packet as a router sends it on."""
        return Packet(self.source, self.target, self.payload, self.ttl - 1, self.headers)

    def __str__(self) -> str:
        behind = f" behind {', '.join(self.headers)}" if self.headers else ""
        return f"{self.payload}{behind}, {self.source} to {self.target}"


@dataclass(slots=True, eq=False)
class Frame:
    """An Ethernet frame; ``visited`` has the bridges it passed, to detect loops."""

    source: str
    target: str
    payload: Arp | Packet
    size: int = field(init=False)
    flooded: bool = field(init=False)
    """Whether the target is a broadcast or multicast MAC."""
    visited: set[tuple[object, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = self.payload.size
        self.flooded = is_multicast_mac(self.target)

    @property
    def is_for_bridges(self) -> bool:
        """Whether a bridge without spanning tree keeps the frame (IEEE 802.1D)."""
        return self.target.startswith("01:80:c2:00:00:0") and self.target[-1] not in "01"


def _depth(carried: object) -> int:
    """Return the number of nested tunnels in a payload."""
    while isinstance(carried, (Frame, Packet, Udp)):
        carried = carried.payload
    return carried.depth if isinstance(carried, Encapsulated) else 0
