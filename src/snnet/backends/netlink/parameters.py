"""Parameters of many links at once: a listing of links has those of IPv6.

Opening a file for each takes the kernel far longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from struct import Struct

from snnet.contract import Key, Noun, Sysctl, Unsupported
from snnet.contract.network import sysctl_path

from .found import ParsedLink

MANY = 50
"""From so many parameters on, one listing of all links is faster."""

_NUMBER = Struct("=i")
_PLACES = {
    "forwarding": 0,
    "accept_ra": 3,
    "accept_redirects": 4,
    "proxy_ndp": 22,
    "disable_ipv6": 26,
}
"""DEVCONF_* of linux/ipv6.h, by name of the parameter."""


def listed(nouns: Collection[Noun], links: Iterable[ParsedLink]) -> dict[Key, Noun]:
    """Return those of the nouns that the listing has."""
    values = {link.name: link.inet6_parameters() for link in links}
    found: dict[Key, Noun] = {}
    for noun in nouns:
        if isinstance(noun, Sysctl) and (place := _place(noun.name)) is not None:
            link, offset = place
            data = values.get(link, b"")
            if len(data) >= offset + _NUMBER.size:
                (value,) = _NUMBER.unpack_from(data, offset)
                as_wanted = noun.value == str(value)
                found[noun.key] = noun if as_wanted else replace(noun, value=str(value))
    return found


def _place(name: str) -> tuple[str, int] | None:
    """The link, and where its parameters have this one."""
    try:
        parts = sysctl_path(name)
    except Unsupported:
        return None
    if len(parts) != 5 or parts[:3] != ["net", "ipv6", "conf"] or parts[4] not in _PLACES:
        return None
    return parts[3], _PLACES[parts[4]] * _NUMBER.size
