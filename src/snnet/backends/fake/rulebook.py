"""The firewall rules of one host, indexed by the fields that packets are matched on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    GroupMembers,
    GroupRules,
    HostIsolation,
    HostServices,
    IPAddress,
    Key,
    Masquerade,
    MssClamp,
    Noun,
    OpenAddress,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
)

N = TypeVar("N", bound=Noun)

Where = tuple[object, ...]
"""The name of a rule's class, and the values that a packet is matched on.

A name and not the class: Python's garbage collector looks at tuples that have classes in them,
again and again, and not at those of texts.
"""


class Rulebook:
    """An index of rules: the cost of a look-up or change does not grow with their number.

    It is False without rules.  Several owners may have the same rule.
    """

    def __init__(self) -> None:
        self._oldest: dict[Where, Noun] = {}
        """The oldest rule of each place."""
        self._several: dict[Where, dict[Key, Noun]] = {}
        """All rules of the few places that have more than one, oldest first."""
        self.changes = 0
        """Counts every change."""

    def __bool__(self) -> bool:
        return bool(self._oldest)

    def replace(self, old: Noun | None, new: Noun | None) -> None:
        """Remove the old rule and add the new one; either may be None."""
        self.changes += 1
        if old is not None:
            for where in _PLACES[type(old)](old):
                if where in self._several:
                    self._drop(where, old)
                else:
                    del self._oldest[where]
        if new is not None:
            for where in _PLACES[type(new)](new):
                first = self._oldest.setdefault(where, new)
                if first is not new:
                    self._several.setdefault(where, {first.key: first})[new.key] = new

    def _drop(self, where: Where, old: Noun) -> None:
        rules = self._several[where]
        del rules[old.key]
        self._oldest[where] = next(iter(rules.values()))
        if len(rules) == 1:
            del self._several[where]

    def all(self, kind: type[N], *known_by: object) -> tuple[N, ...]:
        """Return the rules of this class that match these values, oldest first."""
        where = (kind.__name__, *known_by)
        found: Any = self._oldest.get(where)
        if found is None:
            return ()
        several: Any = self._several.get(where)
        return tuple(several.values()) if several else (found,)

    def first(self, kind: type[N], *known_by: object) -> N | None:
        """Return the oldest such rule, None without one; most classes have at most one."""
        found: N | None = self._oldest.get((kind.__name__, *known_by))  # type: ignore[assignment]
        return found

    def is_outbound(self, link: ZoneLink) -> bool:
        """Return whether members of the link's zone may reach links outside all zones."""
        return any(zone.outbound for zone in self.all(Zone, link.owner, link.zone))

    def in_networks(self, link: ZoneLink, address: IPAddress) -> bool:
        """Return whether one of the networks of the link's zone contains the address."""
        if ("Zone", link.owner, link.zone) not in self._oldest:
            return False
        number, bits = int(address), address.max_prefixlen
        return any(
            ("Zone", link.owner, link.zone, bits, number >> shift << shift, shift) in self._oldest
            for shift in range(bits + 1)
        )


def _of_link(rule: Any) -> Iterable[Where]:
    return ((type(rule).__name__, rule.link),)


def _of_zone(rule: Zone) -> Iterator[Where]:
    yield "Zone", rule.owner, rule.zone
    for network in dict.fromkeys(rule.networks):
        bits = network.max_prefixlen
        shift = bits - network.prefixlen
        yield "Zone", rule.owner, rule.zone, bits, int(network.network_address), shift


def _of_tunnel(rule: TunnelGuard) -> Iterable[Where]:
    number = rule.port if rule.protocol == "udp" else rule.tunnel_key
    where = "TunnelGuard", rule.protocol, number
    return where, (*where, rule.remote)


def _of_forward(rule: PortForward) -> Iterator[Where]:
    at = (rule.address,) if rule.address else ()
    for where in (rule.device, *rule.guest_addresses):
        yield "PortForward", where, rule.protocol, rule.port, *at


def _of_public(rule: PublicIp) -> Iterable[Where]:
    return ("PublicIp", rule.public), ("PublicIp", rule.internal, rule.device)


def _of_group(rule: Any) -> Iterable[Where]:
    return ((type(rule).__name__, rule.owner, rule.tenant, rule.group),)


def _of_port_groups(rule: PortGroups) -> Iterator[Where]:
    yield "PortGroups", rule.link, rule.bridged
    for group in rule.groups:
        yield "PortGroups", rule.owner, rule.tenant, group
        for address in dict.fromkeys(rule.addresses):
            yield "PortGroups", rule.owner, rule.tenant, group, address


_PLACES: dict[type[Noun], Callable[[Any], Iterable[Where]]] = {
    Zone: _of_zone,
    ZoneLink: _of_link,
    HostIsolation: _of_link,
    Untracked: _of_link,
    DhcpGuard: _of_link,
    ArpGuard: _of_link,
    MssClamp: _of_link,
    HostServices: _of_link,
    TunnelGuard: _of_tunnel,
    BridgeAccept: lambda rule: (("BridgeAccept", rule.bridge),),
    AntiSpoof: lambda rule: (("AntiSpoof", rule.link, rule.bridged),),
    ProtectedNetwork: lambda rule: (("ProtectedNetwork", rule.owner),),
    Masquerade: lambda rule: (("Masquerade", rule.device),),
    ExternalForward: lambda rule: (("ExternalForward", rule.bridge, rule.device),),
    PortForward: _of_forward,
    PublicIp: _of_public,
    GroupMembers: _of_group,
    GroupRules: _of_group,
    PortGroups: _of_port_groups,
    TranslatedSource: lambda rule: (("TranslatedSource", rule.source),),
    OpenAddress: lambda rule: (("OpenAddress", rule.owner, rule.address),),
}
"""The keys of a rule of each class in the index, each once."""
