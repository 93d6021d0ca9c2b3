"""What is refused before any program is run, as the kernel would refuse it.

``ip`` misreads some values, or takes for one thing what was meant as another.
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

NO_QUEUES = "ip(8) keeps no descriptors of a tap's queues: set backend 'netlink', or queues to 1"

_INDEX = re.compile(r"if[+-]?\d")


def check_new_link(link: Link) -> None:
    """Raise ``Refused`` or ``Unsupported`` where the link cannot be made so."""
    check_makeable(link)
    if isinstance(link, Tap) and not 1 <= link.queues <= TAP_QUEUES_MAX:
        raise Refused(errno.EINVAL, f"a tap has 1 to {TAP_QUEUES_MAX} queues")
    peer = link.peer if isinstance(link, Veth) else None
    for name in (link.name, *([] if peer is None else [peer])):
        number = _name_fault(name)
        if number is not None:
            raise Refused(number, f"{name!r} is no name of a link")
    check_values(link)


def check_values(link: Link) -> None:
    """Raise ``Refused`` where a changeable value is none."""
    macs = [link.mac, link.peer_mac if isinstance(link, Veth) else None]
    for mac in macs:
        if mac is not None and not is_mac(mac.lower()):
            raise Refused(errno.EINVAL, f"{mac!r} is no MAC")
    if len(link.alias.encode(errors="replace")) > ALIAS_MAX:
        raise Refused(errno.ERANGE, f"the alias is longer than {ALIAS_MAX} bytes")


def check_neighbour(noun: Neighbour) -> None:
    """A link-layer address is a MAC or, on a gre link, an underlay address."""
    if is_mac(noun.lladdr.lower()):
        return
    try:
        ip_address(noun.lladdr)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"{noun.lladdr!r} is no MAC or address") from error


def check_route(noun: Route) -> None:
    if noun.gateway is not None and noun.gateway.version != noun.destination.version:
        raise Unsupported(f"{noun}: a gateway of the other address family")


def index_like(names: Iterable[object]) -> Iterator[str]:
    """Those of the names of links that ``ip`` would take for an index.

    Where no link is called if7, ``dev if7`` is the link with index 7
    (ll_name_to_index, lib/ll_map.c).
    """
    return (name for name in names if isinstance(name, str) and _INDEX.match(name))


def referred(noun: Noun) -> Iterator[object]:
    """The names of other links that a noun says."""
    return (getattr(noun, field, None) for field in ("link", "master", "lower"))


def _name_fault(name: str) -> int | None:
    """The errno the kernel has for such a name, or None for a good one."""
    if is_link_name(name):
        return None
    return errno.ERANGE if len(name.encode(errors="replace")) > NAME_MAX else errno.EINVAL
