"""Firewall rules as intents.  A driver decides how they are written.

What all of them together mean, in the order of netfilter's hooks; where no rule
of snnet speaks of a packet, snnet's drivers let it pass and leave it alone.

Bridge ports.  Frames from an ``Untracked`` port are not tracked, defragmented or
translated, unless they are for its ``router``.  A frame from the guest behind an
``AntiSpoof`` link passes only if it is ARP or IP, and says the MAC and one of the
addresses of the rule wherever it says a sender's.  A source of 0.0.0.0 passes in ARP
probes (RFC 5227) and in requests of DHCP clients; answers of DHCP servers (UDP from
port 67) never do.

Destination NAT, of new connections:

1. to ``PublicIp.public``, whoever asks, the host itself included: to its ``internal``;
2. arriving by ``PortForward.device`` for any address of the host, to its protocol
   and port: to its ``target`` and ``target_port``;
3. from a link of a ``Zone`` to one of ``PortForward.addresses``: likewise (hairpin).

Forwarding, that is routed packets, and bridged ones where the kernel shows them to
IP's hooks (br_netfilter):

1. between the ports of a ``BridgeAccept`` bridge: pass.  Other packets from such a
   bridge or to it: dropped.
2. between links of one ``Zone``: pass.
3. from a link of a zone to any other: pass if they answer (conntrack: established,
   related); dropped if a ``ProtectedNetwork`` says so; pass by ``ExternalForward`` while
   its device has ``Masquerade``, or if the source is the ``internal`` of a ``PublicIp``
   on that device; else dropped, but from an ``outbound`` zone looked at by 4.
4. from any other link to one of a zone: pass if they answer, if they were destined
   for something else before NAT, or if the source is in the zone's ``networks``;
   else dropped.

To the host itself: dropped if they are for a tunnel with a ``TunnelGuard`` and come from
none of its remotes.  Dropped if they come by a ``HostIsolation`` link and answer
nothing.

Source NAT, of new connections:

1. between links of zones, if the destination was changed: to the host's address on
   the way out, or the answer would not come back this way (hairpin);
2. from a ``PublicIp.internal``, leaving by its device: to its ``public``;
3. leaving by a ``Masquerade`` device: to an address of the device.

When a ``PortForward`` or a ``PublicIp`` comes or goes, the driver makes the kernel
forget the connections that would otherwise go on as before (conntrack).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar

from .noun import IPAddress, IPNetwork, Key, Noun, Owned

PROTOCOLS = ("tcp", "udp", "sctp")
"""Those that have ports."""

TUNNEL_PORTS = ((4789, 4789), (6081, 6081), (16384, 32767))
"""UDP ports that tunnels of snnet's nodes use, first and last: vxlan of the mesh (RFC 7348),
geneve (RFC 8926), and vxlan between two nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone(Owned):
    """Links that reach each other and, but for what rules allow, nothing else.

    ``networks`` are those of members that are behind other nodes: they may open
    connections into the zone from any link.  ``outbound``: members may open
    connections to what is in no zone at all.
    """

    rank: ClassVar[int] = 12
    changeable: ClassVar[frozenset[str]] = frozenset({"networks"})

    zone: str
    networks: tuple[IPNetwork, ...] = ()
    """In any order: they come back sorted."""
    outbound: bool = False

    def __post_init__(self) -> None:
        ordered = sorted(
            set(self.networks), key=lambda net: (net.version, net.network_address, net.prefixlen)
        )
        object.__setattr__(self, "networks", tuple(ordered))

    @property
    def key(self) -> Key:
        return ("zone", self.owner, self.zone)

    def __str__(self) -> str:
        networks = "".join(f" {network}" for network in self.networks)
        outbound = " outbound" if self.outbound else ""
        return f"zone {self.zone}{outbound}{' of' if networks else ''}{networks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedNetwork(Owned):
    """Members of zones open no connections out of their zone to tunnels in ``network``.

    Tunnels are ``TUNNEL_PORTS`` of UDP, and GRE.  ``closed``: nor to anything else there.
    Networks of one owner do not overlap.
    """

    rank: ClassVar[int] = 13

    network: IPv4Network
    closed: bool = True

    @property
    def key(self) -> Key:
        return ("protected-network", self.owner, str(self.network))

    def __str__(self) -> str:
        what = "" if self.closed else " tunnels in"
        return f"zones keep away from{what} {self.network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneLink(Owned):
    """``link`` is in the zone, which must be there; a link is in one zone at most.

    ``network`` is what is behind it, if that is a network.
    """

    rank: ClassVar[int] = 14

    link: str
    zone: str
    network: IPv4Network | None = None

    @property
    def key(self) -> Key:
        return ("zone-link", self.owner, self.link)

    def __str__(self) -> str:
        network = f" with {self.network}" if self.network else ""
        return f"zone {self.zone} link {self.link}{network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAccept(Owned):
    """Frames between the ports of ``bridge`` pass; nothing is routed from it or to it."""

    rank: ClassVar[int] = 15

    bridge: str

    @property
    def key(self) -> Key:
        return ("bridge-accept", self.owner, self.bridge)

    def __str__(self) -> str:
        return f"accept through bridge {self.bridge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Untracked(Owned):
    """The host does not track, defragment or translate frames from the bridge port ``link``.

    Otherwise, where br_netfilter shows bridged frames to IP's hooks, all tenants share the
    host's connections and fragments, and others' NAT rules rewrite their frames.
    ``router`` is the bridge's MAC where the host routes for the bridge: frames to it are
    the host's own business and are tracked as usual.
    """

    rank: ClassVar[int] = 15

    link: str
    router: str | None = None

    @property
    def key(self) -> Key:
        return ("untracked", self.owner, self.link)

    def __str__(self) -> str:
        router = f" but for {self.router}" if self.router else ""
        return f"no tracking of frames from port {self.link}{router}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelGuard(Owned):
    """What arrives for the tunnel ``link`` is dropped unless ``remote`` sent it.

    ``protocol`` is "udp", with the tunnel's ``port``, or "gre" with port 0; ``tunnel_key`` is the
    VNI or the GRE key.  A link may have several remotes, a guard each.  Ports and keys that
    no guard names are left alone.  vxlan and multipoint gre need it: the kernel takes their
    packets from any sender (vxlan_rcv, ip_tunnel_lookup), but those of gretap and geneve
    from their remote alone.
    """

    # Before its link: a tunnel is never up without its guard.
    rank: ClassVar[int] = 16

    link: str
    protocol: str
    port: int
    tunnel_key: int
    remote: IPAddress

    @property
    def key(self) -> Key:
        return ("tunnel-guard", self.owner, self.link, str(self.remote))

    def __str__(self) -> str:
        port = f"/{self.port}" if self.port else ""
        where = f"{self.protocol}{port} key {self.tunnel_key}"
        return f"only {self.remote} to tunnel {self.link} ({where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIsolation(Owned):
    """Who is behind ``link`` does not reach the host's own addresses.

    ``arp``: the host does not answer ARP there either.
    """

    rank: ClassVar[int] = 16

    link: str
    arp: bool = True

    @property
    def key(self) -> Key:
        return ("host-isolation", self.owner, self.link)

    def __str__(self) -> str:
        return f"host out of reach{' by IP' if not self.arp else ''} from {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiSpoof(Owned):
    """Who is behind ``link`` speaks with this MAC and these addresses, and no other.

    ``bridged``: the link is a port of a bridge.  On one that is not, MAC and source of
    IP are checked; its ARP concerns nobody but the host, and DHCP nobody at all.
    """

    rank: ClassVar[int] = 17

    link: str
    mac: str
    addresses: tuple[IPAddress, ...]
    bridged: bool = True

    @property
    def key(self) -> Key:
        return ("anti-spoof", self.owner, self.link)

    def __str__(self) -> str:
        addresses = " ".join(map(str, self.addresses))
        return f"only {self.mac} {addresses} from {'port' if self.bridged else 'link'} {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpGuard(Owned):
    """Messages from the bridge port ``link`` to DHCP servers speak of this MAC alone.

    So that no guest releases or declines the lease of another (RFC 2131, 4.3.3, 4.4.4).
    Such a message comes in one piece.
    """

    rank: ClassVar[int] = 17

    link: str
    mac: str

    @property
    def key(self) -> Key:
        return ("dhcp-guard", self.owner, self.link)

    def __str__(self) -> str:
        return f"only leases of {self.mac} from port {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpGuard(Owned):
    """ARP from ``link``, which is no bridge port, says this MAC and address of its sender.

    So that a guest of routed mode makes no entry for another in the host's neighbour
    table, nor fills it.  ARP probes (RFC 5227) pass.
    """

    rank: ClassVar[int] = 17

    link: str
    mac: str
    address: IPv4Address

    @property
    def key(self) -> Key:
        return ("arp-guard", self.owner, self.link)

    def __str__(self) -> str:
        return f"only {self.mac} {self.address} by ARP from link {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade(Owned):
    """What leaves by ``device`` takes its address (source NAT)."""

    rank: ClassVar[int] = 60

    device: str

    @property
    def key(self) -> Key:
        return ("masquerade", self.owner, self.device)

    def __str__(self) -> str:
        return f"masquerade on {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalForward(Owned):
    """From ``bridge`` out of ``device``, masqueraded; back only what answers."""

    rank: ClassVar[int] = 61

    device: str
    bridge: str

    @property
    def key(self) -> Key:
        return ("external-forward", self.owner, self.device, self.bridge)

    def __str__(self) -> str:
        return f"forward {self.bridge} to {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward(Owned):
    """``protocol`` ``port`` on ``device`` goes to ``target``:``target_port``.

    ``addresses`` are the device's: guests reach the forward by them too.
    """

    rank: ClassVar[int] = 62

    protocol: str
    device: str
    port: int
    target: IPv4Address
    target_port: int
    addresses: tuple[IPv4Address, ...] = ()

    @property
    def key(self) -> Key:
        return ("port-forward", self.owner, self.protocol, self.device, str(self.port))

    def __str__(self) -> str:
        return (
            f"port {self.protocol}/{self.port} on {self.device} to {self.target}:{self.target_port}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIp(Owned):
    """``public`` on ``device`` is ``internal``, one to one, both ways."""

    # Before its address: a process killed in between leaves the rule, which tells of both.
    rank: ClassVar[int] = 25

    public: IPv4Address
    internal: IPv4Address
    device: str

    @property
    def key(self) -> Key:
        return ("public-ip", self.owner, str(self.public))

    def __str__(self) -> str:
        return f"public address {self.public} on {self.device} for {self.internal}"


RULES: frozenset[type[Noun]] = frozenset(
    {
        Zone,
        ProtectedNetwork,
        ZoneLink,
        BridgeAccept,
        Untracked,
        TunnelGuard,
        HostIsolation,
        AntiSpoof,
        DhcpGuard,
        ArpGuard,
        Masquerade,
        ExternalForward,
        PortForward,
        PublicIp,
    }
)
"""All of them: what a firewall driver carries."""
