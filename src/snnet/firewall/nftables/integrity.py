"""Whether tables are as snnet made them, and no rule, chain or element was changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import collapse_addresses

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    DhcpGuard,
    GroupMembers,
    GroupRules,
    IPNetwork,
    MssClamp,
    Noun,
    Owned,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
)

from . import chains, drops, groups, tables
from .elements import Element, elements
from .families import FAMILIES, family_of
from .nouns import StoredNouns, gre_keys
from .reader import Reader, StoredChain, StoredElement
from .reference import Reference
from .tables import BRIDGE, INET, INPUT, Part, Table

_INTERVALS = tuple(f"{name}_nets{of.s}" for name in ("closed", "tunnel") for of in FAMILIES)
_ATTEMPTS = 5


@dataclass(slots=True)
class Model:
    """What a table must contain.  ``rules`` are those of each chain, as text of nft."""

    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)
    elements: dict[str, dict[bytes, str]] = field(default_factory=dict)
    """By set: what it has for each key; a key with ranges is its first and its last value."""
    networks: dict[str, list[IPNetwork]] = field(default_factory=dict)
    """By interval set: what it covers."""
    sets: dict[str, str] = field(default_factory=dict)
    """Sets that rules use beside the static ones: how each is declared."""


class Integrity:
    """Compares the tables of one network namespace with what they must contain."""

    def __init__(self, reader: Reader, stored: StoredNouns, reference: Reference) -> None:
        self._reader = reader
        self._stored = stored
        self._reference = reference

    def damage(
        self, table: Table, nouns: Described | None = None, *, whole: bool = True
    ) -> str | None:
        """Return what differs first, or None.  The table may be missing.

        ``nouns`` are those of the table's owner, where they were read already.  Without
        ``whole`` elements are not compared, so that the cost does not grow with them.
        """
        found = None
        for _ in range(_ATTEMPTS):
            before, given, nouns = self._reader.generation(), nouns, None
            own = described(self._stored.of_owner(table.owner)) if given is None else given
            found = self._damage(table, own, whole)
            # Another process may have changed something between two of our looks.
            if found is None or (given is None and self._reader.generation() == before):
                break
        return found

    def is_whole(self, noun: Owned) -> bool:
        """Whether all elements of a noun are there, with their values."""
        for element in [] if isinstance(noun, Zone) else elements(noun):
            if element.set not in _INTERVALS:
                table = Table(element.family, noun.owner)
                found = self._reader.element(table, element.set, element.packed())
                if found is None or (found.data, found.last) != (element.data, element.last()):
                    return False
        return True

    def _damage(self, table: Table, nouns: Described, whole: bool) -> str | None:
        if self._reader.is_dormant(table):
            return "the table has flags"
        there = self._reader.content(table)
        model = model_of(table, nouns, there)
        if not there:
            gone = model.elements or model.rules or self._missing_part(table, there)
            return "the table is gone" if gone else None
        return (
            self._chains(table, model, there)
            or self._missing_part(table, there)
            or (self._elements(table, model) if whole else None)
        )

    def _chains(self, table: Table, model: Model, there: Mapping[str, StoredChain]) -> str | None:
        wanted = self._reference.chains(table.family, model.rules, model.hooks, model.sets)
        for name, rules in model.rules.items():
            if name not in there:
                return f"chain {name} is gone"
            if wanted is None:  # only the numbers can be compared
                if len(there[name].rules) != len(rules):
                    return f"chain {name} has {len(there[name].rules)} rules, not {len(rules)}"
            elif there[name].hook != wanted[name].hook:
                return f"chain {name} has another hook, priority or policy"
            elif there[name].rules != wanted[name].rules:
                return f"chain {name}: {_first(there[name].rules, wanted[name].rules)}"
        foreign = [name for name in there if there[name].hook and name not in model.rules]
        return f"chain {foreign[0]} is not of snnet" if foreign else None

    def _missing_part(self, table: Table, there: Mapping[str, StoredChain]) -> str | None:
        for part in tables.parts_of(table):
            chains_of = tables.chains_of(part)
            if not there.keys() & set(chains_of) and self._stored.count(part):
                return f"chain {chains_of[0]} is gone"
        return None

    def _elements(self, table: Table, model: Model) -> str | None:
        names = [*tables.sets_of(table.family), *model.networks, *model.elements]
        for name in dict.fromkeys(names):
            if name in drops.REASONS:
                continue  # packets fill it
            found = self._reader.elements(table, name)
            if name in model.networks or name in _INTERVALS:
                if _covered(found) != _coverage(model.networks.get(name, ())):
                    return f"set {name} has other networks"
                continue
            wanted = model.elements.get(name, {})
            here = {one.key + one.last: one.data for one in found}
            if here.keys() != wanted.keys():
                lacking, others = len(wanted.keys() - here.keys()), len(here.keys() - wanted.keys())
                return f"set {name} lacks {lacking} elements and has {others} others"
            if here != wanted:
                return f"map {name} has other values"
        return None


Described = Sequence[tuple[Noun, Sequence[Element]]]
"""Nouns with their elements, for the models of several tables."""


def described(nouns: Iterable[Noun]) -> Described:
    """Return the nouns with their elements; a zone's are networks, which are compared apart."""
    return [(noun, () if isinstance(noun, Zone) else tuple(elements(noun))) for noun in nouns]


