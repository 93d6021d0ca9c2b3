"""What is refused before any program is run, as the kernel would refuse it.

``ip`` misreads some values, or takes for one thing what was meant as another.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from snnet.contract import (
    NAME_MAX,
    Gre,
    Gretap,
    Link,
    Macvtap,
    Neighbour,
    Noun,
    Other,
    Route,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
)
from snnet.contract.links import ALIAS_MAX

from .errors import Refused

NO_QUEUES = "ip(8) keeps no descriptors of a tap's queues: set backend 'netlink', or queues to 1"

_QUEUES_MAX = 256  # MAX_TAP_QUEUES, drivers/net/tun.c
_MACVTAP_MODES = ("private", "vepa", "bridge", "passthru")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)
_INDEX = re.compile(r"if[+-]?\d")


def is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether a link can have this name (dev_valid_name, net/core/dev.c)."""
    return _name_fault(text) is None


def check_new_link(link: Link) -> None:
    """Raise ``Refused`` or ``Unsupported`` where the link cannot be made so."""
    if isinstance(link, Other):
        raise Unsupported(f"links of kind {link.kind} are read, never made")
    if isinstance(link, Tap) and not 1 <= link.queues <= _QUEUES_MAX:
        raise Refused(errno.EINVAL, f"a tap has 1 to {_QUEUES_MAX} queues")
    peer = link.peer if isinstance(link, Veth) else None
    for name in (link.name, *([] if peer is None else [peer])):
        number = _name_fault(name)
        if number is not None:
            raise Refused(number, f"{name!r} is no name of a link")
    _check_details(link)
    check_values(link)


def check_values(link: Link) -> None:
    """Raise ``Refused`` where a changeable value is none."""
    macs = [link.mac, link.peer_mac if isinstance(link, Veth) else None]
    for mac in macs:
        if mac is not None and not is_mac(mac):
            raise Refused(errno.EINVAL, f"{mac!r} is no MAC")
    if len(link.alias.encode(errors="replace")) > ALIAS_MAX:
        raise Refused(errno.ERANGE, f"the alias is longer than {ALIAS_MAX} bytes")


def check_change(new: Noun, old: Noun) -> None:
    """Raise ``Unsupported`` where the one cannot be turned into the other."""
    wrong = new.differences(old) - new.changeable
    if wrong or new.key != old.key:
        raise Unsupported(f"{', '.join(sorted(wrong)) or 'the kind'} cannot be changed in place")


def check_neighbour(noun: Neighbour) -> None:
    """A link-layer address is a MAC or, on a gre link, an underlay address."""
    if is_mac(noun.lladdr):
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
    """The errno the kernel has for such a name, or None for a good one.

    It would fill in a number for %d, and make up a name where there is none.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return errno.EINVAL
    if length > NAME_MAX:
        return errno.ERANGE
    if name in ("", ".", "..") or re.search(r"[/:%\0\s]", name):
        return errno.EINVAL
    return None


def _check_details(link: Link) -> None:
    if isinstance(link, Macvtap) and link.mode not in _MACVTAP_MODES:
        raise Unsupported(f"macvtap mode {link.mode!r}; there are {', '.join(_MACVTAP_MODES)}")
    if isinstance(link, Gre) and link.local.version != 4:
        raise Unsupported("the kernel has no multipoint gre over IPv6; set tunnel 'vxlan'")
    if isinstance(link, (Gretap, Vxlan)) and link.remote is not None:
        ends = link.local, link.remote
        if ends[0].version != ends[1].version:
            raise Unsupported(
                f"{link.name}: the ends {ends[0]} and {ends[1]} are of different families"
            )
