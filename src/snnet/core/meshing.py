"""Topology "mesh": a subnet's bridge with one vxlan to all other nodes, and where its guests are.

The kernel has entries for each guest on another node: one of the vxlan, a static one of the
bridge, and a neighbour for each of its addresses, so that nothing is asked or learned.  For each
node it has an entry of the vxlan for broadcast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import Any

from snnet.checks import (
    Address,
    check_address,
    check_families,
    check_id,
    check_int,
    check_mac,
    check_many,
    check_type,
)
from snnet.contract import (
    Bridge,
    BridgeFdb,
    Fdb,
    InvalidRequest,
    IPAddress,
    Key,
    Link,
    Neighbour,
    Noun,
    Nouns,
    Vxlan,
)
from snnet.contract.addresses import NO_MAC
from snnet.contract.frozen import frozen
from snnet.contract.keywords import refusing_unknown
from snnet.contract.links import Settings

from . import identity as ids
from .addressing import Addresses, Networks, check_end, written
from .far_ends import check_other
from .leftovers import without
from .requests import SubnetId
from .site import Site

PORT_SETTINGS: Settings = (("bridge_slave learning", 0), ("bridge_slave neigh_suppress", 1))
"""What a vxlan is as a port of its bridge: the bridge learns nothing there, and asks nothing
there that it can answer itself (ip-link(8))."""


@refusing_unknown
@dataclass(frozen=True, slots=True)
class Peer:
    """A node that has a part of a subnet, and the guests that are there.

    ``cn_ip`` is its address on the compute network, and ``port`` the UDP port of its vxlans;
    None: that of this node.  ``ips`` are the addresses of the guests with these ``macs``.  With
    one MAC, all of them belong to it.  With several, each MAC has one address, or a tuple of one
    of each family.  Guests without ``ips`` are asked for on the wire.  A node may be named
    several times.
    """

    cn_ip: Address
    port: int | None = None
    macs: Iterable[str] = ()
    ips: Iterable[Address | tuple[Address, ...]] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "cn_ip", check_address(self.cn_ip, "cn_ip"))
        if self.port is not None:
            put(self, "port", check_int(self.port, "port", 1, 65535))
        macs = check_many(self.macs, "macs", check_mac)
        ips = check_many(self.ips, "ips", _families)
        if len(macs) == 1:
            ips = (tuple(address for each in ips for address in each),)
        elif ips and len(ips) != len(macs):
            raise InvalidRequest(
                f"there are {len(ips)} for {len(macs)} macs: give for each MAC one address, or a "
                "tuple of one of each family",
                field="ips",
            )
        put(self, "macs", macs)
        put(self, "ips", ips or ((),) * len(macs))

    def guests(self) -> Iterator[tuple[str, Addresses]]:
        """Yield each guest's MAC and addresses."""
        yield from zip(self.macs, self.ips, strict=True)


def _families(value: object, field: str) -> Addresses:
    return check_families(value, field, check_address)


Guest = tuple[str, ...]
"""A guest elsewhere: its MAC, the address of its node, its own addresses."""


@frozen()
class SubnetPeers(Noun):
    """Where the guests of a subnet are that are on other nodes.

    It is a noun of the record of intents only.  ``nodes`` and ``guests`` are sorted.
    """

    subnet: tuple[str, ...] = ()
    """Tenant id and subnet id."""
    nodes: Addresses = ()
    guests: tuple[Guest, ...] = ()

    def make_key(self) -> Key:
        return ("peers", *self.subnet)

    def has(self, mac: str, ips: Iterable[IPAddress]) -> bool:
        """Whether a guest elsewhere has the MAC or one of the addresses."""
        values = {mac, *map(str, ips)}
        return any(not values.isdisjoint(guest) for guest in self.guests)

    def without(self, mac: str, ips: Iterable[IPAddress]) -> SubnetPeers:
        """The same without a MAC and addresses; a guest that has no address left is none."""
        if not self.has(mac, ips):
            return self
        taken, guests = set(map(str, ips)), list[Guest]()
        for its, node, *old in self.guests:
            left = [ip for ip in old if ip not in taken]
            if its != mac and (left or not old):
                guests.append((its, node, *left))
        return replace(self, guests=tuple(guests))

    def intended(self) -> tuple[Noun, ...]:
        """Return what to remember: nothing for a subnet that no other node has."""
        return (self,) if self.nodes else ()

    def nouns(self, bridge: str, vxlan: str) -> Iterator[Noun]:
        """Yield what leads from a bridge and its vxlan to these nodes and guests."""
        for node in self.nodes:
            yield Fdb(link=vxlan, mac=NO_MAC, remote=node)
        for mac, node_, *ips in self.guests:
            yield Fdb(link=vxlan, mac=mac, remote=ip_address(node_))
            yield BridgeFdb(link=vxlan, mac=mac)
            for ip in ips:
                yield Neighbour(link=bridge, address=ip_address(ip), lladdr=mac)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data for JSON: the nodes, and their guests."""
        found: dict[str, dict[str, Any]] = {
            str(node): {"cn_ip": str(node), "guests": []} for node in self.nodes
        }
        for mac, node_, *ips in self.guests:
            found[node_]["guests"].append({"mac": mac, "ips": ips})
        return list(found.values())


NO_PEERS = SubnetPeers()
"""The peers of a subnet that no other node has a part of."""


def peers_thing(subnet: SubnetId) -> tuple[str, ...]:
    """Where a subnet's guests are, as a thing that calls work on."""
    return ("peers", *subnet)