def model_of(table: Table, nouns: Described, there: Iterable[str]) -> Model:
    """Return what the table must contain for these nouns; ``there`` are its chains.

    A part of which no chain is there is left out.
    """
    model, there = Model(), set(there)
    parts = [part for part in tables.parts_of(table) if there & {*tables.chains_of(part)}]
    for part in parts:
        rules = tables.rules_in(part)
        model.rules |= {chain: tuple(rules[chain]) for chain in rules}
        model.hooks |= tables.hooks_in(part)
    for noun, own_elements in nouns:
        family, own = _own_chains(noun)
        if family == table.family:
            model.rules |= {chain: tuple(own[chain]) for chain in own}
        if family == table.family:
            model.sets |= groups.sets_of(noun)
        if isinstance(noun, (GroupMembers, GroupRules)) and table.family == family:
            for name in groups.sets_of(noun):
                model.elements.setdefault(name, {})
        if isinstance(noun, Zone) and table.family == INET:
            model.sets |= chains.zone_sets(noun.zone)
            for of in FAMILIES:
                networks = [net for net in noun.networks if family_of(net) is of]
                model.networks[f"networks{of.s}-{noun.zone}"] = networks
        for element in own_elements:
            if element.family == table.family and element.set not in _INTERVALS:
                key = element.packed() + element.last()
                model.elements.setdefault(element.set, {})[key] = element.data
        if isinstance(noun, ProtectedNetwork) and table.family == INET:
            name = f"{'closed' if noun.closed else 'tunnel'}_nets{family_of(noun.network).s}"
            model.networks.setdefault(name, []).append(noun.network)
    guards = [noun for noun, _ in nouns if isinstance(noun, TunnelGuard)]
    if table.family == INET and Part(table, INPUT) in parts:
        model.rules["gre"] = tuple(chains.gre_chain(gre_keys(guards)))
    return model


def with_chains(nouns: Iterable[Noun]) -> list[Noun]:
    """Return the nouns that chains may depend on, or that need tables without their record."""
    return [noun for noun in nouns if not isinstance(noun, _ELEMENTS_ALONE)]


_ELEMENTS_ALONE = (AntiSpoof, ArpGuard, DhcpGuard, Untracked, ZoneLink)
"""These are many, and tell nothing of tables beside that of their record."""


def _own_chains(noun: Noun) -> tuple[str, dict[str, list[str]]]:
    """Return the family and the rules of the chains that a noun has for itself."""
    match noun:
        case Zone(zone=zone, outbound=outbound):
            return INET, chains.zone_chains(zone, outbound)
        case PortForward(sources=[_, *_]):
            return INET, {chains.source_chain(noun): [chains.source_rule(noun)]}
        case MssClamp(link=link, bridged=bridged):
            family = BRIDGE if bridged else INET
            return family, {chains.clamp_chain(link): chains.clamp_rules(noun)}
        case GroupMembers() | GroupRules() | PortGroups():
            return groups.table_of(noun).family, groups.chains_of(noun)
    return INET, {}


def _first(found: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> str:
    """Return which rule of a chain is the first that differs."""
    for number, (here, should) in enumerate(zip(found, wanted, strict=False), 1):
        if here != should:
            return f"rule {number} is not that of snnet"
    return f"it has {len(found)} rules, not {len(wanted)}"


Coverage = list[tuple[bytes, bytes | None]]
"""Disjoint intervals: their first address, and the one after their last, if there is one."""


def _covered(found: Iterable[StoredElement]) -> Coverage:
    """Return what the elements of an interval set cover."""
    bounds: dict[bytes, bool] = {}
    for element in found:
        # Where one interval ends and the next begins, the set has both or the latter alone.
        bounds[element.key] = bounds.get(element.key, False) or not element.ends
    coverage: Coverage = []
    first: bytes | None = None
    for key in sorted(bounds):
        if bounds[key] and first is None:
            first = key
        elif not bounds[key] and first is not None:
            coverage.append((first, key))
            first = None
    return coverage if first is None else [*coverage, (first, None)]


def _coverage(networks: Iterable[IPNetwork]) -> Coverage:
    """Return what the networks cover, which are of one version."""
    elements: list[StoredElement] = []
    for network in collapse_addresses(networks):  # type: ignore[type-var]
        elements.append(StoredElement(network.network_address.packed, ""))
        after = int(network.broadcast_address) + 1
        if after < 2**network.max_prefixlen:
            end = after.to_bytes(network.max_prefixlen // 8, "big")
            elements.append(StoredElement(end, "", ends=True))
    return _covered(elements)
