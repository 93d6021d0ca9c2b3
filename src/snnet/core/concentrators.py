"""Concentrators on this host: a namespace, the veths into it, and the host's rules for it.

``set_concentrator`` builds a record from a request; after a restart the same record is read
back from the record of intents, or else from the aliases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from snnet.contract import (
    Address,
    Attached,
    Conflict,
    DockerAccept,
    HostIsolation,
    Inside,
    IPAddress,
    Link,
    Namespace,
    Noun,
    Nouns,
    PortForward,
    Route,
    TranslatedSource,
    Veth,
    Zone,
    ZoneLink,
    keyed,
)

from . import identity as ids
from .local_requests import ConcentratorId, LocalConcentrator
from .requests import SubnetId
from .site import Site
from .vnics import ROUTED_GATEWAYS, TenantSubnet

UPLINK = "eth0"
"""The name of a concentrator's uplink in its namespace."""

LINK_LOCAL = IPv4Network("169.254.0.0/16")
"""RFC 3927: never forwarded by other routers, so that each host may use all of it."""

_GATEWAY = ROUTED_GATEWAYS[4]
_FIRST, _LAST = 2 << 8, (255 << 8) - 1
"""What is chosen of ``LINK_LOCAL``: RFC 3927 (2.1) reserves the first and the last 256."""
_METADATA = IPv4Address("169.254.169.254")
"""Where clouds tell their hosts secrets."""


@dataclass(frozen=True, slots=True, repr=False)
class Concentrator:
    """A tenant's concentrator in a namespace of this host.

    ``netns`` is the name of the namespace; ``uplink`` and ``links`` (by subnet id) are the
    links in it.  ``link_name`` is the host's end of the uplink.  ``mtu`` is in bytes.
    """

    tenant_id: str
    concentrator_id: str
    owner: str
    namespace: Namespace
    link: Veth
    ip: IPv4Address
    plugs: Mapping[str, Veth]
    forwards: tuple[PortForward, ...]

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
    def gateway(self) -> IPv4Address:
        ip = _GATEWAY.ip
        assert isinstance(ip, IPv4Address)
        return ip

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
        owner, link, inside = self.owner, self.link.name, self.netns
        within: tuple[Noun, ...] = (
            Attached(link=UPLINK),
            Address(link=UPLINK, address=IPv4Interface(self.ip)),
            Route(
                destination=IPv4Network("0.0.0.0/0"),
                link=UPLINK,
                gateway=self.gateway,
                onlink=True,
            ),
        )
        return (
            self.namespace,
            Zone(owner=owner, zone=inside, outbound=True),
            ZoneLink(owner=owner, link=link, zone=inside),
            HostIsolation(owner=owner, link=link, arp=False),
            TranslatedSource(owner=owner, source=self.ip),
            self.link,
            Address(link=link, address=_GATEWAY),
            Route(destination=IPv4Network(self.ip), link=link),
            *(Inside(namespace=inside, what=noun) for noun in within),
            *self.plugs.values(),
            *self.forwards,
            DockerAccept(owner=owner, link=link),
            *(
                DockerAccept(owner=owner, link=plug.master or "", bridged=True)
                for plug in self.plugs.values()
            ),
        )

    def intended(self) -> tuple[Noun, ...]:
        """What of it the record of intents has: the rest follows from these."""
        return (self.namespace, self.link, *self.plugs.values(), *self.forwards)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "concentrator_id": self.concentrator_id,
            "netns": self.netns,
            "uplink": self.uplink,
            "link_name": self.link_name,
            "ip": str(self.ip),
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
    ip: IPv4Address,
    *,
    netns: str,
    link: str,
    plugs: Mapping[str, tuple[str, TenantSubnet]],
    addresses: tuple[IPAddress, ...],
) -> Concentrator:
    """Return the concentrator of a request.

    ``plugs`` are names by subnet id, with the subnet; ``addresses`` are those of the uplink.
    """
    tenant, concentrator = request.id
    fields = {ids.TENANT: tenant, ids.CONCENTRATOR: concentrator, ids.ADDRESS: str(ip)}
    return Concentrator(
        tenant_id=tenant,
        concentrator_id=concentrator,
        owner=str(site.owner),
        namespace=Namespace(name=netns, alias=ids.encode(site.owner, ids.SPACE, fields)),
        link=_way(site, link, netns, ids.encode(site.owner, ids.WAY, fields)),
        ip=ip,
        plugs={
            subnet_id: _plug(site, name, netns, subnet, concentrator)
            for subnet_id, (name, subnet) in plugs.items()
        },
        forwards=tuple(
            replace(forward, target=ip, addresses=addresses if forward.address is None else ())
            for forward in request.forwards
        ),
    )


