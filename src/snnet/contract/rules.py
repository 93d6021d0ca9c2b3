"""Firewall rules as intents.  A driver decides how to write them.

Their meaning follows, in the order of netfilter's hooks.  A packet to which no rule
applies passes unchanged.  Rules apply to IPv4 and IPv6, unless they say otherwise.

Bridge ports.  Frames from an ``Untracked`` port are not tracked, defragmented or translated,
unless they are for its ``router``; nor are the UDP packets of a tunnel with a ``TunnelGuard``.
Frames from an ``Untracked`` port to bridges themselves (IEEE 802.1D) never reach the host.
A frame from the guest behind an ``AntiSpoof`` link passes only if it is ARP or IP, and if every
sender's MAC in it is that of the rule, and every sender's address is one of its addresses or is
in one of its networks.  A source of 0.0.0.0 passes in ARP probes (RFC 5227) and in requests of
DHCP clients.  Answers of DHCP servers (UDP from port 67 or to port 68) never pass.

A guest with an IPv6 address may also use link-local addresses: the one formed from its MAC, and
all that are not formed from a MAC (RFC 7217), but not ``fe80::1``, which is a gateway's.  Of
ICMPv6 it may send errors, echo messages, MLD reports, router solicitations and neighbour
messages.  Neighbour messages (RFC 4861) name only its own MAC, and have no extension headers and
no further options (RFC 6980); advertisements and duplicate detection are about its own addresses.
A source of :: passes in duplicate detection, router solicitations and MLD reports.  Router
advertisements, redirects (RFC 6105) and the answers of DHCPv6 servers and relays (UDP from port
547 or to port 546, RFC 7610) never pass, whatever headers precede them; ICMPv6 and UDP behind AH,
mobility, HIP or Shim6 headers do not.  A first fragment does not pass if it does not show what the
packet is (RFC 7112, RFC 7113), or if further headers precede that.

A port with ``PortGroups`` passes what its guest sends only if an "out" rule of one of its groups
allows it, and what the guest would receive only if an "in" rule does.  Answers to what passed by
a rule pass too: packets of the same connection (tcp, udp, sctp), echo replies, ICMP errors about
it or its answers, and packets of other protocols between the two hosts.  ARP, neighbour
discovery and DHCP pass.  So do fragments after the first, which are useless without it.  Frames
with VLAN tags, and first fragments of IPv6 with headers before the upper layer, do not pass.

Destination NAT, of new connections:

1. to ``PublicIp.public``, from anywhere, the host itself included: to its ``internal``;
2. arriving by ``PortForward.device`` for an address of the host, to its protocol and
   port: to its ``target`` and ``target_port``.  A forward with an ``address`` is for
   packets to that address, one without for any address of the host;
3. from a link of a ``Zone``, or from the host itself, to one of the
   ``PortForward.guest_addresses`` of the same owner, to its protocol and port: likewise
   (hairpin).

In 2 and in 3, a forward with an ``address`` comes before one without.  A forward with
``sources`` applies only to packets from these networks.  For all others the next forward
applies, or else the host itself gets the packet.

Forwarding of routed packets, and of bridged packets if the kernel passes them to the
hooks of IP (br_netfilter):

1. between the ports of a ``BridgeAccept`` bridge: pass.  Other packets from such a
   bridge or to it: dropped.
2. between links of one ``Zone``: pass.
3. from a link of a zone to any other: pass if they answer (conntrack: established,
   related); dropped if a ``ProtectedNetwork`` says so; pass by ``ExternalForward`` while
   its device has ``Masquerade``, or if the source is the ``internal`` of a ``PublicIp``
   on that device; else 4 applies if the zone is ``outbound``, and they are dropped if not.
4. from any other link to one of a zone: pass if they answer, if they were destined
   for something else before NAT, if the source is in the zone's ``networks``, or if the
   target is an ``OpenAddress``; else dropped.

To the host itself: dropped if they are for the UDP port or the GRE key of a ``TunnelGuard`` and
come from none of the remotes that its owner's guards name for that port or key.  From a
``HostServices`` link only DHCP, DNS, ICMP, IGMP and answers pass, but no router advertisements
and redirects.  Dropped if they come by a ``HostIsolation`` link, answer nothing and are not for its
``open_address``; neighbour solicitations and advertisements are dropped only with ``arp``.

Source NAT, of new connections:

1. between links of zones, if the destination was changed: to the host's address on
   the way out, or the answer would not come back this way (hairpin);
2. from a ``PublicIp.internal``, leaving by its device: to its ``public``;
3. from a ``TranslatedSource``, leaving by a link of no zone: to an address of that link;
4. leaving by a ``Masquerade`` device: to an address of the device, but for what has
   an address of the host as its source, and for IPv6 without ``nat66``.

Packets of no connection (conntrack: invalid, or untracked, as neighbour discovery always is)
are not translated, so they do not leave a zone where rules 2 to 4 would apply to them.  IPv6
that keeps its source leaves as it is.

When a ``PortForward`` or a ``PublicIp`` is added or removed, or a ``Masquerade`` or an
``ExternalForward`` is removed, the driver deletes the kernel's entries of connections
(conntrack) that would otherwise bypass the change.  Connections that the remaining rules
allow, and translate in the same way, continue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

from .groups import GROUPS
from .guards import GUARDS
from .noun import IPAddress, IPNetwork, Key, Noun, Owned

PROTOCOLS = ("tcp", "udp", "sctp")
"""The protocols with ports."""

TUNNEL_PORTS = ((4789, 4789), (6081, 6081), (16384, 32767))
"""Ranges of UDP ports, first and last, that tunnels of snnet use: vxlan of the mesh (RFC 7348),
geneve (RFC 8926), and vxlan between two nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone(Owned):
    """Links that reach each other, and nothing else unless a rule allows it.

    ``networks`` are the networks of members behind other nodes: they may open
    connections into the zone from any link.  With ``outbound``, members may open
    connections to everything that is not in a zone.
    """

    rank: ClassVar[int] = 12
    changeable: ClassVar[frozenset[str]] = frozenset({"networks"})

    zone: str
    networks: tuple[IPNetwork, ...] = ()
    """Given in any order, kept sorted."""
    outbound: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", _sorted(self.networks))
        Owned.__post_init__(self)

    def make_key(self) -> Key:
        return ("zone", self.owner, self.zone)

    def __str__(self) -> str:
        networks = "".join(f" {network}" for network in self.networks)
        outbound = " outbound" if self.outbound else ""
        return f"zone {self.zone}{outbound}{' of' if networks else ''}{networks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedNetwork(Owned):
    """Members of zones cannot open connections out of their zone to tunnels in ``network``.

    Tunnels are the UDP ports ``TUNNEL_PORTS`` and ``port``, and GRE.  ``closed``: members can open
    no connection to the network at all.  Networks of one owner must not overlap.
    """

    rank: ClassVar[int] = 13

    network: IPNetwork
    closed: bool = True
    port: int | None = None

    def make_key(self) -> Key:
        return ("protected-network", self.owner, str(self.network))

    def __str__(self) -> str:
        what = f" tunnels{f' and udp/{self.port}' if self.port else ''} in"
        return f"zones keep away from{'' if self.closed else what} {self.network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneLink(Owned):
    """``link`` is in the zone, which must exist.  A link is in at most one zone.

    ``networks`` are those behind the link.
    """

    rank: ClassVar[int] = 14

    link: str
    zone: str
    networks: tuple[IPNetwork, ...] = ()

    def make_key(self) -> Key:
        return ("zone-link", self.owner, self.link)

    def __str__(self) -> str:
        networks = f" with {' '.join(map(str, self.networks))}" if self.networks else ""
        return f"zone {self.zone} link {self.link}{networks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAccept(Owned):
    """Frames between the ports of ``bridge`` pass; nothing is routed from or to it."""

    rank: ClassVar[int] = 15

    bridge: str

    def make_key(self) -> Key:
        return ("bridge-accept", self.owner, self.bridge)

    def __str__(self) -> str:
        return f"accept through bridge {self.bridge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade(Owned):
    """Packets that leave by ``device`` get an address of the device (source NAT).

    IPv6 packets get one only with ``nat66``; without it they keep their source.
    """

    rank: ClassVar[int] = 60

    device: str
    nat66: bool = False

    def make_key(self) -> Key:
        return ("masquerade", self.owner, self.device)

    def __str__(self) -> str:
        return f"masquerade{' of IPv6 too' if self.nat66 else ''} on {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedSource(Owned):
    """Packets from ``source`` that leave by a link of no zone get an address of that link."""

    rank: ClassVar[int] = 18

    source: IPAddress

    def make_key(self) -> Key:
        return ("translated-source", self.owner, str(self.source))

    def __str__(self) -> str:
        return f"translate the source {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAddress(Owned):
    """``address`` is behind a link of a zone, and everybody may open connections to it."""

    rank: ClassVar[int] = 19

    address: IPAddress

    def make_key(self) -> Key:
        return ("open-address", self.owner, str(self.address))

    def __str__(self) -> str:
        return f"let everybody reach {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalForward(Owned):
    """Guests on ``bridge`` may open connections by ``device``, which has a ``Masquerade``."""

    rank: ClassVar[int] = 61

    device: str
    bridge: str

    def make_key(self) -> Key:
        return ("external-forward", self.owner, self.device, self.bridge)

    def __str__(self) -> str:
        return f"forward {self.bridge} to {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward(Owned):
    """``protocol`` ``port`` on ``device`` goes to ``target``:``target_port``.

    ``address`` is the address of the host that packets have to be for; None stands for
    any of the target's family.  Forwards of one port to different addresses, and of both
    families, exist side by side.  ``addresses`` are the device's, by which guests reach a
    forward without an ``address``.
    """

    rank: ClassVar[int] = 62

    protocol: str
    device: str
    port: int
    target: IPAddress
    target_port: int
    addresses: tuple[IPAddress, ...] = ()
    address: IPAddress | None = None
    sources: tuple[IPNetwork, ...] = ()
    """Networks whose hosts may use it, sorted; none: everybody may."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", _sorted(self.sources))
        Owned.__post_init__(self)

    def make_key(self) -> Key:
        return forward_key(
            self.owner,
            self.protocol,
            self.device,
            self.port,
            self.address,
            version=self.target.version,
        )

    @property
    def guest_addresses(self) -> tuple[IPAddress, ...]:
        """The addresses by which guests reach it, each once."""
        if self.address:
            return (self.address,)
        version = self.target.version
        return tuple(dict.fromkeys(ip for ip in self.addresses if ip.version == version))

    def admits(self, source: IPAddress) -> bool:
        """Whether a host with this address may use it."""
        return not self.sources or any(source in network for network in self.sources)

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        if self.protocol not in PROTOCOLS:
            return f"protocol {self.protocol!r} has no ports"
        for port in (self.port, self.target_port):
            if not 0 < port < 2**16:
                return f"{port} is not a port from 1 to 65535"
        if self.address is not None:
            if self.address.is_unspecified:
                return f"{self.address} is not the address of a host"
            if self.address.version != self.target.version:
                return f"packets to {self.address} cannot go to {self.target}"
        for network in self.sources:
            if network.version != self.target.version:
                return f"hosts of {network} cannot reach {self.target}"
        return None

    def __str__(self) -> str:
        at = f" at {self.address}" if self.address else ""
        only = f" for {' '.join(map(str, self.sources))}" if self.sources else ""
        to = with_port(self.target, self.target_port)
        return f"port {self.protocol}/{self.port} on {self.device}{at} to {to}{only}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIp(Owned):
    """``public`` on ``device`` stands for ``internal``, one to one, in both directions."""

    # Added before its address: if the process is killed in between, the rule names both.
    rank: ClassVar[int] = 25

    public: IPAddress
    internal: IPAddress
    device: str
    gateway: IPAddress | None = None
    """The router by which its packets leave; None: that of the host's routes."""

    def make_key(self) -> Key:
        return ("public-ip", self.owner, str(self.public))

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        if self.public.version != self.internal.version:
            return f"{self.public} cannot stand for {self.internal}"
        return None

    def __str__(self) -> str:
        by = f" by {self.gateway}" if self.gateway else ""
        return f"public address {self.public} on {self.device} for {self.internal}{by}"


def forward_key(
    owner: str,
    protocol: str,
    device: str,
    port: int,
    address: IPAddress | None = None,
    *,
    version: int = 4,
) -> Key:
    """Return the key of a ``PortForward`` of this port, for one address or for any.

    ``version`` is the family of a forward for any address.
    """
    any_address = () if version == 4 else ("::",)
    at = (str(address),) if address else any_address
    return ("port-forward", owner, protocol, device, str(port), *at)


def with_port(address: IPAddress, port: int) -> str:
    """Return address and port as text: an IPv6 address is in brackets (RFC 3986)."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _sorted(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The networks, each once."""
    return tuple(sorted(set(networks), key=attrgetter("version", "network_address", "prefixlen")))


RULES: frozenset[type[Noun]] = frozenset(
    {
        Zone,
        ProtectedNetwork,
        ZoneLink,
        BridgeAccept,
        Masquerade,
        ExternalForward,
        PortForward,
        PublicIp,
        TranslatedSource,
        OpenAddress,
        *GUARDS,
        *GROUPS,
    }
)
"""All rules: the nouns that a firewall driver carries."""
