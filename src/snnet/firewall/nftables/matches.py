"""The rules of a group in nft's words: few rules of nft, however many the group has.

Rules only allow, so their order says nothing, and those that differ in their ports or in their
networks alone are one rule of nft with a set.  A packet costs as much as there are rules of nft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from snnet.contract import IPNetwork, Rule
from snnet.contract.groups import IN, NUMBERS, WITH_PORTS, Ports

from .families import FAMILIES, Family, collapsed, family_of

_WHOLE: Ports = ((0, 65535),)
"""All ports, or all types of messages."""
_NAMES = {number: name for name, number in NUMBERS.items()}

K = TypeVar("K")
Wanted = dict[int | None, Ports]
"""By protocol, None for any: the ports or types."""
_Ranges = list[tuple[int, int]]
"""As rules give them: in any order, and they may overlap."""


def texts(
    rules: Iterable[Rule], direction: str, sets_of: Callable[[Family, str], Iterable[str]]
) -> list[str]:
    """Return the rules of one direction, without where they go.

    ``sets_of`` names the sets of a group's members.
    """
    everybody: dict[int | None, _Ranges] = {}
    members: dict[tuple[Family, str], dict[int | None, _Ranges]] = {}
    networks: dict[Family, dict[int | None, dict[IPNetwork, _Ranges]]] = {}
    for rule in rules:
        if rule.direction != direction:
            continue
        if rule.network is not None:
            by_network = networks.setdefault(family_of(rule.network), {})
            _add(by_network.setdefault(rule.number, {}), rule.network, rule)
        elif rule.group is not None:
            for of in FAMILIES:
                if rule.version in (None, 4 if of is FAMILIES[0] else 6):
                    _add(members.setdefault((of, rule.group), {}), rule.number, rule)
        else:
            _add(everybody, rule.number, rule)
    if None in everybody:
        return ["meta protocol { ip, ip6 }"]
    side = "saddr" if direction == IN else "daddr"
    found = [*_plain(_joined(everybody))]
    for of, by_protocol in networks.items():
        for number, wanted in by_protocol.items():
            found += _of_networks(number, _joined(wanted), f"{of.ip} {side}")
    for (of, group), protocols in members.items():
        for what in [""] if None in protocols else _plain(_joined(protocols)):
            for name in sets_of(of, group):
                found.append(f"{what} {of.ip} {side} @{name}".lstrip())
    return found


def _add(wanted: dict[K, _Ranges], key: K, rule: Rule) -> None:
    wanted.setdefault(key, []).extend(rule.ranges or _WHOLE)


def _plain(wanted: Wanted) -> Iterator[str]:
    """Yield what matches these protocols and ports."""
    whole = [number for number, ranges in wanted.items() if ranges == _WHOLE]
    if whole:
        yield f"meta l4proto {_among(map(str, whole))}"
    for number, ranges in wanted.items():
        if ranges != _WHOLE:
            yield _ports(number, ranges)


def _ports(number: int | None, ranges: Ports) -> str:
    name = _NAMES[number or 0]
    return f"{name} {'dport' if name in WITH_PORTS else 'type'} {_among(_shown(ranges))}"


def _of_networks(number: int | None, wanted: Mapping[IPNetwork, Ports], side: str) -> Iterator[str]:
    """Yield what matches these networks, each with its ports of one protocol."""
    whole = [network for network, ranges in wanted.items() if ranges == _WHOLE]
    if whole:
        what = "" if number is None else f"meta l4proto {number} "
        yield f"{what}{side} {_networks(whole)}"
    wider = _Networks()
    wider.update(whole)
    rest = {network: ranges for network, ranges in wanted.items() if not any(wider.around(network))}
    by_ports: dict[Ports, list[IPNetwork]] = {}
    for network, ranges in _apart(rest).items():
        by_ports.setdefault(ranges, []).append(network)
    if len(by_ports) > 1 and _NAMES[number or 0] in WITH_PORTS:
        pairs = [
            f"{network} . {ports}"
            for ranges, found in by_ports.items()
            for network in found
            for ports in _shown(ranges)
        ]
        yield f"{side} . {_NAMES[number or 0]} dport {{ {', '.join(pairs)} }}"
        return
    for ranges, found in by_ports.items():
        yield f"{_ports(number, ranges)} {side} {_networks(found)}"


def _networks(networks: Iterable[IPNetwork]) -> str:
    return _among(map(str, collapsed(networks)))


def _apart(wanted: Mapping[IPNetwork, Ports]) -> dict[IPNetwork, Ports]:
    """Return the same without overlaps, which no set of pairs may have."""
    found: dict[IPNetwork, Ports] = {}
    wider = _Networks()
    for network in sorted(wanted, key=lambda network: network.prefixlen):
        ranges = wanted[network]
        for taken in wider.around(network):
            ranges = _without(ranges, found[taken])
        if ranges:
            found[network] = ranges
            wider.update([network])
    return found


class _Networks:
    """Networks of one family, to be found by what is within them."""

    def __init__(self) -> None:
        self._by_length: dict[int, set[IPNetwork]] = {}

    def update(self, networks: Iterable[IPNetwork]) -> None:
        for network in networks:
            self._by_length.setdefault(network.prefixlen, set()).add(network)

    def around(self, network: IPNetwork) -> Iterator[IPNetwork]:
        """Yield those that contain the network; the cost does not grow with their number."""
        for length, known in self._by_length.items():
            if length <= network.prefixlen:
                wider = network.supernet(new_prefix=length)
                if wider in known:
                    yield wider


def _joined(wanted: Mapping[K, _Ranges]) -> dict[K, Ports]:
    """Return for each key the same ranges in order, as few as can be."""
    return {key: _merged(ranges) for key, ranges in wanted.items()}


def _merged(ranges: _Ranges) -> Ports:
    merged: _Ranges = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(ranges: Ports, taken: Ports) -> Ports:
    left = list(ranges)
    for low, high in taken:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return tuple(sorted(set(left)))


def _shown(ranges: Ports) -> list[str]:
    return [str(first) if first == last else f"{first}-{last}" for first, last in ranges]


def _among(values: Iterable[str]) -> str:
    """A set; one value is compared, which costs less than a look into a set."""
    found = list(values)
    return found[0] if len(found) == 1 else f"{{ {', '.join(found)} }}"
