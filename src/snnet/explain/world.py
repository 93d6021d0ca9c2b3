"""A host in memory: fakes and a fabric with what a snapshot has.

Guests are taken to be set up as their VNICs say; what is inside them is not on the host.
What is beyond the host is taken to have every address, and to send answers back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from snnet.backends.fake import Fabric, FakeKernel, Guest
from snnet.backends.fake.fib import Hop
from snnet.backends.fake.loading import join_veth, load
from snnet.contract import (
    Add,
    Address,
    Fdb,
    IPAddress,
    IPNetwork,
    Link,
    Namespace,
    Noun,
    Other,
    Tunnel,
    Veth,
)
from snnet.contract.addresses import mac_of
from snnet.contract.network import MAIN_TABLE
from snnet.core import identity as ids
from snnet.core.addressing import Addresses, Networks, read_addresses, read_networks
from snnet.core.vnics import gateways_of

from .chains import HostChains
from .snapshot import Snapshot

BEYOND = "beyond this host"
"""The station that stands for everything else."""

_NIC, _MAC = "eth0", "0a:00:00:00:00:01"
_TABLES = {"main": MAIN_TABLE, "default": 253}
_FORBIDS = {"blackhole", "unreachable", "prohibit", "throw"}
SEVERAL = "one of several next hops: nobody can tell which"


@dataclass(frozen=True, slots=True)
class Vnic:
    """A guest's place on the host, from the alias of its link.

    There may be thousands, of which a question is about two: addresses are read when they are
    asked for.  These raise ``InvalidRequest`` or ValueError if the alias is damaged.
    """

    space: str
    link_name: str
    tenant: str
    name: str
    addresses: tuple[str, ...]
    networks: str
    routed: bool
    own_mac: str

    def has(self, address: IPAddress) -> bool:
        """Whether this is an address of the guest."""
        return str(address) in self.addresses

    @property
    def ips(self) -> Addresses:
        return read_addresses(",".join(self.addresses))

    @property
    def subnets(self) -> Networks:
        return read_networks(self.networks)

    @property
    def gateways(self) -> Addresses:
        versions = {ip.version for ip in self.ips}
        found = gateways_of(self.subnets, routed=self.routed)
        return tuple(gateway for gateway in found if gateway.version in versions)

    @property
    def mac(self) -> str:
        return self.own_mac or mac_of(self.ips[0])

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


class World:
    """The host of a snapshot, on a fabric."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.fabric = Fabric()
        self.kernels: dict[str, FakeKernel] = {"": FakeKernel(snapshot.host)}
        self.vnics = [vnic for name in snapshot.spaces for vnic in self._vnics(name)]
        self._guests: dict[str, Guest] = {}
        root = self.kernels[""]
        for name in snapshot.spaces:
            if name:
                root.perform(Add(Namespace(name=name)))
                self.kernels[name] = root.namespace(name)
        for name, space in snapshot.spaces.items():
            load(self.kernels[name], space.nouns, _routes(space.routes), space.sysctls)
        for name, space in snapshot.spaces.items():
            for link, (there, other) in space.far.items():
                join_veth(self.kernels[name], link, self.kernels[there], other)
        self.fabric.join(snapshot.host, root)
        for name, space in snapshot.spaces.items():
            self.fabric.let_judge(self.kernels[name], HostChains(space.others))
            for listener in space.listeners:
                self.fabric.listen(self.kernels[name], listener.protocol, listener.port)

    def space_of(self, station: str) -> str | None:
        """Return the name of the namespace that a station of the fabric is; None for others."""
        if station == self.snapshot.host:
            return ""
        inside = station.removeprefix(f"{self.snapshot.host}/")
        return inside if inside in self.kernels and inside != station else None

    def having(self, address: IPAddress) -> FakeKernel | None:
        """Return the namespace of the host that has the address."""
        found = (one for one in self.kernels.values() if address in one.state.local)
        return next(found, None)

    def guest(self, vnic: Vnic) -> Guest:
        """Return the guest on a VNIC."""
        found = self._guests.get(vnic.link_name)
        if found is None:
            made = self.fabric.attach(self.kernels[vnic.space], vnic, name=str(vnic))
            found = self._guests[vnic.link_name] = made
        return found

    def beyond(self, towards: IPAddress, addresses: Iterable[IPAddress]) -> FakeKernel | None:
        """Have what is behind the uplink towards an address, with these addresses.

        The far ends of tunnels, and the router, are there too.  What was there before is
        replaced.  None if the host has no route to the address.
        """
        root = self.kernels[""]
        self.fabric.leave(BEYOND)
        hop = root.state.fib.find(towards)
        uplink = self._uplink(hop.link) if hop is not None and not hop.refuses else None
        if hop is None or uplink is None:
            return None
        wanted = [*addresses, *([hop.gateway] if hop.gateway else []), *self.remotes()]
        state = root.state
        own = [one.address for version in (4, 6) for one in state.addresses(hop.link, version)]
        nouns: list[Noun] = [
            Other(name=_NIC, other_kind="physical", mac=_MAC, mtu=uplink.mtu, index=2)
        ]
        for address in dict.fromkeys(wanted):
            whole = ip_interface((address, address.max_prefixlen))
            nouns.append(Address(link=_NIC, address=whole))
        routes = [(MAIN_TABLE, one.network, Hop(_NIC)) for one in own]
        for version, everywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
            via = next((one.ip for one in own if one.version == version), None)
            routes.append((MAIN_TABLE, ip_network(everywhere), Hop(_NIC, via)))
        outside = FakeKernel("beyond")
        load(outside, nouns, routes, {})
        self.fabric.join(BEYOND, outside)
        self.fabric.wire((root, uplink.name), (outside, _NIC))
        for protocol in ("tcp", "udp", "sctp"):
            self.fabric.listen(outside, protocol)
        return outside

    def _uplink(self, name: str) -> Link | None:
        """Return the link that leads out: the one named, or the port of a bridge."""
        state = self.kernels[""].state
        mine = {vnic.link_name for vnic in self.vnics} | {"lo", *state.far}
        for port in state.ports.get(name, [name]):
            link = state.link(port)
            foreign = isinstance(link, (Other, Veth)) and not ids.owner_of(link)
            if foreign and port not in mine:
                return link
        return None

    def remotes(self) -> Iterator[IPAddress]:
        """Yield the far ends of the host's tunnels."""
        state = self.kernels[""].state
        for name in state.tunnels.values():
            link = state.link(name)
            if isinstance(link, Tunnel) and link.remote is not None:
                yield link.remote
        yield from (noun.remote for noun in state.nouns.values() if isinstance(noun, Fdb))

    def _vnics(self, space: str) -> Iterator[Vnic]:
        """Yield the VNICs of a namespace."""
        links = [
            (noun, fields)
            for noun in self.snapshot.spaces[space].nouns
            if isinstance(noun, Link) and ids.grouped(noun)
            if (fields := ids.decode(noun.alias)) is not None
        ]
        subnets = {
            (fields[ids.TENANT], fields[ids.SUBNET]): fields[ids.NETWORK]
            for _, fields in links
            if {ids.TENANT, ids.SUBNET, ids.NETWORK} <= fields.keys()
        }
        for link, fields in links:
            subnet = (fields.get(ids.TENANT, ""), fields.get(ids.SUBNET, ""))
            if fields.get(ids.KIND) in (ids.VM, ids.CONTAINER) and subnet in subnets:
                yield Vnic(
                    space=space,
                    link_name=link.name,
                    tenant=subnet[0],
                    name=fields.get(ids.VNIC, ""),
                    addresses=tuple(fields.get(ids.ADDRESS, "").split(",")),
                    networks=subnets[subnet],
                    routed=link.master is None,
                    own_mac=fields.get(ids.MAC, ""),
                )


