"""The firewall rules of one host, indexed by the fields that packets are matched on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, cast

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    HostServices,
    IPAddress,
    Key,
    Masquerade,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
)

N = TypeVar("N", bound=Noun)

Where = tuple[object, ...]
"""The class of a rule, and the values that a packet is matched on."""


class Rulebook:
    """An index of rules: the cost of a look-up or change does not grow with their number.

    It is False without rules.  Several owners may have the same rule.
    """

    def __init__(self) -> None:
        self._index: dict[Where, dict[Key, Noun]] = {}

    def __bool__(self) -> bool:
        return bool(self._index)

    def replace(self, old: Noun | None, new: Noun | None) -> None:
        """Remove the old rule and add the new one; either may be None."""
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
        """Return the rules of this class that match these values, oldest first."""
        return cast("tuple[N, ...]", tuple(self._index.get((kind, *known_by), {}).values()))

    def first(self, kind: type[N], *known_by: object) -> N | None:
        """Return the oldest such rule, None without one; most classes have at most one."""
        return next(iter(self.all(kind, *known_by)), None)

    def is_outbound(self, link: ZoneLink) -> bool:
        """Return whether members of the link's zone may reach links outside all zones."""
        return any(zone.outbound for zone in self.all(Zone, link.owner, link.zone))

    def in_networks(self, link: ZoneLink, address: IPAddress) -> bool:
        """Return whether one of the networks of the link's zone contains the address."""
        if not self._index.get((Zone, link.owner, link.zone)):
            return False
        number, bits = int(address), address.max_prefixlen
        return any(
            (Zone, link.owner, link.zone, bits, number >> shift << shift, shift) in self._index
            for shift in range(bits + 1)
        )


def _places(rule: Noun) -> Iterator[Where]:
    """Yield the keys of a rule in the index, each once."""
    match rule:
        case Zone(owner=owner, zone=zone, networks=networks):
            yield Zone, owner, zone
            for network in dict.fromkeys(networks):
                bits = network.max_prefixlen
                shift = bits - network.prefixlen
                yield Zone, owner, zone, bits, int(network.network_address), shift
        case ZoneLink(link=link) | HostIsolation(link=link) | Untracked(link=link):
            yield type(rule), link
        case TunnelGuard(protocol=protocol, port=port, tunnel_key=key, remote=remote):
            number = port if protocol == "udp" else key
            yield TunnelGuard, protocol, number
            yield TunnelGuard, protocol, number, remote
        case DhcpGuard(link=link) | ArpGuard(link=link) | HostServices(link=link):
            yield type(rule), link
        case BridgeAccept(bridge=bridge):
            yield BridgeAccept, bridge
        case AntiSpoof(link=link, bridged=bridged):
            yield AntiSpoof, link, bridged
        case ProtectedNetwork(owner=owner):
            yield ProtectedNetwork, owner
        case Masquerade(device=device):
            yield Masquerade, device
        case ExternalForward(bridge=bridge, device=device):
            yield ExternalForward, bridge, device
        case PortForward(protocol=protocol, port=port):
            at = (rule.address,) if rule.address else ()
            for where in (rule.device, *rule.guest_addresses):
                yield PortForward, where, protocol, port, *at
        case PublicIp(public=public, internal=internal, device=device):
            yield PublicIp, public
            yield PublicIp, internal, device
