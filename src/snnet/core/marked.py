"""Whose the routes and proxy entries are that bear snnet's mark, on links that are not snnet's.

Several nodes may share a host and its uplink, and the mark does not say which of them set an entry.
Something else of the node does: a VNIC's or a concentrator's alias, a host's route into a
concentrator, a rule of the firewall, or the node's record of intents.  An entry that nothing
explains belongs to no node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from snnet.contract import (
    AntiSpoof,
    IPAddress,
    IPNetwork,
    Link,
    Namespace,
    Noun,
    OpenAddress,
    ProxyNeighbour,
    Route,
    Zone,
)
from snnet.contract.network import MAIN_TABLE, SNNET_PROTOCOL

from . import identity as ids

Marked = ProxyNeighbour | Route


def is_marked(noun: Noun) -> TypeGuard[Marked]:
    """Whether this is a proxy entry, or a route of the main table, that a node of snnet set."""
    if isinstance(noun, Route):
        return noun.protocol == SNNET_PROTOCOL and noun.table == MAIN_TABLE
    return isinstance(noun, ProxyNeighbour) and noun.protocol == SNNET_PROTOCOL


def target(noun: Marked) -> str:
    """Return the address or the network that an entry is for."""
    return str(noun.destination if isinstance(noun, Route) else noun.address)


def explained(nouns: Iterable[Noun]) -> Mapping[str, set[str]]:
    """Return the addresses and networks that nodes have entries for, by the names of the nodes.

    A tenant's address on a bridge is not among them: other tenants may have the same.
    """
    found, owners, ways = defaultdict[str, set[str]](set), dict[str, str](), list[Route]()
    for noun in nouns:
        match noun:
            case Link() if ids.grouped(noun) and (fields := ids.decode(noun.alias)):
                owner = owners[noun.name] = fields.get(ids.OWNER, "")
                found[owner].update(_named(fields))
            case Namespace() if fields := ids.decode(noun.alias):
                found[fields.get(ids.OWNER, "")].update(_named(fields))
            case Route() if noun.destination.prefixlen == noun.destination.max_prefixlen:
                ways.append(noun)
            case AntiSpoof(bridged=False):
                found[noun.owner].update(_texts(noun.addresses))
            case OpenAddress():
                found[noun.owner].add(str(noun.address))
            case Zone():
                found[noun.owner].update(_texts(noun.networks))
    for route in ways:
        if route.link in owners:
            found[owners[route.link]].add(str(route.destination.network_address))
    return found


def is_of_concentrator(noun: Link | Namespace) -> bool:
    """Whether the alias is that of a concentrator's namespace, or of a veth into it."""
    return (ids.decode(noun.alias) or {}).get(ids.KIND) in (ids.SPACE, ids.WAY, ids.PLUG)


def marked_of(owner: str, nouns: Iterable[Noun]) -> Iterator[Marked]:
    """Yield the entries among the nouns that something of this node explains."""
    nouns = list(nouns)
    entries = [noun for noun in nouns if is_marked(noun)]
    if entries:
        mine = explained(nouns).get(owner, ())
        yield from (noun for noun in entries if target(noun) in mine)


def _named(fields: Mapping[str, str]) -> Iterator[str]:
    """Yield what the alias of a routed VNIC or of a concentrator explains."""
    kind = fields.get(ids.KIND)
    if kind in (ids.SPACE, ids.WAY):
        yield from fields.get(ids.ADDRESS, "").split(",")
    elif kind in (ids.VM, ids.CONTAINER) and ids.NETWORK in fields:
        yield from fields.get(ids.ADDRESS, "").split(",")
        yield from fields[ids.NETWORK].split(",")


def _texts(values: Iterable[IPAddress | IPNetwork]) -> Iterator[str]:
    return map(str, values)
