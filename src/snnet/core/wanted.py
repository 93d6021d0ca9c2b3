"""The arguments of a concentrator's ``reconcile``: what it must have afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from snnet.checks import (
    Address,
    Cidrs,
    check_address,
    check_int,
    check_link_name,
    check_mac,
    check_many,
    check_type,
    part_of,
    shown,
)
from snnet.config import Neighbor
from snnet.contract import (
    DhcpEntry,
    InvalidRequest,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
)
from snnet.contract.addresses import MTU_MAX

from .addressing import Networks, check_guest, check_subnets
from .names import check_hostname
from .requests import (
    RemoteSubnet,
    check_carries,
    local_subnet,
    lowest_mtu,
    remote_subnet,
)
from .rule_requests import masquerade, port_forwards, public_ip
from .site import Site
from .subnets import Scoping
from .tunnels import check_key

Exit = tuple[str, Networks]
"""A device, and the subnet that may open connections by it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remote:
    """A compute node that has a part of a subnet, by its address on the compute network.

    ``port`` is that of the node's tunnel events, None by default.
    """

    cn_ip: Address
    port: int | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.port is not None:
            put(self, "port", check_int(self.port, "port", 1, 65535))
        put(self, "cn_ip", check_address(self.cn_ip, "cn_ip"))

    @property
    def ip(self) -> IPAddress:
        assert not isinstance(self.cn_ip, str)
        return self.cn_ip


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet of a concentrator: its network, key, compute nodes and added DHCP entries.

    ``cidrs`` is one network, or a tuple of one of each family.  ``link`` is that of
    ``add_local_subnet``, for a subnet on the same host.  ``mtu`` (bytes) caps the MTU of the
    gateway and of what guests learn by DHCP; None: what the path carries.
    """

    cidrs: Cidrs
    key: int
    remotes: Iterable[Remote] = ()
    entries: Iterable[DhcpEntry] = ()
    link: str | None = None
    mtu: int | None = None
    networks: Networks = field(init=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "networks", check_subnets(self.cidrs, "cidrs"))
        put(self, "key", check_int(self.key, "key", 1, 2**32 - 1))
        put(self, "remotes", check_many(self.remotes, "remotes", _check_remote))
        put(self, "entries", check_entries(self.entries, self.networks))
        if self.link is not None:
            put(self, "link", check_link_name(self.link, "link"))
        if self.mtu is not None:
            put(self, "mtu", check_int(self.mtu, "mtu", lowest_mtu(self.networks), MTU_MAX))


def _check_remote(value: object, field: str) -> Remote:
    if isinstance(value, Remote):
        return value
    raise InvalidRequest(f"{shown(value)} is not a Remote", field=field)


def check_entries(values: object, networks: Networks) -> tuple[DhcpEntry, ...]:
    """Check DHCP entries of a subnet; InvalidRequest names the one that is wrong."""

    def entry(value: object, field: str) -> DhcpEntry:
        if not isinstance(value, DhcpEntry):
            raise InvalidRequest(f"{shown(value)} is not a DhcpEntry", field=field)
        address, hostname = check_address(value.address, f"{field}.address"), value.hostname
        return DhcpEntry(
            mac=check_mac(value.mac, f"{field}.mac"),
            address=check_guest(address, networks, f"{field}.address"),
            hostname=None if hostname is None else check_hostname(hostname, f"{field}.hostname"),
        )

    return check_many(values, "entries", entry)


@dataclass(slots=True)
class Wanted:
    """Everything that a concentrator must have.  None leaves a kind alone."""

    subnets: Sequence[tuple[Subnet, Sequence[RemoteSubnet]]] | None
    """Each subnet, and the requests that add it and its compute nodes."""
    nat: Sequence[Masquerade] | None
    exits: Sequence[Exit] | None
    forwards: Sequence[PortForward] | None
    public_ips: Sequence[PublicIp] | None
    neighbors: Sequence[Neighbor] | None


def wanted_set(
    site: Site,
    scoping: Scoping,
    pool: Collection[IPAddress],
    *,
    subnets: Iterable[object] | None,
    nat: Iterable[object] | None,
    exits: Iterable[object] | None,
    forwards: Iterable[object] | None,
    public_ips: Iterable[object] | None,
    neighbors: Iterable[object] | None,
) -> Wanted:
    """Check the arguments of ``reconcile``; InvalidRequest names the one that is wrong."""

    def subnet(value: object, field: str) -> tuple[Subnet, Sequence[RemoteSubnet]]:
        wanted = check_type(value, field, Subnet)
        scoping.check(wanted.networks)
        with part_of(field):
            requests = _requests(wanted, site)
            if wanted.link is not None:
                local = local_subnet(site, wanted.networks, wanted.key, wanted.link)
                requests = [local, *(one for one in requests if one.remote)]
        return wanted, [replace(one, mtu=wanted.mtu) for one in requests]

    def key(noun: Noun) -> list[Hashable]:
        return [noun.key]

    def device(value: object, field: str) -> Masquerade:
        if isinstance(value, str):
            return masquerade(site.owner, device=check_link_name(value, field))
        given = _arguments(value, field, Masquerade, _MASQUERADE)
        with part_of(field):
            given["device"] = check_link_name(given["device"], "device")
            return masquerade(site.owner, **given)

    def forward(value: object, field: str) -> list[PortForward]:
        given = _arguments(value, field, PortForward, _FORWARD)
        with part_of(field):
            return port_forwards(site.owner, **given)

    def public(value: object, field: str) -> PublicIp:
        gateway = site.public_gateway
        given = _arguments(value, field, PublicIp, _PUBLIC_IP)
        with part_of(field):
            return public_ip(site.owner, pool, gateway, **given)

    each_forward = _checked(
        forwards, "forwards", _once(forward, lambda rules: [rule.key for rule in rules])
    )
    return Wanted(
        subnets=_checked(subnets, "subnets", _once(subnet, lambda pair: pair[0].networks)),
        nat=_checked(nat, "nat", _once(device, key)),
        exits=_checked(exits, "exits", _once(_exit, lambda pair: [pair])),
        forwards=None
        if each_forward is None
        else [rule for rules in each_forward for rule in rules],
        public_ips=_checked(public_ips, "public_ips", _once(public, key)),
        neighbors=_checked(neighbors, "neighbors", partial(check_type, kind=Neighbor)),
    )


def _requests(subnet: Subnet, site: Site) -> list[RemoteSubnet]:
    """Return the requests that add a subnet and its compute nodes, or the subnet alone."""
    key = check_key(site.tunnel, subnet.key, "key")
    check_carries(subnet.networks, site.mtu)
    requests = [
        remote_subnet(site, subnet.networks, key, remote.ip, remote.port)
        for remote in subnet.remotes
    ]
    return requests or [RemoteSubnet(networks=subnet.networks, key=key, remote=None)]


def _checked(
    values: Iterable[object] | None, field: str, check: Callable[[object, str], T]
) -> tuple[T, ...] | None:
    return None if values is None else check_many(values, field, check)


def _once(
    check: Callable[[object, str], T], identities: Callable[[T], Iterable[Hashable]]
) -> Callable[[object, str], T]:
    """Return the check, extended to refuse an item that is in the list twice."""
    seen: set[Hashable] = set()

    def checked(value: object, field: str) -> T:
        thing = check(value, field)
        for identity in identities(thing):
            if identity in seen:
                raise InvalidRequest("is there twice", field=field)
            seen.add(identity)
        return thing

    return checked


def _exit(value: object, field: str) -> Exit:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidRequest(f"{shown(value)} is not a device and a network", field=field)
    return check_link_name(value[0], f"{field}[0]"), check_subnets(value[1], f"{field}[1]")


_FORWARD = {
    "protocol": "protocol",
    "device": "device",
    "port": "port",
    "target": "to",
    "target_port": "to_port",
    "address": "address",
    "sources": "sources",
}
_MASQUERADE = {"device": "device", "nat66": "nat66"}
_PUBLIC_IP = {"public": "address", "internal": "to", "device": "device"}
"""Fields of records, and the corresponding arguments of the verbs."""
_OPTIONAL = {"to_port", "address", "sources", "nat66"}


def _arguments(
    value: object, field: str, noun: type[Noun], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of a verb, from a mapping of them or a record of the noun."""
    if isinstance(value, noun):
        return {argument: getattr(value, name) for name, argument in names.items()}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{shown(value)} is not a mapping of arguments", field=field)
    known = set(names.values())
    for name in value:
        if name not in known:
            raise InvalidRequest(
                f"unknown argument; use one of {', '.join(sorted(known))}",
                field=f"{field}.{name}",
            )
    for name in names.values():
        if name not in value and name not in _OPTIONAL:
            raise InvalidRequest("is needed", field=f"{field}.{name}")
    return dict(value)
