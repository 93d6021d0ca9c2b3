"""The mesh that joins the concentrators of one tenant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, ip_interface
from typing import Any

from snnet.checks import check_network, check_type
from snnet.config import Neighbor
from snnet.contract import (
    Address,
    Fdb,
    Gre,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Link,
    Neighbour,
    Noun,
    Route,
    Vxlan,
)

from . import identity as ids
from .addressing import Networks, check_ipv4, check_subnet, check_unicast
from .far_ends import check_member
from .guards import guard
from .requests import check_carries
from .site import Site
from .tunnels import check_key, mesh_noun

MESH_VXLAN_PORT = 4789
"""IANA's port for VXLAN (RFC 7348, section 8)."""


@dataclass(frozen=True, slots=True, repr=False)
class MeshPeer:
    """Another concentrator: its two addresses, and the subnets behind it."""

    tunnel_ip: IPv4Address
    physical_ip: IPAddress
    subnets: Networks

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "tunnel_ip": str(self.tunnel_ip),
            "physical_ip": str(self.physical_ip),
            "subnets": [str(subnet) for subnet in self.subnets],
        }

    def __repr__(self) -> str:
        return f"<MeshPeer {self.tunnel_ip} at {self.physical_ip} with {len(self.subnets)} subnets>"


@dataclass(frozen=True, slots=True, repr=False)
class Mesh:
    """This concentrator's end of the mesh, and the peers in it."""

    tunnel_ip: IPv4Address
    link: Gre | Vxlan
    peers: tuple[MeshPeer, ...]

    @property
    def tunnel_id(self) -> int:
        return self.link.wire_key

    def subnets(self) -> Iterator[IPNetwork]:
        """Yield all subnets behind peers."""
        for peer in self.peers:
            yield from peer.subnets

    def members(self) -> Iterator[IPv4Address]:
        """Yield the tunnel addresses of all concentrators in the mesh, its own first."""
        yield self.tunnel_ip
        for peer in self.peers:
            yield peer.tunnel_ip

    def remotes(self) -> list[IPAddress]:
        """Return where the peers are."""
        return [peer.physical_ip for peer in self.peers]

    def addresses(self) -> Iterator[IPAddress]:
        """Yield the addresses by which concentrators reach each other: in the mesh, and below."""
        yield from self.members()
        yield from self.remotes()

    def nouns(self) -> Iterator[Noun]:
        """Yield the device, and for each peer its neighbour entries and routes."""
        name = self.link.name
        versions = {subnet.version for subnet in self.subnets()}
        yield self.link
        yield Address(link=name, address=IPv4Interface((self.tunnel_ip, 32)))
        if 6 in versions:
            yield Address(link=name, address=ip_interface((next_hop(self.tunnel_ip, 6), 64)))
        for peer in self.peers:
            if isinstance(self.link, Gre):
                # On a multipoint gre the link-layer address is the underlay address.
                lladdr = str(peer.physical_ip)
            else:
                lladdr = mesh_mac(peer.tunnel_ip)
                yield Fdb(link=name, mac=lladdr, remote=peer.physical_ip)
            for version in sorted({4, *(subnet.version for subnet in peer.subnets)}):
                hop = next_hop(peer.tunnel_ip, version)
                yield Neighbour(link=name, address=hop, lladdr=lladdr)
            yield Route(destination=IPv4Network(peer.tunnel_ip), link=name)
            for subnet in peer.subnets:
                hop = next_hop(peer.tunnel_ip, subnet.version)
                yield Route(destination=subnet, link=name, gateway=hop, onlink=True)

    def __repr__(self) -> str:
        return f"<Mesh {self.tunnel_ip} {self.link.name} {len(self.peers)} peers>"

    def guards(self, owner: str) -> Iterator[Noun]:
        """Yield the rules that let only members send to the device, itself one of them.

        Without a rule, as long as there are no peers, it would take packets from any sender.
        """
        for member in (self.link.local, *self.remotes()):
            yield guard(owner, self.link, member)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "link": self.link.name,
            "tunnel_ip": str(self.tunnel_ip),
            "tunnel_id": self.tunnel_id,
            "peers": [peer.to_dict() for peer in self.peers],
        }


def next_hop(tunnel_ip: IPv4Address, version: int) -> IPAddress:
    """Return the address of a mesh member by which its networks of an IP version are reached.

    For IPv6 it is link-local, with the tunnel address as its last bytes.
    """
    if version == 4:
        return tunnel_ip
    return IPv6Address(b"\xfe\x80" + bytes(10) + tunnel_ip.packed)


def mesh_mac(tunnel_ip: IPv4Address) -> str:
    """Return the MAC of a mesh member, which every other member can derive."""
    return "06:01:" + tunnel_ip.packed.hex(":")


def build_mesh(site: Site, tenant_id: str, entries: Sequence[Neighbor], name: str) -> Mesh | None:
    """Return the mesh that the entries describe, or None if this node is not in them.

    InvalidRequest says what is wrong: two tunnel ids, two tunnel addresses for one
    concentrator, or one subnet or tunnel address at two concentrators.
    """
    ours, peers = _members(site, entries)
    if ours is None:
        return None
    tunnel_id = entries[0].tunnel_id
    check_key(_noun(site).protocol, tunnel_id, "tunnel_id")
    link = _link(site, tenant_id, ours, tunnel_id, name, None)
    for number, entry in enumerate(entries):
        networks = (check_subnet(check_network(entry.subnet, "subnet")),)
        check_carries(networks, link.mtu or 0, f"neighbors[{number}].subnet")
    return Mesh(tunnel_ip=ours, link=link, peers=peers)


