"""Whether tables are as snnet made them, and no rule, chain or element was changed since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import collapse_addresses

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    DhcpGuard,
    GroupMembers,
    GroupRules,
    IPNetwork,
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
from .elements import elements
from .families import FAMILIES, family_of
from .nouns import StoredNouns, gre_keys
from .reader import Reader, StoredChain, StoredElement
from .reference import Reference
from .tables import ARP, BRIDGE, INET, Table

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

    def __init__(self, reader: Reader, reference: Reference) -> None:
        self._reader = reader
        self._reference = reference

    def look(self, owner: str, *, whole: bool = True) -> tuple[list[Noun], dict[Table, str]]:
        """Return the owner's nouns, and what differs first in each of its tables.

        A table is not named if nothing differs; it may be missing.  Without ``whole``
        elements are not compared, so that the cost grows less with them.
        """
        for _ in range(_ATTEMPTS):
            before = self._reader.generation()
            look = _Look(self._reader.once(), self._reference, owner, whole)
            damage = look.damage()
            # Another process may have changed something while we looked.
            if not damage or self._reader.generation() == before:
                break
        return look.nouns, damage

    def is_whole(self, noun: Owned) -> bool:
        """Whether all elements of a noun are there, with their values."""
        for element in [] if isinstance(noun, Zone) else elements(noun):
            if element.set not in _INTERVALS:
                table = Table(element.family, noun.owner)
                found = self._reader.element(table, element.set, element.packed())
                if found is None or (found.data, found.last) != (element.data, element.last()):
                    return False
        return True


class _Look:
    """One comparison of an owner's tables with what its nouns need."""

    def __init__(self, reader: Reader, reference: Reference, owner: str, whole: bool) -> None:
        self._reader = reader
        self._reference = reference
        self._stored = StoredNouns(reader)
        self._tables = [Table(family, owner) for family in (ARP, BRIDGE, INET)]
        self._whole = whole
        self.nouns = self._stored.of_owner(owner)

    def damage(self) -> dict[Table, str]:
        """Return what differs first in each table that is not as it must be."""
        there = {table: self._reader.content(table) for table in self._tables}
        models = models_of(self.nouns, there, whole=self._whole)
        found = {table: self._damage(table, models[table], there[table]) for table in there}
        return {table: why for table, why in found.items() if why}

    def _damage(self, table: Table, model: Model, there: Mapping[str, StoredChain]) -> str | None:
        if self._reader.is_dormant(table):
            return "the table has flags"
        if not there:
            gone = model.elements or model.rules or self._missing_part(table, there)
            return "the table is gone" if gone else None
        return (
            self._chains(table, model, there)
            or self._missing_part(table, there)
            or (self._elements(table, model) if self._whole else None)
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


def models_of(
    nouns: Iterable[Noun], there: Mapping[Table, Collection[str]], *, whole: bool = True
) -> dict[Table, Model]:
    """Return what the tables of one owner must contain for its nouns; ``there`` are their chains.

    A part of which no chain is there is left out.  Without ``whole`` so are most elements.
    """
    models = {table: _static(table, set(chains)) for table, chains in there.items()}
    by_family = {table.family: model for table, model in models.items()}
    guards: list[TunnelGuard] = []
    for noun in nouns:
        if not isinstance(noun, _ELEMENTS_ALONE):
            _add_chains(by_family, noun)
        elif not whole:
            continue
        if isinstance(noun, TunnelGuard):
            guards.append(noun)
        # A zone's elements are networks, which are compared apart.
        for element in () if isinstance(noun, Zone) else elements(noun):
            if element.set not in _INTERVALS:
                wanted = by_family[element.family].elements.setdefault(element.set, {})
                wanted[element.packed() + element.last()] = element.data
    for model in models.values():
        if "gre" in model.rules:
            model.rules["gre"] = tuple(chains.gre_chain(gre_keys(guards)))
    return models


def _static(table: Table, there: AbstractSet[str]) -> Model:
    """Return what the parts of a table that are there have without any noun."""
    model = Model()
    for part in tables.parts_of(table):
        if not there.isdisjoint(tables.chains_of(part)):
            rules = tables.rules_in(part)
            model.rules |= {chain: tuple(rules[chain]) for chain in rules}
            model.hooks |= tables.hooks_in(part)
    return model


def _add_chains(models: Mapping[str, Model], noun: Noun) -> None:
    """Add to the models by family what a noun needs beside elements: chains and sets."""
    family, own = _own_chains(noun)
    model, inet = models[family], models[INET]
    model.rules |= {chain: tuple(own[chain]) for chain in own}
    model.sets |= groups.sets_of(noun)
    if isinstance(noun, (GroupMembers, GroupRules)):
        for name in groups.sets_of(noun):
            model.elements.setdefault(name, {})
    if isinstance(noun, Zone):
        inet.sets |= chains.zone_sets(noun.zone)
        for of in FAMILIES:
            networks = [net for net in noun.networks if family_of(net) is of]
            inet.networks[f"networks{of.s}-{noun.zone}"] = networks
    if isinstance(noun, ProtectedNetwork):
        name = f"{'closed' if noun.closed else 'tunnel'}_nets{family_of(noun.network).s}"
        inet.networks.setdefault(name, []).append(noun.network)


_ELEMENTS_ALONE = (AntiSpoof, ArpGuard, DhcpGuard, Untracked, ZoneLink)
"""These are many, and tell nothing of tables beside that of their record."""


def _own_chains(noun: Noun) -> tuple[str, dict[str, list[str]]]:
    """Return the family and the rules of the chains that a noun has for itself."""
    match noun:
        case Zone(zone=zone, outbound=outbound):
            return INET, chains.zone_chains(zone, outbound)
        case PortForward(sources=[_, *_]):
            return INET, {chains.source_chain(noun): [chains.source_rule(noun)]}
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
