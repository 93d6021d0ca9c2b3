"""Concentrators on this host: a namespace, the veths into it, and the host's rules for it.

In topologies "local" and "mesh" a concentrator has a link-local address, which the host
translates, and a plug into the bridge of each subnet.  In topology "hub" it has an address of the
data centre.  The host routes this address, and public addresses in all topologies, into the
namespace, and answers for them on its uplink.

``set_concentrator`` builds a record from a request; ``concentrator_reading`` reads the same
record back after a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface, ip_network
from typing import Any

from snnet.contract import (
    Address,
    Announcement,
    Attached,
    Conflict,
    DockerAccept,
    HostIsolation,
    Inside,
    IPAddress,
    IPNetwork,
    Key,
    Namespace,
    Noun,
    OpenAddress,
    PortForward,
    ProxyNeighbour,
    Route,
    TranslatedSource,
    Untracked,
    Veth,
    Zone,
    ZoneLink,
)

from . import identity as ids
from .forwarding import versions_of
from .local_requests import ConcentratorId, LocalConcentrator
from .requests import SubnetId
from .site import Site
from .vnics import ROUTED_GATEWAYS, TenantSubnet

UPLINK = "eth0"
"""The name of a concentrator's uplink in its namespace."""

LINK_LOCAL = IPv4Network("169.254.0.0/16")
"""RFC 3927: never forwarded by other routers, so that each host may use all of it."""

UNIQUE_LOCAL = IPv6Network("fd73:6e6e:6574::/96")
"""RFC 4193: a concentrator that serves IPv6 has an address here with the bits of its own one.
Routers do not forward link-local ones (RFC 4291, 2.5.6), and the host translates these."""

_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_FIRST, _LAST = 2 << 8, (255 << 8) - 1
"""What is chosen of ``LINK_LOCAL``: RFC 3927 (2.1) reserves the first and the last 256."""
_METADATA = IPv4Address("169.254.169.254")
"""Where clouds tell their hosts secrets."""


