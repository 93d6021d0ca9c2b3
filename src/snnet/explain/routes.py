"""Routes as ``ip`` prints them, for the fakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from snnet.backends.fake.fib import Hop
from snnet.contract import IPAddress, IPNetwork
from snnet.contract.network import MAIN_TABLE

_TABLES = {"main": MAIN_TABLE, "default": 253}
_FORBIDS = {"blackhole", "unreachable", "prohibit", "throw"}
UNSURE = "nobody can tell"
"""Within what a route says: nobody can tell where its packets go."""
_SEVERAL = f"one of several next hops: {UNSURE} which"
_OWN = f"that it is this host's own, which is somebody else's doing: {UNSURE}"


def read_routes(printed: Iterable[Mapping[str, Any]]) -> list[tuple[int, IPNetwork, Hop]]:
    """Return the routes that ``ip`` printed, of each table those of the lowest metric first."""
    found = []
    for route in printed:
        table = route.get("table", MAIN_TABLE)
        number = _TABLES.get(table, table)
        kind = route.get("type", "unicast")
        # The kernel itself adds those of the host's addresses.
        own = kind == "local" and route.get("protocol") != "kernel"
        if (kind not in ("unicast", *_FORBIDS) and not own) or "dead" in route.get("flags", ()):
            continue
        number = MAIN_TABLE if own else number
        if isinstance(number, str) and not number.isdigit():
            continue  # of a table with a name, which only rules of others lead to
        hop = _hop(route, kind)
        found.append((route.get("metric", 0), int(number), _network(route), hop))
    return [row[1:] for row in sorted(found, key=lambda row: row[0])]


def _hop(route: Mapping[str, Any], kind: str) -> Hop:
    ways = route.get("nexthops") or [route]
    first = ways[0]
    gateway, source = first.get("gateway"), route.get("prefsrc")
    refuses = kind if kind in _FORBIDS else _SEVERAL if len(ways) > 1 else ""
    refuses = _OWN if kind == "local" else refuses
    if "via" in first:
        refuses = refuses or f"its gateway is {first['via'].get('host')}: {UNSURE}"
    return Hop(
        first.get("dev", route.get("dev", "lo")),
        ip_address(gateway) if gateway else None,
        route.get("protocol") == "kernel" and not gateway,
        ip_address(source) if source else None,
        refuses,
    )


def command_against(routes: Iterable[Mapping[str, Any]], address: IPAddress, says: object) -> str:
    """Return what removes the route of others that refuses packets to an address, or ""."""
    kind = "local" if says == _OWN else says
    found = [
        (network, route)
        for route in routes
        if route.get("type") == kind and route["family"] == address.version
        if address in (network := _network(route))
    ]
    if not found:
        return ""
    network, route = max(found, key=lambda one: one[0].prefixlen)
    more = [f" {key} {route[key]}" for key in ("table", "metric") if key in route]
    return f"ip -{address.version} route delete {kind} {network}{''.join(more)}"


def _network(route: Mapping[str, Any]) -> IPNetwork:
    text = route["dst"]
    if text == "default":
        text = "0.0.0.0/0" if route["family"] == 4 else "::/0"
    return ip_network(text)
