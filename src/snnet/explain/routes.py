"""Routes as ``ip`` prints them, for the fakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from snnet.backends.fake.fib import Hop
from snnet.contract import IPNetwork
from snnet.contract.network import MAIN_TABLE

_TABLES = {"main": MAIN_TABLE, "default": 253}
_FORBIDS = {"blackhole", "unreachable", "prohibit", "throw"}
SEVERAL = "one of several next hops: nobody can tell which"


def read_routes(printed: Iterable[Mapping[str, Any]]) -> list[tuple[int, IPNetwork, Hop]]:
    """Return the routes that ``ip`` printed, of each table those of the lowest metric first."""
    found = []
    for route in printed:
        table = route.get("table", MAIN_TABLE)
        number = _TABLES.get(table, table)
        kind = route.get("type", "unicast")
        if kind not in ("unicast", *_FORBIDS) or "dead" in route.get("flags", ()):
            continue
        if isinstance(number, str) and not number.isdigit():
            continue  # of a table with a name, which only rules of others lead to
        text = route["dst"]
        if text == "default":
            text = "0.0.0.0/0" if route["family"] == 4 else "::/0"
        hop = _hop(route, kind)
        found.append((route.get("metric", 0), int(number), ip_network(text), hop))
    return [row[1:] for row in sorted(found, key=lambda row: row[0])]


def _hop(route: Mapping[str, Any], kind: str) -> Hop:
    ways = route.get("nexthops") or [route]
    first = ways[0]
    gateway, source = first.get("gateway"), route.get("prefsrc")
    refuses = kind if kind in _FORBIDS else SEVERAL if len(ways) > 1 else ""
    if "via" in first:
        refuses = refuses or f"its gateway is {first['via'].get('host')}: nobody can tell"
    return Hop(
        first.get("dev", route.get("dev", "lo")),
        ip_address(gateway) if gateway else None,
        route.get("protocol") == "kernel" and not gateway,
        ip_address(source) if source else None,
        refuses,
    )
