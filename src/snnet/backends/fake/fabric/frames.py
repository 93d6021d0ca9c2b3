"""What travels: Ethernet frames, ARP, IP packets and what they carry.

Values, never altered once made.  ``size`` is in bytes and counts everything
from this layer up, as the MTU of a link does for the payload of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from snnet.contract import IPAddress

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETHERNET_HEADER = 14
_ARP = 28  # RFC 826, for Ethernet and IPv4
_SOLICITATION = 72  # IPv6 header, neighbour solicitation and its option (RFC 4861, 4.3)
_IP_HEADER = {4: 20, 6: 40}
_UDP_HEADER = 8
_GRE_HEADER = 8  # with a key (RFC 2890)
_ICMP_HEADER = 8
_OPENING = {"tcp": 20, "udp": 8, "sctp": 32}  # headers; of SCTP with an INIT chunk (RFC 9260)
_DHCP = 300  # BOOTP's least (RFC 1542, 2.1)
_VNI_HEADER = 8  # VXLAN (RFC 7348, 5) and Geneve without options (RFC 8926, 3.4)
TTL = 64


@dataclass(slots=True, eq=False)
class Arp:
    """Who has ``target``, and the answer.  Over IPv6 it stands for neighbour discovery."""

    request: bool
    sender: IPAddress
    sender_mac: str
    target: IPAddress
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _ARP if self.target.version == 4 else _SOLICITATION

    def __str__(self) -> str:
        if self.target.version == 6:
            return f"neighbour solicitation for {self.target}"
        return f"ARP who-has {self.target}"


@dataclass(slots=True, eq=False)
class Echo:
    """An ICMP echo request or reply (RFC 792); ``data`` bytes follow its header."""

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
    """What opens a connection (TCP's SYN, SCTP's INIT, a UDP datagram), and its answer.

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
        return f"answer of {self.protocol}/{self.source}"


@dataclass(slots=True, eq=False)
class Dhcp:
    """A DHCP message (RFC 2131); a server's has what it leases."""

    kind: str
    mac: str
    address: IPAddress | None = None
    prefix: int = 0
    server: IPAddress | None = None
    router: IPAddress | None = None
    mtu: int = 0
    size: int = _DHCP

    def __str__(self) -> str:
        return f"DHCP {self.kind} of {self.mac}"


@dataclass(slots=True, eq=False)
class Encapsulated:
    """A frame, or for multipoint gre a packet, behind a tunnel's header.

    ``protocol`` is "gre", "vxlan" or "geneve"; ``key`` is the GRE key or the VNI.
    """

    protocol: str
    key: int
    inner: Frame | Packet
    size: int = field(init=False)
    depth: int = field(init=False)
    """How many tunnels deep it is: 1 for a frame in one."""

    def __post_init__(self) -> None:
        self.depth = 1 + _depth(self.inner)
        header = _GRE_HEADER if self.protocol == "gre" else _VNI_HEADER
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
    """An IPv4 or IPv6 packet."""

    source: IPAddress
    target: IPAddress
    payload: Echo | Segment | Udp | Encapsulated
    ttl: int = TTL
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _IP_HEADER[self.target.version] + self.payload.size

    def __str__(self) -> str:
        return f"{self.payload}, {self.source} to {self.target}"


@dataclass(slots=True, eq=False)
class Frame:
    """An Ethernet frame; ``visited`` are the bridges it has passed, to find loops."""

    source: str
    target: str
    payload: Arp | Packet
    size: int = field(init=False)
    visited: set[tuple[object, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = self.payload.size

    @property
    def flooded(self) -> bool:
        """Whether it goes to everybody: broadcast or multicast."""
        return int(self.target[1], 16) & 1 == 1


def _depth(carried: Frame | Packet | Udp | Arp | Echo | Segment | Dhcp | Encapsulated) -> int:
    """How many tunnels deep what a frame or packet carries is."""
    while isinstance(carried, (Frame, Packet, Udp)):
        carried = carried.payload
    return carried.depth if isinstance(carried, Encapsulated) else 0