def _members(
    site: Site, entries: Sequence[Neighbor]
) -> tuple[IPv4Address | None, tuple[MeshPeer, ...]]:
    tunnel_ips: dict[IPAddress, IPv4Address] = {}
    physical: dict[IPv4Address, IPAddress] = {}
    behind: dict[IPAddress, dict[IPNetwork, None]] = {}
    owners: dict[IPNetwork, IPAddress] = {}
    for number, entry in enumerate(entries):
        check_type(entry, f"neighbors[{number}]", Neighbor)
        field = f"neighbors[{number}]."
        where = check_member(entry.physical_ip, site.uplink.address, field + "physical_ip")
        tunnel_ip = check_ipv4(entry.tunnel_ip, field + "tunnel_ip")
        check_unicast(tunnel_ip, field + "tunnel_ip")
        network = check_network(entry.subnet, field + "subnet")
        subnet = check_subnet(network, field + "subnet")
        if entry.tunnel_id != entries[0].tunnel_id:
            raise InvalidRequest(
                f"{entry.tunnel_id} differs from {entries[0].tunnel_id}: a mesh has one tunnel id",
                field=field + "tunnel_id",
            )
        if tunnel_ips.setdefault(where, tunnel_ip) != tunnel_ip:
            raise InvalidRequest(
                f"{where} has {tunnel_ips[where]} already", field=field + "tunnel_ip"
            )
        if physical.setdefault(tunnel_ip, where) != where:
            raise InvalidRequest(
                f"{tunnel_ip} belongs to {physical[tunnel_ip]}", field=field + "tunnel_ip"
            )
        if owners.setdefault(subnet, where) != where:
            raise InvalidRequest(f"{subnet} is behind {owners[subnet]}", field=field + "subnet")
        behind.setdefault(where, {})[subnet] = None
    peers = tuple(
        MeshPeer(tunnel_ip, where, tuple(behind[where]))
        for where, tunnel_ip in tunnel_ips.items()
        if where != site.ip
    )
    return tunnel_ips.get(site.ip), peers


def _link(
    site: Site, tenant_id: str, tunnel_ip: IPv4Address, tunnel_id: int, name: str, alias: str | None
) -> Gre | Vxlan:
    fields = {ids.TENANT: tenant_id, ids.TUNNEL_KEY: str(tunnel_id), ids.ADDRESS: str(tunnel_ip)}
    alias = alias or ids.encode(site.owner, ids.MESH, fields)
    local = site.ip
    noun = _noun(site)
    mtu = _capped(site, site.uplink.mtu - noun.overhead(local.version))
    if noun is Gre:
        return Gre(
            name=name,
            alias=alias,
            tunnel_key=tunnel_id,
            local=local,
            mtu=mtu,
        )
    return Vxlan(
        name=name,
        alias=alias,
        vni=tunnel_id,
        local=local,
        remote=None,
        port=MESH_VXLAN_PORT,
        mac=mesh_mac(tunnel_ip),
        mtu=mtu,
    )


def _noun(site: Site) -> type[Gre] | type[Vxlan]:
    return mesh_noun(site.tunnel, site.ip.version)


def _capped(site: Site, mtu: int) -> int:
    return min(mtu, site.mtu_cap or mtu)


def read_mesh(site: Site, link: Link, fields: dict[str, str], nouns: Iterable[Noun]) -> Mesh:
    """Return the mesh from its device, and the neighbours and routes of the device.

    Raises KeyError, ValueError or InvalidRequest if the alias is damaged.
    """
    nouns = [noun for noun in nouns if noun.within == link.key]
    remotes = {noun.mac: noun.remote for noun in nouns if isinstance(noun, Fdb)}
    subnets: dict[IPAddress, list[IPNetwork]] = {}
    for noun in nouns:
        if isinstance(noun, Route) and noun.gateway:
            subnets.setdefault(noun.gateway, []).append(noun.destination)
    peers = []
    for noun in nouns:
        if isinstance(noun, Neighbour) and isinstance(noun.address, IPv4Address):
            where = IPv4Address(noun.lladdr) if isinstance(link, Gre) else remotes.get(noun.lladdr)
            if where is not None:
                hops = (next_hop(noun.address, version) for version in (4, 6))
                behind = tuple(subnet for hop in hops for subnet in subnets.get(hop, ()))
                peers.append(MeshPeer(noun.address, where, behind))
    tunnel_ip, tunnel_id = IPv4Address(fields[ids.ADDRESS]), int(fields[ids.TUNNEL_KEY])
    check_key(_noun(site).protocol, tunnel_id, "tunnel_id")
    wanted = _link(site, fields[ids.TENANT], tunnel_ip, tunnel_id, link.name, link.alias)
    return Mesh(tunnel_ip=tunnel_ip, link=wanted, peers=tuple(peers))
