"""Checks before any program runs; they refuse values as the kernel would.

``ip`` misreads some values, and reads some as something else than was meant.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from snnet.backends.linux import check_makeable
from snnet.contract import NAME_MAX, Link, Neighbour, Noun, Route, Tap, Unsupported, Veth
from snnet.contract.addresses import is_mac
from snnet.contract.links import ALIAS_MAX, TAP_QUEUES_MAX, is_link_name

from .errors import Refused

NO_QUEUES = "ip(8) cannot return descriptors of queues: set backend 'netlink', or queues to 1"

_INDEX = re.compile(r"if[+-]?\d")


def check_new_link(link: Link) -> None:
    """Raise ``Refused`` or ``Unsupported`` if the link cannot be created like this."""
    check_makeable(link)
    if isinstance(link, Tap) and not 1 <= link.queues <= TAP_QUEUES_MAX:
        raise Refused(errno.EINVAL, f"a tap has 1 to {TAP_QUEUES_MAX} queues")
    peer = link.peer if isinstance(link, Veth) else None
    for name in (link.name, *([] if peer is None else [peer])):
        number = _name_fault(name)
        if number is not None:
            raise Refused(number, f"{name!r} is not a name for a link")
    check_values(link)


def check_values(link: Link) -> None:
    """Raise ``Refused`` if a changeable value is not valid."""
    macs = [link.mac, link.peer_mac if isinstance(link, Veth) else None]
    for mac in macs:
        if mac is not None and not is_mac(mac.lower()):
            raise Refused(errno.EINVAL, f"{mac!r} is not a MAC")
    if len(link.alias.encode(errors="replace")) > ALIAS_MAX:
        raise Refused(errno.ERANGE, f"the alias is longer than {ALIAS_MAX} bytes")


def check_neighbour(noun: Neighbour) -> None:
    """Check that a link-layer address is a MAC or, on a gre link, an underlay address."""
    if is_mac(noun.lladdr.lower()):
        return
    try:
        ip_address(noun.lladdr)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"{noun.lladdr!r} is not a MAC or address") from error


def check_route(noun: Route) -> None:
    if noun.gateway is not None and noun.gateway.version != noun.destination.version:
        raise Unsupported(f"{noun}: gateway and destination are of different families")


def index_like(names: Iterable[object]) -> Iterator[str]:
    """Yield the names that ``ip`` may read as an index.

    If no link is called if7, ``dev if7`` is the link with index 7
    (ll_name_to_index, lib/ll_map.c).
    """
    return (name for name in names if isinstance(name, str) and _INDEX.match(name))


def referred(noun: Noun) -> Iterator[object]:
    """Yield the names of other links in a noun."""
    return (getattr(noun, field, None) for field in ("link", "master", "lower"))


def _name_fault(name: str) -> int | None:
    """Return the kernel's errno for a bad name, or None for a good one."""
    if is_link_name(name):
        return None
    return errno.ERANGE if len(name.encode(errors="replace")) > NAME_MAX else errno.EINVAL
