"""Reading concentrators back: from the record of intents, or else from aliases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from snnet.contract import IPAddress, Link, Namespace, Noun, Nouns, PortForward, Route, Veth, keyed

from . import identity as ids
from .concentrators import (
    LINK_LOCAL,
    UNIQUE_LOCAL,
    Concentrator,
    plug_link,
    unique_local,
    way_link,
    wire_of,
)
from .local_requests import ConcentratorId
from .marked import is_of_concentrator
from .site import Site


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
    routes: list[Route]

    def whole(self, site: Site, identity: ConcentratorId) -> Concentrator:
        owner, ip = site.owner, ip_address(self.fields[ids.ADDRESS])
        tenant, concentrator = identity
        fields = {ids.TENANT: tenant, ids.CONCENTRATOR: concentrator, ids.ADDRESS: str(ip)}
        namespace = self.namespace or Namespace(
            name=ids.name(owner, ids.SPACE, *identity),
            alias=ids.encode(owner, ids.SPACE, fields),
        )
        name = self.link.name if self.link else ids.name(owner, ids.WAY, *identity)
        alias = self.link.alias if self.link else ids.encode(owner, ids.WAY, fields)
        plugs = {
            subnet: plug_link(site, plug.name, namespace.name, plug.alias, _bridge(site, plug))
            for subnet, plug in self.plugs.items()
        }
        ip6 = unique_local(ip, plugs.values())
        return Concentrator(
            tenant_id=tenant,
            concentrator_id=concentrator,
            owner=str(owner),
            namespace=namespace,
            link=way_link(site, name, namespace.name, alias),
            ip=ip,
            ip6=ip6,
            plugs=plugs,
            forwards=tuple(forward for forward in self.forwards if forward.target in (ip, ip6)),
            publics=tuple(self._publics(name, ip)),
            upstream=site.uplink.link_name,
            apart=ip in LINK_LOCAL,  # the node may have been of another topology
            host=site.ip,
            wire=wire_of(site),
        )

    def _publics(self, link: str, ip: IPAddress) -> Iterator[IPAddress]:
        """The addresses whose routes lead into the namespace, beside its own."""
        for route in self.routes:
            address = route.destination.network_address
            own = address == ip or address in UNIQUE_LOCAL
            if route.link == link and not own and route.destination == ip_network(address):
                yield address


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
    routes = [noun for noun in nouns if isinstance(noun, Route)]
    found: dict[ConcentratorId, _Parts] = {}
    for noun in nouns:
        if isinstance(noun, Namespace):
            fields = ids.space_of(noun, site.owner)
        else:
            fields = ids.claimed(noun, site.owner) if isinstance(noun, Veth) else None
        if fields is None or fields[ids.KIND] not in (ids.SPACE, ids.WAY, ids.PLUG):
            continue
        identity = (fields[ids.TENANT], fields[ids.CONCENTRATOR])
        parts = found.setdefault(identity, _Parts({}, None, None, {}, forwards, routes))
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


def misplaced(ours: Nouns) -> Iterator[str]:
    """Yield a line for each namespace and veth of a concentrator, of a node that has none."""
    for noun in ours.values():
        if isinstance(noun, (Namespace, Veth)) and is_of_concentrator(noun):
            yield (
                f"{noun}: belongs to a concentrator, and this node has none by its configuration; "
                "repair() removes it"
            )


def leftovers(ours: Nouns, concentrators: Iterable[Concentrator]) -> set[tuple[str, ...]]:
    """Return the keys of namespaces and veths of concentrators that none of these wants."""
    wanted = {key for one in concentrators for key in keyed(one.nouns())}
    return {
        key
        for key, noun in ours.items()
        if key not in wanted and isinstance(noun, (Namespace, Veth)) and is_of_concentrator(noun)
    }