@dataclass(frozen=True, slots=True, repr=False)
class Concentrator:
    """A tenant's concentrator in a namespace of this host.

    ``netns`` is the name of the namespace; ``uplink`` and ``links`` (by subnet id) are the
    links in it.  ``link_name`` is the host's end of the uplink.  ``mtu`` is in bytes.
    ``publics`` are the addresses that lead to it beside its own, and ``upstream`` is the
    host's link on which others ask for them.  ``apart``: the host translates its own
    address, and keeps it apart from others' (topologies "local" and "mesh").  ``host`` is the
    host's address, where tunnels from the concentrator end (topology "hub"), and ``wire`` the
    network of that, where other hosts are (topologies "hub" and "mesh").
    """

    tenant_id: str
    concentrator_id: str
    owner: str
    namespace: Namespace
    link: Veth
    ip: IPAddress
    ip6: IPv6Address | None
    plugs: Mapping[str, Veth]
    forwards: tuple[PortForward, ...]
    publics: tuple[IPAddress, ...]
    upstream: str
    apart: bool
    host: IPAddress
    wire: IPNetwork | None

    @property
    def id(self) -> ConcentratorId:
        return (self.tenant_id, self.concentrator_id)

    @property
    def netns(self) -> str:
        return self.namespace.name

    @property
    def uplink(self) -> str:
        return UPLINK

    @property
    def link_name(self) -> str:
        return self.link.name

    @property
    def gateway(self) -> IPAddress:
        return ROUTED_GATEWAYS[self.ip.version].ip

    @property
    def own(self) -> tuple[IPAddress, ...]:
        """Its own addresses, which it sends from."""
        return (self.ip,) if self.ip6 is None else (self.ip, self.ip6)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """All addresses that lead to it, its own first."""
        return (*self.own, *self.publics)

    def is_at(self, address: IPAddress | None) -> bool:
        """Whether this is its own address; None: whether the host chose its address."""
        return self.ip in LINK_LOCAL if address is None else self.ip == address

    @property
    def versions(self) -> frozenset[int]:
        """The IP versions of its addresses."""
        return versions_of(map(ip_network, self.addresses))

    @property
    def mtu(self) -> int:
        return self.link.mtu or 0

    @property
    def links(self) -> dict[str, str]:
        return {subnet: plug.peer or "" for subnet, plug in self.plugs.items()}

    @property
    def subnets(self) -> list[SubnetId]:
        """The identities of the subnets that it serves."""
        return [(self.tenant_id, subnet) for subnet in self.plugs]

    def nouns(self) -> tuple[Noun, ...]:
        """What the kernel and the firewall hold for it, its subnets' bridges excepted."""
        link = self.link.name
        within: list[Noun] = [
            Attached(link=UPLINK),
            *(Address(link=UPLINK, address=ip_interface(ip)) for ip in self.own),
        ]
        beside: list[Noun] = []
        for version in sorted(self.versions):
            gateway = ROUTED_GATEWAYS[version]
            beside.append(Address(link=link, address=gateway))
            ways = [_EVERYWHERE[version]]
            # From this route it learns what to keep its tenant away from: its address is alone.
            if self.wire is not None and self.wire.version == version:
                ways.append(self.wire)
            within += [
                Route(destination=way, link=UPLINK, gateway=gateway.ip, onlink=True) for way in ways
            ]
        return (
            self.namespace,
            self.link,
            *beside,
            *(Route(destination=ip_network(address), link=link) for address in self.addresses),
            self._isolation(),
            *(self._kept_apart() if self.apart else ()),
            *self._proxies(),
            *(Inside(namespace=self.namespace, what=noun) for noun in within),
            *self.plugs.values(),
            # A connection of which the host sees one side's frames alone is invalid to it.
            *(Untracked(owner=self.owner, link=plug.name) for plug in self.plugs.values()),
            *self.forwards,
            DockerAccept(owner=self.owner, link=link),
            *(
                DockerAccept(owner=self.owner, link=plug.master or "", bridged=True)
                for plug in self.plugs.values()
            ),
        )

    def _isolation(self) -> HostIsolation:
        """Guests do not reach the host through it; its own tunnels may end there."""
        open_address = None if self.apart else self.host
        return HostIsolation(
            owner=self.owner, link=self.link.name, arp=False, open_address=open_address
        )

    def _kept_apart(self) -> tuple[Noun, ...]:
        owner, link, zone = self.owner, self.link.name, self.netns
        return (
            Zone(owner=owner, zone=zone, outbound=True),
            ZoneLink(owner=owner, link=link, zone=zone),
            *(TranslatedSource(owner=owner, source=ip) for ip in self.own),
            *(OpenAddress(owner=owner, address=address) for address in self.publics),
        )

    def _proxies(self) -> tuple[ProxyNeighbour, ...]:
        answered = self.publics if self.apart else self.addresses
        return tuple(ProxyNeighbour(link=self.upstream, address=address) for address in answered)

    def announcements(self, added: Container[Key]) -> Iterator[Announcement]:
        """Yield what others must be told if these nouns were added: where its addresses are."""
        for proxy in self._proxies():
            if proxy.key in added:
                yield Announcement(link=proxy.link, address=proxy.address)

    def intended(self) -> tuple[Noun, ...]:
        """What of it the record of intents has: the rest follows from these."""
        publics = [Route(destination=ip_network(ip), link=self.link.name) for ip in self.publics]
        return (self.namespace, self.link, *publics, *self.plugs.values(), *self.forwards)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "concentrator_id": self.concentrator_id,
            "netns": self.netns,
            "uplink": self.uplink,
            "link_name": self.link_name,
            "ip": str(self.ip),
            "ip6": str(self.ip6) if self.ip6 else None,
            "public_ips": list(map(str, self.publics)),
            "gateway": str(self.gateway),
            "mtu": self.mtu,
            "links": self.links,
            "forwards": [str(forward) for forward in self.forwards],
        }

    def __repr__(self) -> str:
        return f"<Concentrator {'/'.join(self.id)} {self.ip} in {self.netns}>"


def concentrator_thing(identity: ConcentratorId) -> tuple[str, ...]:
    """A concentrator, as a thing that calls work on."""
    return ("concentrator", *identity)