def check_peers(site: Site, tenant_id: str, subnet_id: str, peers: Iterable[Peer]) -> SubnetPeers:
    """Check what ``set_peers`` needs of itself; InvalidRequest names what is wrong."""
    subnet = (check_id(tenant_id, "tenant_id"), check_id(subnet_id, "subnet_id"))
    if not site.mesh:
        raise InvalidRequest('set_peers is for topology "mesh"', field="topology")
    given: tuple[Peer, ...] = check_many(peers, "peers", partial(check_type, kind=Peer))
    nodes: dict[IPAddress, None] = {}
    guests: dict[str, Guest] = {}
    taken: dict[IPAddress, str] = {}
    for number, peer in enumerate(given):
        field = f"peers[{number}]."
        node = check_other(peer.cn_ip, site.uplink.address, f"{field}cn_ip")
        nodes[node] = None
        if peer.port not in (None, site.port):
            raise InvalidRequest(
                f"{peer.port} is not {site.port}: all nodes of a mesh have one port, mesh_port",
                field=f"{field}port",
            )
        for mac, ips in peer.guests():
            if mac in guests:
                raise InvalidRequest(
                    f"{mac} is at {guests[mac][1]} already: name each MAC once",
                    field=f"{field}macs",
                )
            guests[mac] = (mac, str(node), *map(str, ips))
            for ip in ips:
                if taken.setdefault(ip, mac) != mac:
                    raise InvalidRequest(f"{ip} belongs to {taken[ip]}", field=f"{field}ips")
    return SubnetPeers(subnet=subnet, nodes=_sorted(nodes), guests=tuple(sorted(guests.values())))


def check_inside(peers: SubnetPeers, networks: Networks) -> None:
    """Check that the guests' addresses are of the subnet, or link-local."""
    for mac, _, *ips in peers.guests:
        for ip in map(ip_address, ips):
            if ip.version == 6 and ip.is_link_local:
                continue
            network = next((one for one in networks if ip in one), None)
            if network is None:
                raise InvalidRequest(
                    f"{ip} of {mac} is outside {written(networks)}", field="peers.ips"
                )
            check_end(ip, network, "peers.ips")


def _sorted(nodes: Iterable[IPAddress]) -> Addresses:
    return tuple(sorted(nodes, key=lambda node: (node.version, int(node))))


class Reaches:
    """Where guests are, by the record of intents or else by what is on the host."""

    def __init__(self, ours: Nouns, remembered: Nouns) -> None:
        self._remembered = remembered
        self._nodes: dict[str, list[IPAddress]] = {}
        self._remotes: dict[str, dict[str, IPAddress]] = {}
        self._ips: dict[str, dict[str, list[str]]] = {}
        for noun in ours.values():
            if isinstance(noun, Fdb) and noun.mac == NO_MAC:
                self._nodes.setdefault(noun.link, []).append(noun.remote)
            elif isinstance(noun, Fdb):
                self._remotes.setdefault(noun.link, {})[noun.mac] = noun.remote
            elif isinstance(noun, Neighbour):
                macs = self._ips.setdefault(noun.link, {})
                macs.setdefault(noun.lladdr, []).append(str(noun.address))

    def of(self, subnet: SubnetId, bridge: str, vxlan: str) -> SubnetPeers:
        """Return where the guests of a subnet are."""
        peers = SubnetPeers(subnet=subnet)
        remembered = self._remembered.get(peers.key)
        if isinstance(remembered, SubnetPeers):
            return remembered
        remotes, ips = self._remotes.get(vxlan, {}), self._ips.get(bridge, {})
        guests = [(mac, str(node), *ips.get(mac, ())) for mac, node in remotes.items()]
        nodes = {*self._nodes.get(vxlan, ()), *remotes.values()}
        return SubnetPeers(subnet=subnet, nodes=_sorted(nodes), guests=tuple(sorted(guests)))


def mesh_links(
    site: Site,
    subnet: SubnetId,
    networks: Networks,
    key: int,
    bridge: str,
    tunnel: str = "",
    aliases: tuple[str, str] = ("", ""),
) -> tuple[Bridge, Vxlan]:
    """Return the bridge and the vxlan of a subnet; ``bridge`` and ``tunnel`` are names to use.

    ``aliases`` are those of links that were found.
    """
    fields = {
        ids.TENANT: subnet[0],
        ids.SUBNET: subnet[1],
        ids.NETWORK: written(networks),
        ids.TUNNEL_KEY: str(key),
    }
    tunnel = tunnel or ids.name(site.owner, ids.TUNNEL, *subnet)
    assert site.port is not None
    return (
        Bridge(
            name=bridge,
            alias=aliases[0] or ids.encode(site.owner, ids.BRIDGE, fields),
            mac=ids.link_mac(bridge),
            mtu=site.mtu,
        ),
        Vxlan(
            name=tunnel,
            alias=aliases[1] or ids.encode(site.owner, ids.TUNNEL, fields),
            vni=key,
            local=site.ip,
            remote=None,
            port=site.port,
            master=bridge,
            mac=ids.link_mac(tunnel),
            mtu=site.mtu,
            settings=PORT_SETTINGS,
        ),
    )


def stale_entries(ours: Nouns, wanted: Nouns) -> set[Key]:
    """Return the keys of entries that lead nowhere any more, on links that are wanted."""
    return {
        key
        for key, noun in without(ours, wanted).items()
        if isinstance(noun, (Fdb, BridgeFdb, Neighbour))
        and isinstance(wanted.get(noun.within), Link)
    }
