"""What callers ask of a concentrator on this host, checked whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

from snnet.checks import (
    Address,
    Cidrs,
    Network,
    check_address,
    check_id,
    check_int,
    check_many,
    check_network,
    check_type,
    part_of,
)
from snnet.contract import InvalidRequest, IPAddress, IPNetwork, PortForward

from .addressing import Networks, check_end, check_public, check_subnets
from .requests import check_carries
from .rule_requests import own_address, port_forwards
from .site import Site
from .tunnels import check_key

ConcentratorId = tuple[str, str]
"""The identity of a concentrator on this host: tenant id, concentrator id."""

Door = tuple[PortForward, ...]
"""The rules of one forward, a range of ports: all of them or none."""

_NOWHERE = {4: ip_address("169.254.2.0"), 6: ip_address("fd73:6e6e:6574::")}
"""Stand for the concentrator's addresses until those are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSubnet:
    """A subnet that a concentrator on this host serves.

    ``subnet`` is one network, or a tuple of one of each family.
    """

    subnet_id: str
    subnet: Cidrs
    subnet_key: int
    networks: Networks = field(init=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "subnet_id", check_id(self.subnet_id, "subnet_id"))
        put(self, "networks", check_subnets(self.subnet))
        put(self, "subnet_key", check_int(self.subnet_key, "subnet_key", 1, 2**32 - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostForward:
    """A port of the host that leads to a concentrator on it.

    ``port`` is a number, or a range like "8000-8010"; ``to_port`` is the first port at the
    concentrator, by default the same.  ``address`` is an address of the host; None stands
    for all of its uplink, of the families that the concentrator's subnets have.  ``sources``
    are the networks whose hosts may use it, by default all.
    """

    protocol: str
    port: int | str
    to_port: int | None = None
    address: Address | None = None
    sources: Iterable[Network] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcentratorConfig:
    """A tenant's concentrator on this host.

    Topologies "local" and "mesh": the subnets it serves, and the host's ports for it.  Topology
    "hub": its ``address`` on the compute network.  In all of them, the public addresses that lead
    to it.
    """

    tenant_id: str
    concentrator_id: str
    subnets: Iterable[LocalSubnet] = ()
    forwards: Iterable[HostForward] = ()
    address: Address | None = None
    public_ips: Iterable[Address] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "tenant_id", check_id(self.tenant_id, "tenant_id"))
        put(self, "concentrator_id", check_id(self.concentrator_id, "concentrator_id"))
        put(
            self,
            "subnets",
            check_many(self.subnets, "subnets", partial(check_type, kind=LocalSubnet)),
        )
        put(
            self,
            "forwards",
            check_many(self.forwards, "forwards", partial(check_type, kind=HostForward)),
        )
        if self.address is not None:
            put(self, "address", check_address(self.address, "address"))
        put(self, "public_ips", check_many(self.public_ips, "public_ips", check_address))

    @property
    def id(self) -> ConcentratorId:
        return (self.tenant_id, self.concentrator_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConcentrator:
    """A checked ``ConcentratorConfig``.

    Without ``address`` one is chosen later, and the forwards lead to that.
    """

    id: ConcentratorId
    subnets: tuple[LocalSubnet, ...]
    doors: tuple[Door, ...]
    address: IPAddress | None = None
    publics: tuple[IPAddress, ...] = ()

    @property
    def forwards(self) -> tuple[PortForward, ...]:
        """The rules of all its forwards."""
        return tuple(rule for door in self.doors for rule in door)


def local_concentrator(cfg: object, site: Site) -> LocalConcentrator:
    """Check what ``set_concentrator`` needs; InvalidRequest names what is wrong."""
    cfg = check_type(cfg, "cfg", ConcentratorConfig)
    if not site.translates:
        return _hub_concentrator(cfg, site)
    if cfg.address is not None:
        raise InvalidRequest(
            'is for topology "hub": with "local" or "mesh" the host chooses a link-local one',
            field="address",
        )
    subnets: dict[str, LocalSubnet] = {}
    for number, subnet in enumerate(cfg.subnets):
        check_key(site.tunnel, subnet.subnet_key, f"subnets[{number}].subnet_key")
        check_carries(subnet.networks, site.mtu, f"subnets[{number}].subnet")
        if subnet.subnet_id in subnets:
            raise InvalidRequest("is there twice", field=f"subnets[{number}].subnet_id")
        for other in subnets.values():
            if any(one.overlaps(two) for one in subnet.networks for two in _same(one, other)):
                raise InvalidRequest(
                    f"overlaps subnet {other.subnet_id}: a concentrator routes between its subnets",
                    field=f"subnets[{number}].subnet",
                )
        subnets[subnet.subnet_id] = subnet
    doors: list[Door] = []
    seen: set[tuple[str, ...]] = set()
    for number, forward in enumerate(cfg.forwards):
        door = _rules(forward, site, _versions(subnets.values()), f"forwards[{number}]")
        keys = {rule.key for rule in door}
        if keys & seen:
            raise InvalidRequest("is there twice", field=f"forwards[{number}].port")
        seen |= keys
        doors.append(door)
    return LocalConcentrator(
        id=cfg.id,
        subnets=tuple(subnets.values()),
        doors=tuple(doors),
        publics=_publics(cfg, site),
    )


def _hub_concentrator(cfg: ConcentratorConfig, site: Site) -> LocalConcentrator:
    for name in ("subnets", "forwards"):
        if getattr(cfg, name):
            raise InvalidRequest(
                'is for topology "local" or "mesh": with "hub" the concentrator has tunnels to its '
                "subnets, and ports of its own address",
                field=name,
            )
    address = cfg.address
    if address is None:
        raise InvalidRequest("is needed: a free one of concentrator_pool", field="address")
    assert not isinstance(address, str)
    wire = site.uplink.address.network
    check_apart_from(wire, address, "address")
    if address.version != wire.version or address not in wire or address == site.ip:
        raise InvalidRequest(
            f"{address} is not a free address of {wire}, the network of "
            f"{site.uplink.link_name}, where others look for it",
            field="address",
        )
    publics = _publics(cfg, site)
    if address in publics:
        raise InvalidRequest("has the concentrator's own address", field="public_ips")
    return LocalConcentrator(id=cfg.id, subnets=(), doors=(), address=address, publics=publics)


def _publics(cfg: ConcentratorConfig, site: Site) -> tuple[IPAddress, ...]:
    """The public addresses, sorted."""
    publics: tuple[IPAddress, ...] = tuple(cfg.public_ips)  # type: ignore[arg-type]
    for number, address in enumerate(publics):
        if address in publics[:number]:
            raise InvalidRequest("is there twice", field=f"public_ips[{number}]")
        check_public(address, f"public_ips[{number}]")
        check_apart_from(site.uplink.address.network, address, f"public_ips[{number}]")
    return tuple(sorted(publics, key=_order))


def check_apart_from(wire: IPNetwork, address: IPAddress, field: str) -> None:
    """Check that a public address is none that all hosts of the uplink's network hear."""
    if address in wire:
        check_end(address, wire, field)


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def check_apart(requests: list[LocalConcentrator]) -> list[LocalConcentrator]:
    """Check that no concentrator, address or port of the host is in the list twice."""
    seen: set[tuple[str, ...]] = set()
    for number, request in enumerate(requests):
        addresses = (*((request.address,) if request.address else ()), *request.publics)
        for key in (
            request.id,
            *(forward.key for forward in request.forwards),
            *(("address", str(address)) for address in addresses),
        ):
            if key in seen:
                raise InvalidRequest("is there twice", field=f"concentrators[{number}]")
            seen.add(key)
    return requests


def _same(network: object, other: LocalSubnet) -> Networks:
    version = getattr(network, "version", 0)
    return tuple(one for one in other.networks if one.version == version)


def _versions(subnets: Iterable[LocalSubnet]) -> set[int]:
    """The IP versions in which a concentrator with these subnets has an address."""
    return {4} | {network.version for subnet in subnets for network in subnet.networks}


def _rules(forward: HostForward, site: Site, served: set[int], field: str) -> Door:
    rules: list[PortForward] = []
    with part_of(field):
        sources = check_many(forward.sources, "sources", check_network)
        address = own_address(forward.address)
        asked = {address.version} if address else {one.version for one in sources} or served
        if not asked <= served:
            name = "address" if address else "sources"
            raise InvalidRequest("the concentrator has no IPv6 subnet", field=name)
        for version in sorted(asked):
            rules += port_forwards(
                site.owner,
                protocol=forward.protocol,
                device=site.uplink.link_name,
                port=forward.port,
                to=_NOWHERE[version],
                to_port=forward.to_port,
                address=address,
                sources=sources if address else [one for one in sources if one.version == version],
            )
    return tuple(rules)