def _routes(printed: Iterable[Mapping[str, Any]]) -> list[tuple[int, IPNetwork, Hop]]:
    """Return the routes that ``ip`` printed, of each table those of the lowest metric first."""
    found = []
    for route in printed:
        table = route.get("table", MAIN_TABLE)
        number = _TABLES.get(table, table)
        kind = route.get("type", "unicast")
        if kind not in ("unicast", *_FORBIDS) or "dead" in route.get("flags", ()):
            continue
        if isinstance(number, str) and not number.isdigit():
            continue  # of a table with a name, which only rules of others lead to
        text = route["dst"]
        if text == "default":
            text = "0.0.0.0/0" if route["family"] == 4 else "::/0"
        hop = _hop(route, kind)
        found.append((route.get("metric", 0), int(number), ip_network(text), hop))
    return [row[1:] for row in sorted(found, key=lambda row: row[0])]


def _hop(route: Mapping[str, Any], kind: str) -> Hop:
    ways = route.get("nexthops") or [route]
    first = ways[0]
    gateway, source = first.get("gateway"), route.get("prefsrc")
    refuses = kind if kind in _FORBIDS else SEVERAL if len(ways) > 1 else ""
    if "via" in first:
        refuses = refuses or f"its gateway is {first['via'].get('host')}: nobody can tell"
    return Hop(
        first.get("dev", route.get("dev", "lo")),
        ip_address(gateway) if gateway else None,
        route.get("protocol") == "kernel" and not gateway,
        ip_address(source) if source else None,
        refuses,
    )
