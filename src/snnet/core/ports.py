"""Ports of transport protocols, and ranges of them."""

from __future__ import annotations

from snnet.config import shown
from snnet.contract import InvalidRequest

PORTS_MAX = 1024
"""The largest range of ports.  Each port becomes one rule."""


def check_ports(value: object, field: str) -> range:
    """Check a port or a range of ports like "8000-8010"; return a range of numbers."""
    first, dash, last = value.partition("-") if isinstance(value, str) else (value, "", value)
    try:
        low, high = int(first), int(last if dash else first)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        low, high = 0, 0
    if isinstance(value, (bool, float)) or not 1 <= low <= high <= 65535:
        raise InvalidRequest(
            f"{shown(value)} is not a port from 1 to 65535, nor a range like '8000-8010'",
            field=field,
        )
    if high - low >= PORTS_MAX:
        raise InvalidRequest(f"{value} has more than {PORTS_MAX} ports", field=field)
    return range(low, high + 1)