def build_concentrator(
    site: Site,
    request: LocalConcentrator,
    ip: IPAddress,
    *,
    netns: str,
    link: str,
    plugs: Mapping[str, tuple[str, TenantSubnet]],
    addresses: tuple[IPAddress, ...],
) -> Concentrator:
    """Return the concentrator of a request.

    ``plugs`` are names by subnet id, with the subnet; ``addresses`` are those of the uplink.
    Without a subnet of IPv6 in ``plugs`` it has no address of that version, and no forwards.
    """
    tenant, concentrator = request.id
    links = {
        subnet_id: _plug(site, name, netns, subnet, concentrator)
        for subnet_id, (name, subnet) in plugs.items()
    }
    ip6 = unique_local(ip, links.values())
    own = {address.version: address for address in (ip, ip6) if address is not None}
    fields = {ids.TENANT: tenant, ids.CONCENTRATOR: concentrator, ids.ADDRESS: str(ip)}
    return Concentrator(
        tenant_id=tenant,
        concentrator_id=concentrator,
        owner=str(site.owner),
        namespace=Namespace(name=netns, alias=ids.encode(site.owner, ids.SPACE, fields)),
        link=way_link(site, link, netns, ids.encode(site.owner, ids.WAY, fields)),
        ip=ip,
        ip6=ip6,
        plugs=links,
        forwards=tuple(
            replace(
                forward,
                target=own[forward.target.version],
                addresses=addresses if forward.address is None else (),
            )
            for forward in request.forwards
            if forward.target.version in own
        ),
        publics=request.publics,
        upstream=site.uplink.link_name,
        apart=site.translates,
        host=site.ip,
        wire=wire_of(site),
    )


def wire_of(site: Site) -> IPNetwork | None:
    """Return the network of the host's uplink, where its tunnels go; None if it has none."""
    return None if site.local else site.uplink.address.network


def unique_local(ip: IPAddress, plugs: Iterable[Veth]) -> IPv6Address | None:
    """Return the IPv6 address of a concentrator with these plugs; None if it serves no IPv6."""
    networks = [(ids.decode(plug.alias) or {}).get(ids.NETWORK, "") for plug in plugs]
    if ip.version == 4 and any(":" in network for network in networks):
        return UNIQUE_LOCAL[int(ip)]
    return None


def way_link(site: Site, name: str, netns: str, alias: str) -> Veth:
    """Return the veth between the host and a concentrator."""
    mtu = site.uplink.mtu
    return Veth(
        name=name, alias=alias, mac=ids.link_mac(name), mtu=mtu, proxy_arp=True,
        peer=UPLINK, peer_mtu=mtu, peer_namespace=netns,
        peer_mac=ids.link_mac(f"{netns}/{UPLINK}"),
    )  # fmt: skip


def _plug(site: Site, name: str, netns: str, subnet: TenantSubnet, concentrator: str) -> Veth:
    assert subnet.bridge is not None
    fields = ids.decode(subnet.bridge.alias) or {}
    what = (ids.TENANT, ids.SUBNET, ids.NETWORK, ids.TUNNEL_KEY)
    alias = ids.encode(
        site.owner, ids.PLUG, {key: fields[key] for key in what} | {ids.CONCENTRATOR: concentrator}
    )
    return plug_link(site, name, netns, alias, subnet.bridge.name)


def plug_link(site: Site, name: str, netns: str, alias: str, bridge: str) -> Veth:
    """Return the veth between a subnet's bridge and a concentrator."""
    peer = ids.peer_name(name)
    return Veth(
        name=name, alias=alias, mac=ids.link_mac(name), mtu=site.mtu, master=bridge,
        peer=peer, peer_mac=ids.link_mac(peer), peer_mtu=site.mtu, peer_namespace=netns,
    )  # fmt: skip


def publics_of(concentrators: Iterable[Concentrator]) -> dict[IPAddress, str]:
    """Return the public addresses that lead to these, each with what it leads to."""
    return {address: titled(one.id) for one in concentrators for address in one.publics}


def titled(identity: ConcentratorId) -> str:
    """Return what messages call a concentrator."""
    return f"concentrator {identity[1]} on this host"


def choose_address(
    owner: ids.Owner, identity: ConcentratorId, taken: Container[IPAddress]
) -> IPv4Address:
    """Return a link-local address that is not taken: the same one where it can be."""
    seed = "\0".join((owner.name, *identity)).encode()
    span = _LAST - _FIRST + 1
    start = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big") % span
    for step in range(span):
        address = LINK_LOCAL[_FIRST + (start + step) % span]
        if address != _METADATA and address not in taken:
            return address
    raise Conflict(f"all addresses of {LINK_LOCAL} are taken: remove a concentrator")
