"""Ports of transport protocols, and ranges of them."""

from __future__ import annotations

import re

from snnet.checks import shown
from snnet.contract import InvalidRequest

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)

PORTS_MAX = 1024
"""The largest range of ports.  Each port becomes one rule."""


def check_ports(value: object, field: str) -> range:
    """Check a port or a range of ports like "8000-8010"; return a range of numbers."""
    low, high = 0, 0
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    elif isinstance(value, str) and (found := _RANGE.fullmatch(value)):
        low, high = int(found[1]), int(found[2] or found[1])
    if not 1 <= low <= high <= 65535:
        raise InvalidRequest(
            f"{shown(value)} is not a port from 1 to 65535, nor a range like '8000-8010'",
            field=field,
        )
    if high - low >= PORTS_MAX:
        raise InvalidRequest(f"{value} has more than {PORTS_MAX} ports", field=field)
    return range(low, high + 1)
