"""Firewall rules that guard one bridge port, link or tunnel; see :mod:`snnet.contract.rules`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from .addresses import link_local_of
from .frozen import frozen
from .noun import IPAddress, IPNetwork, Key, Noun, Owned


@frozen()
class Untracked(Owned):
    """The host does not track, defragment or translate frames from the bridge port ``link``.

    Without it, where br_netfilter passes bridged frames to the IP hooks, all tenants share
    one table of connections and of fragments, and foreign NAT rules rewrite their frames.
    ``router`` is the bridge's MAC where the host routes for the bridge: frames to that MAC
    are tracked as usual.

    Frames for bridges themselves (01:80:c2:00:00:00 to 01:80:c2:00:00:0f, IEEE 802.1D) reach
    neither IP nor ARP of the host: it would take them for frames to the port, which rules for
    the bridge and at its ports do not see.  While there is such a rule, that holds for every
    link of the group ``LINK_GROUP`` in the namespace, whoever owns the link.
    """

    rank: ClassVar[int] = 15

    link: str
    router: str | None = None

    def make_key(self) -> Key:
        return ("untracked", self.owner, self.link)

    def __str__(self) -> str:
        router = f" but for {self.router}" if self.router else ""
        return f"no tracking of frames from port {self.link}{router}"


@frozen()
class TunnelGuard(Owned):
    """The host takes packets for the tunnel ``link`` from ``remote``, and drops those of others.

    ``protocol`` is "udp", with the tunnel's ``port``, or "gre", with port 0.  ``tunnel_key``
    is the VNI or the GRE key.  A link has one guard for each of its remotes.

    Packets are told apart by their UDP port or GRE key, not by their VNI.  Tunnels of one owner
    that share a port (topology "mesh", or a node with a number) take packets from the remotes of
    all of them.  Packets for ports and keys without a guard are not affected.

    vxlan and multipoint gre need guards: the kernel accepts their packets from any sender
    (vxlan_rcv, ip_tunnel_lookup).  It accepts packets for gretap and geneve only from the remote.

    UDP packets of the tunnel, to and from the remote, are not tracked: the flows of guests
    make no entries in the host's table of connections.
    """

    # Before its link: a tunnel is never up without its guard.
    rank: ClassVar[int] = 16

    link: str
    protocol: str
    port: int
    tunnel_key: int
    remote: IPAddress

    def make_key(self) -> Key:
        return ("tunnel-guard", self.owner, self.link, str(self.remote))

    def __str__(self) -> str:
        port = f"/{self.port}" if self.port else ""
        where = f"{self.protocol}{port} key {self.tunnel_key}"
        return f"only {self.remote} to tunnel {self.link} ({where})"


@frozen()
class HostIsolation(Owned):
    """Guests behind ``link`` cannot reach the host's own addresses.

    With ``arp`` the host does not answer their ARP and neighbour solicitations either.
    ``open_address`` is one of its addresses that can be reached.
    """

    rank: ClassVar[int] = 16

    link: str
    arp: bool = True
    open_address: IPAddress | None = None

    def make_key(self) -> Key:
        return ("host-isolation", self.owner, self.link)

    def __str__(self) -> str:
        but = f" but for {self.open_address}" if self.open_address else ""
        return f"host out of reach{' by IP' if not self.arp else ''}{but} from {self.link}"


@frozen()
class HostServices(Owned):
    """From ``link``, only DHCP, DNS and ICMP of the host's own services can be reached.

    IGMP and answers to the host's own connections pass too.  Router advertisements and
    redirects do not (RFC 6105): the host is the router there.
    """

    rank: ClassVar[int] = 16

    link: str

    def make_key(self) -> Key:
        return ("host-services", self.owner, self.link)

    def __str__(self) -> str:
        return f"only DHCP, DNS and ICMP to the host from {self.link}"


@frozen()
class AntiSpoof(Owned):
    """The guest behind ``link`` can send only with this MAC and these addresses.

    With ``bridged`` the link is a port of a bridge.  On other links ARP is not checked,
    which there reaches only the host, and DHCP reaches nothing.  Of ``networks`` the guest
    may use every address.  Without an IPv6 address or network the guest sends no IPv6 at all.
    """

    rank: ClassVar[int] = 17
    changeable: ClassVar[frozenset[str]] = frozenset({"addresses", "networks"})

    link: str
    mac: str
    addresses: tuple[IPAddress, ...]
    bridged: bool = True
    networks: tuple[IPNetwork, ...] = ()

    def make_key(self) -> Key:
        return ("anti-spoof", self.owner, self.link)

    @property
    def ipv6_addresses(self) -> tuple[IPv6Address, ...]:
        """The IPv6 addresses that it names, each once, and the link-local one of the MAC."""
        given = [address for address in self.addresses if isinstance(address, IPv6Address)]
        networks = self.networks
        if not given and not (networks and any(network.version == 6 for network in networks)):
            return ()
        return tuple(dict.fromkeys([*given, link_local_of(self.mac)]))

    def allows(self, address: IPAddress) -> bool:
        """Whether the rule names the address, alone or in a network."""
        return address in self.addresses or any(address in network for network in self.networks)

    def __str__(self) -> str:
        addresses = " ".join(map(str, (*self.addresses, *self.networks)))
        return f"only {self.mac} {addresses} from {'port' if self.bridged else 'link'} {self.link}"


@frozen()
class DhcpGuard(Owned):
    """Messages from the bridge port ``link`` to DHCP servers are about this MAC only.

    No guest can release or decline the lease of another (RFC 2131, 4.3.3, 4.4.4).
    Fragments of such messages are dropped.
    """

    rank: ClassVar[int] = 17

    link: str
    mac: str

    def make_key(self) -> Key:
        return ("dhcp-guard", self.owner, self.link)

    def __str__(self) -> str:
        return f"only leases of {self.mac} from port {self.link}"


@frozen()
class ArpGuard(Owned):
    """ARP from ``link``, which is not a bridge port, has this MAC and address as its sender's.

    A guest in routed mode cannot make entries for others in the host's neighbour table, and
    cannot fill it.  ARP probes (RFC 5227) pass.  For IPv6 see ``AntiSpoof``.
    """

    rank: ClassVar[int] = 17

    link: str
    mac: str
    address: IPv4Address

    def make_key(self) -> Key:
        return ("arp-guard", self.owner, self.link)

    def __str__(self) -> str:
        return f"only {self.mac} {self.address} by ARP from link {self.link}"


@frozen()
class MssClamp(Owned):
    """TCP connections over ``link`` use segments of at most ``mtu`` bytes with their headers.

    For guests that keep a larger MTU than their VNIC's: their large frames would vanish.
    The option of SYN segments is lowered, never raised (RFC 9293, 3.7.1).  With ``bridged``
    the link is a bridge port, else what is forwarded from and to the link counts.
    """

    rank: ClassVar[int] = 15

    link: str
    mtu: int
    bridged: bool = True

    def make_key(self) -> Key:
        return ("mss-clamp", self.owner, self.link)

    @property
    def sizes(self) -> tuple[int, int]:
        """The largest segments over IPv4 and IPv6, whose headers have no options."""
        return max(self.mtu - 40, 1), max(self.mtu - 60, 1)

    def __str__(self) -> str:
        return (
            f"TCP segments for mtu {self.mtu} over {'port' if self.bridged else 'link'} {self.link}"
        )


GUARDS: frozenset[type[Noun]] = frozenset(
    {
        Untracked,
        TunnelGuard,
        HostIsolation,
        HostServices,
        AntiSpoof,
        DhcpGuard,
        ArpGuard,
        MssClamp,
    }
)
"""The classes of this module."""
