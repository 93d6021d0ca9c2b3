"""What a picture shows, as plain data, without places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from snnet.cluster.views import natural

HOST, CONCENTRATOR, ELSEWHERE = "host", "concentrator", "elsewhere"
"""The kinds of cards.  ELSEWHERE is an address that nothing else is known about."""

MESH = "mesh"
"""The label of direct paths between hosts."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A VNIC; ``notes`` is what there is no room for: link, MAC, state."""

    name: str
    addresses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bridge:
    """A tenant's network on one host, with what is plugged in there.

    ``id`` is unique in the picture.  ``facts`` are addresses, keys and links, the most
    important first.
    """

    id: str
    tenant: str
    network: str
    facts: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """A card: a host, a concentrator, or an address elsewhere."""

    id: str
    title: str
    kind: str = HOST
    facts: tuple[str, ...] = ()
    bridges: tuple[Bridge, ...] = ()

    @property
    def nics(self) -> int:
        """How many VNICs it has."""
        return sum(len(bridge.nics) for bridge in self.bridges)

    @property
    def counts(self) -> str:
        """What it has, in one line."""
        found = [_count(len(self.bridges), "network")] if self.bridges else []
        return ", ".join(found + ([_count(self.nics, "VNIC")] if self.nics else []))


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What joins the ends, which are ids of bridges or hosts; ``label`` is its kind."""

    tenant: str
    network: str
    ends: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """All cards and tunnels; what a tunnel's end names is on one of the cards."""

    title: str
    hosts: tuple[Host, ...]
    tunnels: tuple[Tunnel, ...] = ()

    @property
    def tenants(self) -> list[str]:
        """All tenants, sorted."""
        return sorted({tenant for tenant, _ in self.networks} - {""}, key=natural)

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Tenant and name of each network, in the order of the cards."""
        found = [(item.tenant, item.network) for host in self.hosts for item in host.bridges]
        found += [(tunnel.tenant, tunnel.network) for tunnel in self.tunnels]
        return list(dict.fromkeys(found))

    @property
    def counts(self) -> str:
        """What the picture shows, in one line."""
        hosts = [host for host in self.hosts if host.kind == HOST]
        concentrators = [host for host in self.hosts if host.kind == CONCENTRATOR]
        numbers = (
            (len(hosts), "host"),
            (len(concentrators), "concentrator"),
            (len(self.tenants), "tenant"),
            (sum(host.nics for host in self.hosts), "VNIC"),
        )
        return ", ".join(_count(number, noun) for number, noun in numbers if number) or "empty"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def joined(title: str, hosts: Iterable[Host], tunnels: Iterable[Tunnel]) -> Picture:
    """A picture; the ends of tunnels that no card has become cards, of what is elsewhere."""
    hosts = list(hosts)
    known = {host.id for host in hosts} | {item.id for host in hosts for item in host.bridges}
    unique = {(frozenset(tunnel.ends), tunnel.network): tunnel for tunnel in tunnels}
    for tunnel in unique.values():
        for end in tunnel.ends:
            if end not in known:
                known.add(end)
                hosts.append(Host(end, end, ELSEWHERE))
    return Picture(title, tuple(hosts), tuple(unique.values()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