def _way(site: Site, name: str, netns: str, alias: str) -> Veth:
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


def choose_address(
    owner: ids.Owner, identity: ConcentratorId, taken: Container[IPv4Address]
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


# -- back from the record of intents and from aliases ----------------------------------


def read_concentrators(site: Site, ours: Nouns, remembered: Nouns) -> Iterator[Concentrator]:
    """Yield the concentrators that were asked for, or without a record those that are there."""
    known = _gathered(site, remembered.values())
    found = _gathered(site, ours.values())
    for identity in dict.fromkeys([*known, *found]):
        parts = known.get(identity) or found[identity]
        if ids.ADDRESS in parts.fields:
            yield parts.whole(site, identity)


@dataclass(slots=True)
class _Parts:
    """What says something about one concentrator."""

    fields: dict[str, str]
    namespace: Namespace | None
    link: Link | None
    plugs: dict[str, Link]
    forwards: list[PortForward]

    def whole(self, site: Site, identity: ConcentratorId) -> Concentrator:
        owner, ip = site.owner, IPv4Address(self.fields[ids.ADDRESS])
        tenant, concentrator = identity
        fields = {ids.TENANT: tenant, ids.CONCENTRATOR: concentrator, ids.ADDRESS: str(ip)}
        namespace = self.namespace or Namespace(
            name=ids.name(owner, ids.SPACE, *identity),
            alias=ids.encode(owner, ids.SPACE, fields),
        )
        name = self.link.name if self.link else ids.name(owner, ids.WAY, *identity)
        alias = self.link.alias if self.link else ids.encode(owner, ids.WAY, fields)
        return Concentrator(
            tenant_id=tenant,
            concentrator_id=concentrator,
            owner=str(owner),
            namespace=namespace,
            link=_way(site, name, namespace.name, alias),
            ip=ip,
            plugs={
                subnet: plug_link(site, plug.name, namespace.name, plug.alias, _bridge(site, plug))
                for subnet, plug in self.plugs.items()
            },
            forwards=tuple(forward for forward in self.forwards if forward.target == ip),
        )


def _bridge(site: Site, plug: Link) -> str:
    if plug.master:
        return plug.master
    fields = ids.decode(plug.alias) or {}
    return ids.name(site.owner, ids.BRIDGE, fields[ids.TENANT], fields[ids.SUBNET])


def _gathered(site: Site, nouns: Iterable[Noun]) -> dict[ConcentratorId, _Parts]:
    nouns = list(nouns)
    forwards = [
        noun for noun in nouns if isinstance(noun, PortForward) and noun.owner == site.owner.name
    ]
    found: dict[ConcentratorId, _Parts] = {}
    for noun in nouns:
        if isinstance(noun, Namespace):
            fields = ids.space_of(noun, site.owner)
        else:
            fields = ids.claimed(noun, site.owner) if isinstance(noun, Veth) else None
        if fields is None or fields[ids.KIND] not in (ids.SPACE, ids.WAY, ids.PLUG):
            continue
        identity = (fields[ids.TENANT], fields[ids.CONCENTRATOR])
        parts = found.setdefault(identity, _Parts({}, None, None, {}, forwards))
        if isinstance(noun, Namespace):
            parts.namespace = noun
        elif fields[ids.KIND] == ids.WAY:
            assert isinstance(noun, Link)
            parts.link = noun
        else:
            assert isinstance(noun, Link)
            parts.plugs[fields[ids.SUBNET]] = noun
            continue
        parts.fields = fields
    return found


def subnet_of(plug: Veth) -> dict[str, str]:
    """Return the fields that a plug's alias has of its subnet."""
    return ids.decode(plug.alias) or {}


def leftovers(ours: Nouns, concentrators: Iterable[Concentrator]) -> set[tuple[str, ...]]:
    """Return the keys of namespaces and veths of concentrators that none of these wants."""
    wanted = {key for one in concentrators for key in keyed(one.nouns())}
    return {
        key
        for key, noun in ours.items()
        if key not in wanted
        and (
            isinstance(noun, Namespace)
            or (isinstance(noun, Veth) and subnet_of(noun).get(ids.KIND) in (ids.WAY, ids.PLUG))
        )
    }
