"""A picture of all hosts of a cluster, by the snapshots that their agents answered with.

What a snapshot does not say comes from the registry's documents: the names of networks, and the
cards of hosts that gave no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from snnet.cluster import Cluster
from snnet.contract import Address, Link, Namespace, Tunnel
from snnet.core import identity as ids
from snnet.explain.gathering import Gathered
from snnet.explain.snapshot import Space

from . import registered
from .picture import CONCENTRATOR, HOST, MESH, Bridge, Host, Nic, Picture, joined
from .picture import Tunnel as Line

MISSING = "wanted, and not there"
"""The note of a VNIC that a host that answered does not have."""

Place = tuple[str, str]
"""A tenant and a network of it."""


def picture(cluster: Cluster, hosts: Gathered) -> Picture:
    """Draw what the hosts have; raises ``Unavailable`` if the registry does not answer."""
    wanted = registered.picture(cluster)
    names = {(item.tenant, str(item.key)): item.name for item in cluster.list_networks()}
    found = [
        part
        for snapshot in hosts.snapshots
        for part in _parts(snapshot.host, snapshot.spaces, names)
    ]
    places = {place: part for part in found for place in (part.card.id, *part.addresses)}
    for part in _unanswered(wanted, hosts):
        places |= {address: part for address in part.addresses if address not in places}
    cards = {part.card.id: part.card for part in found}
    tunnels = [line for part in found for line in part.lines(places)]
    silent = {f"node {one.host}": hosts.reason(one) for one in hosts.silent}
    for card in wanted.hosts:
        if card.id in silent:
            cards[card.id] = replace(card, facts=(*card.facts, silent[card.id]))
        elif card.id in cards:
            cards[card.id] = _with_missing(_with_age(cards[card.id], hosts), card)
        else:
            cards[card.id] = card
    known = {item.id for card in cards.values() for item in card.bridges} | cards.keys()
    # What nobody answered for is as the documents say.
    answered = {part.card.id for part in found}
    paths: dict[Place, list[str]] = {}
    for part in found:
        for place in part.meshed:
            paths.setdefault(place, []).append(part.end(place))
    for line in wanted.tunnels:
        ends = [end for end in line.ends if end in known]
        unread = [end for end in ends if not _card_of(end, answered)]
        if line.label == MESH:
            paths.setdefault((line.tenant, line.network), []).extend(unread)
        elif len(ends) > 1 and unread:
            tunnels.append(replace(line, ends=tuple(ends)))
    tunnels += [Line(*place, tuple(ends), MESH) for place, ends in paths.items() if len(ends) > 1]
    order = {card.id: number for number, card in enumerate(wanted.hosts)}
    shown = sorted(cards.values(), key=lambda card: order.get(card.id, len(order)))
    return joined(wanted.title, shown, tunnels)


def _with_age(card: Host, hosts: Gathered) -> Host:
    age = hosts.ages.get(card.title) if card.kind == HOST else None
    return card if age is None else replace(card, facts=(*card.facts, f"{age:.1f} s old"))


def _with_missing(card: Host, wanted: Host) -> Host:
    """Return the card with the VNICs that it should have."""
    if card.kind != HOST:
        return card
    bridges = {item.id: item for item in card.bridges}
    for item in wanted.bridges:
        there = bridges.get(item.id, replace(item, nics=()))
        have = {nic.name for nic in there.nics}
        lost = tuple(
            replace(nic, notes=(*nic.notes, MISSING)) for nic in item.nics if nic.name not in have
        )
        bridges[item.id] = replace(there, nics=(*there.nics, *lost))
    return replace(card, bridges=tuple(bridges.values()))


def _card_of(end: str, cards: Iterable[str]) -> bool:
    """Whether the end of a tunnel is on one of the cards."""
    return any(end == card or end.startswith((f"{card} ", f"{card}/")) for card in cards)


@dataclass(frozen=True, slots=True)
class _Part:
    """A card of a host or a concentrator, its addresses, and where its tunnels lead.

    Tenants may have equal addresses: these are the addresses between hosts alone.
    """

    card: Host
    addresses: tuple[str, ...]
    ways: tuple[tuple[Place, str, str], ...]
    """Network, far address (or the id of the card there), and kind of each tunnel."""
    meshed: tuple[Place, ...] = ()
    """Networks with direct paths to all others that have them."""

    def end(self, network: Place) -> str:
        """Return the id of the box of a network on this card."""
        if self.card.kind == CONCENTRATOR:
            return f"{self.card.id}/{network[1]}"
        return f"{self.card.id} {network[0]}/{network[1]}"

    def lines(self, places: Mapping[str, _Part]) -> Iterator[Line]:
        """Yield the tunnels; one to an address that nobody has ends at the address."""
        for network, remote, kind in self.ways:
            far = places.get(remote)
            there = far.end(network) if far is not None else remote
            boxes = {item.id for item in far.card.bridges} if far is not None else {remote}
            # A tunnel whose other side has no part of the network ends at its card.
            end = there if there in boxes else far.card.id if far is not None else remote
            yield Line(*network, (self.end(network), end), kind)


def _unanswered(wanted: Picture, hosts: Gathered) -> Iterator[_Part]:
    """Yield the cards of hosts without an answer, and of what is placed on them."""
    for one in hosts.silent:
        host = [card for card in wanted.hosts if card.id == f"node {one.host}"]
        for address in map(str, hosts.addresses.get(one.host, ())):
            served = [
                card for card in wanted.hosts if card.kind == CONCENTRATOR and address in card.facts
            ]
            for card in served or host:
                yield _Part(card, (address,), ())


def _parts(
    host: str, spaces: Mapping[str, Space], names: Mapping[tuple[str, str], str]
) -> Iterator[_Part]:
    """Yield the card of a host, and those of the concentrators in its namespaces."""
    root = spaces[""]
    tenants = {
        noun.name: fields.get(ids.TENANT, "")
        for noun in root.nouns
        if isinstance(noun, Namespace) and (fields := ids.decode(noun.alias)) is not None
    }
    plugs: list[tuple[Place, str, str]] = []
    for name, tenant in tenants.items():
        if name in spaces:
            part = _concentrator(host, name, tenant, spaces[name], names)
            plugs += [((tenant, item.network), part.card.id, "veth") for item in part.card.bridges]
            yield part
    yield _host(host, root, plugs)


def _aliases(space: Space, role: str) -> Iterator[tuple[Link, dict[str, str]]]:
    """Yield the links of nodes of a role, with what their aliases say."""
    for noun in space.nouns:
        if isinstance(noun, Link) and ids.grouped(noun):
            fields = ids.decode(noun.alias)
            if fields is not None and fields.get(ids.OWNER, "").startswith(f"{role}:"):
                yield noun, fields


def _addresses(space: Space) -> tuple[str, ...]:
    """Return the addresses between hosts: not those of tenants' gateways."""
    ours = {noun.name for noun in space.nouns if isinstance(noun, Link) and ids.owner_of(noun)}
    found = [
        noun.address.ip
        for noun in space.nouns
        if isinstance(noun, Address) and noun.link not in ours
    ]
    return tuple(str(ip) for ip in found if not ip.is_loopback and not ip.is_link_local)


