"""The firewall's rules of one host, by what a packet is looked up by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, cast

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    IPAddress,
    Key,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Zone,
    ZoneLink,
)

N = TypeVar("N", bound=Noun)

Where = tuple[object, ...]
"""The class of a rule, then what a packet that it speaks of is known by."""


class Rulebook:
    """Kept up rule by rule, so that neither a packet nor a change costs more with many.

    False while there are none.  Several owners may have the same rule.
    """

    def __init__(self) -> None:
        self._index: dict[Where, dict[Key, Noun]] = {}

    def __bool__(self) -> bool:
        return bool(self._index)

    def replace(self, old: Noun | None, new: Noun | None) -> None:
        """Take out one rule, put in another."""
        if old is not None:
            for where in _places(old):
                rules = self._index[where]
                rules.pop(old.key, None)
                if not rules:
                    del self._index[where]
        if new is not None:
            for where in _places(new):
                self._index.setdefault(where, {})[new.key] = new

    def all(self, kind: type[N], *known_by: object) -> tuple[N, ...]:
        """The rules of this class there, oldest first."""
        return cast("tuple[N, ...]", tuple(self._index.get((kind, *known_by), {}).values()))

    def first(self, kind: type[N], *known_by: object) -> N | None:
        """The oldest of them; of most there is one at most."""
        return next(iter(self.all(kind, *known_by)), None)

    def is_outbound(self, link: ZoneLink) -> bool:
        """Whether the link's zone lets its members out to what is in no zone."""
        return any(zone.outbound for zone in self.all(Zone, link.owner, link.zone))

    def in_networks(self, link: ZoneLink, address: IPAddress) -> bool:
        """Whether the address is in one of the networks of the link's zone."""
        if not self._index.get((Zone, link.owner, link.zone)):
            return False
        number, bits = int(address), address.max_prefixlen
        return any(
            (Zone, link.owner, link.zone, bits, number >> shift << shift, shift) in self._index
            for shift in range(bits + 1)
        )


def _places(rule: Noun) -> Iterator[Where]:
    """Where a rule is found; each once."""
    match rule:
        case Zone(owner=owner, zone=zone, networks=networks):
            yield Zone, owner, zone
            for network in dict.fromkeys(networks):
                bits = network.max_prefixlen
                shift = bits - network.prefixlen
                yield Zone, owner, zone, bits, int(network.network_address), shift
        case ZoneLink(link=link) | HostIsolation(link=link):
            yield type(rule), link
        case BridgeAccept(bridge=bridge):
            yield BridgeAccept, bridge
        case AntiSpoof(link=link, bridged=bridged):
            yield AntiSpoof, link, bridged
        case Masquerade(device=device):
            yield Masquerade, device
        case ExternalForward(bridge=bridge, device=device):
            yield ExternalForward, bridge, device
        case PortForward(protocol=protocol, port=port):
            yield PortForward, rule.device, protocol, port
            for address in dict.fromkeys(rule.addresses):
                yield PortForward, address, protocol, port
        case PublicIp(public=public, internal=internal, device=device):
            yield PublicIp, public
            yield PublicIp, internal, device