def _host(host: str, space: Space, plugs: Iterable[tuple[Place, str, str]]) -> _Part:
    bridges: dict[Place, Bridge] = {}
    nics: dict[Place, list[Nic]] = {}
    ways = []
    plugged, meshed = set(), []
    for link, fields in _aliases(space, "cn"):
        kind = fields.get(ids.KIND)
        network = fields.get(ids.TENANT, ""), fields.get(ids.SUBNET, "")
        id = f"node {host} {network[0]}/{network[1]}"
        state = () if link.up else ("down",)
        if kind == ids.BRIDGE:
            bridges[network] = Bridge(id, *network, (*_facts(fields), link.name, *state))
        elif kind == ids.TUNNEL and isinstance(link, Tunnel) and link.remote is not None:
            ways.append((network, str(link.remote), link.kind))
        elif kind == ids.TUNNEL and isinstance(link, Tunnel):
            meshed.append(network)
        elif kind == ids.PLUG:
            plugged.add(network)
        elif kind in (ids.VM, ids.CONTAINER):
            loose = ("in no bridge",) if link.master is None else ()
            addresses = tuple(fields.get(ids.ADDRESS, "").split(","))
            nic = Nic(fields.get(ids.VNIC, ""), addresses, (link.name, *state, *loose))
            nics.setdefault(network, []).append(nic)
    for network in nics.keys() - bridges.keys():
        id = f"node {host} {network[0]}/{network[1]}"
        bridges[network] = Bridge(id, *network, ("routed",))
        nics[network] = [
            replace(nic, notes=tuple(note for note in nic.notes if note != "in no bridge"))
            for nic in nics[network]
        ]
    boxes = tuple(
        replace(item, nics=tuple(nics.get(network, ())))
        for network, item in sorted(bridges.items())
    )
    ways += [way for way in plugs if way[0] in plugged and way[0] in bridges]
    addresses = _addresses(space)
    card = Host(f"node {host}", host, HOST, addresses[:1], boxes)
    have = tuple(network for network in meshed if network in bridges)
    return _Part(card, addresses, tuple(ways), have)


def _concentrator(
    host: str, netns: str, tenant: str, space: Space, names: Mapping[tuple[str, str], str]
) -> _Part:
    links = list(_aliases(space, "cnci"))
    boxes: dict[str, Bridge] = {}
    for link, fields in links:
        if fields.get(ids.KIND) == ids.BRIDGE:
            networks = fields.get(ids.NETWORK, "")
            name = names.get((tenant, fields.get(ids.TUNNEL_KEY, "")), networks)
            facts = (*_facts(fields), link.name, *(() if link.up else ("down",)))
            boxes[networks] = Bridge(f"concentrator {tenant}/{name}", tenant, name, facts)
    ways = tuple(
        ((tenant, boxes[networks].network), str(link.remote), link.kind)
        for link, fields in links
        if isinstance(link, Tunnel) and link.remote is not None
        if (networks := fields.get(ids.NETWORK, "")) in boxes
    )
    addresses = _addresses(space)
    about = (f"on {host}", *addresses[:1], netns)
    card = Host(f"concentrator {tenant}", tenant, CONCENTRATOR, about, tuple(boxes.values()))
    return _Part(card, addresses, ways)


def _facts(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses and the key of a network."""
    key = fields.get(ids.TUNNEL_KEY)
    return (*fields.get(ids.NETWORK, "").split(","), *((f"key {key}",) if key else ()))
