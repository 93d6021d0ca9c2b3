"""Each operation as commands of ``ip``, ``bridge`` and ``sysctl``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch

from snnet.backends.linux import (
    comes_up_later,
    first_mtu,
    free_macvtap_index,
    is_routed,
    quiet_sysctls,
    routed_sysctls,
    without_link_local,
)
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Fdb,
    Link,
    Macvtap,
    Neighbour,
    Noun,
    Operation,
    Other,
    ProxyNeighbour,
    Remove,
    Route,
    Sysctl,
    Tap,
)

from .kinds import CODECS

Command = list[str]
"""A program and its arguments; one that begins with ``#`` is a comment."""


def render(operation: Operation) -> list[str]:
    """The operation as lines for a root shell; a comment where no command does it.

    They are what the backend ``iproute_shell`` runs, by names and never by indexes:
    a line that is kept for later says an index that may be another link's by then.
    A macvtap without an index gets another random one each time.
    """
    return [
        " ".join(words) if words[0] == "#" else shlex.join(words)
        for words in commands(settled(operation))
    ]


def settled(operation: Operation) -> Operation:
    """The operation with every value chosen that is left to the driver."""
    noun = operation.noun
    if isinstance(operation, Add) and isinstance(noun, Macvtap) and not noun.index:
        return Add(with_free_index(noun))
    return operation


def with_free_index(link: Macvtap) -> Macvtap:
    """The same with an index that its character device leaves free."""
    return replace(link, index=free_macvtap_index())


def commands(operation: Operation) -> list[Command]:
    """What carries the operation out, in order.

    The first of an ``Add`` makes the object, except that a tap without its group is
    nobody's: there the first two do.
    """
    noun = operation.noun
    if not isinstance(noun, Link):
        return list(_beside(noun, operation))
    if isinstance(operation, Add):
        return list(_add_link(noun))
    if isinstance(operation, Remove):
        return [["ip", "link", "delete", "dev", noun.name]]
    return list(_change_link(noun, noun.differences(operation.old)))


def probe(link: Link) -> Command:
    """What only a kernel with this kind of link refuses for its number of queues.

    The kernel looks for the kind first, loading its module if it can, and makes
    nothing (rtnl_newlink and rtnl_create_link, net/core/rtnetlink.c).
    """
    return [
        "ip", "link", "add", "name", "snnet-probe", "numtxqueues", str(1 << 16),
        "type", link.kind, *_details(link),
    ]  # fmt: skip


def displace(noun: Neighbour) -> Command:
    """The neighbour, in the place of one that the kernel learned."""
    return _neighbour(noun, "replace")


# Links


def _add_link(link: Link) -> Iterator[Command]:
    alone = ["ip", "link", "set", "dev", link.name]
    if isinstance(link, Other):
        yield ["#", f"links of kind {link.kind} are read, never made: {link.name}"]
        return
    alias = ["alias", link.alias] if link.alias else []
    later = comes_up_later(link)
    up = ["up"] if link.up and not later else []
    if isinstance(link, Tap):
        yield from _tuntap(link)
        # All in one message, for the kernel takes an alias for what is there already.
        words = [*_group(link), *alias, *_plain(link, link.mtu), *_master(link), *up]
        if words:
            yield [*alone, *words]
    else:
        lower = ["link", link.lower] if isinstance(link, Macvtap) else []
        index = ["index", str(link.index)] if link.index else []
        yield [
            "ip", "link", "add", *lower, "name", link.name, *index, *_group(link),
            *_plain(link, first_mtu(link)), *_master(link), *up,
            "type", link.kind, *_details(link),
        ]  # fmt: skip
        mtu = ["mtu", str(link.mtu)] if isinstance(link, Bridge) and link.mtu is not None else []
        if alias or mtu:
            yield [*alone, *alias, *mtu]
    if without_link_local(link):
        yield [*alone, "addrgenmode", "none"]
    if is_routed(link):
        for name, value in routed_sysctls(link).items():
            yield ["sysctl", "-w", f"{name}={value}"]
    if quiet := quiet_sysctls(link):
        # -e: a host without IPv6 does not have these.
        yield ["sysctl", "-e", "-w", *(f"{name}={value}" for name, value in quiet.items())]
    if link.up and later:
        yield [*alone, "up"]


def _tuntap(tap: Tap) -> Iterator[Command]:
    many = ["multi_queue", "vnet_hdr"] if tap.multi_queue or tap.queues > 1 else []
    user = [] if tap.user is None else ["user", str(tap.user)]
    yield ["ip", "tuntap", "add", "dev", tap.name, "mode", "tap", *user, *many]
    if tap.queues > 1:
        yield ["#", f"its {tap.queues} queues: no command opens them, ioctl TUNSETIFF does"]


def _change_link(link: Link, different: frozenset[str]) -> Iterator[Command]:
    words: list[str] = []
    if "mac" in different and link.mac:
        words += ["address", link.mac]
    if "mtu" in different:
        words += ["mtu", str(link.mtu)]
    if "group" in different:
        words += ["group", str(link.group)]
    if "alias" in different:
        words += ["alias", link.alias]
    if "master" in different:
        words += ["master", link.master] if link.master else ["nomaster"]
    if "up" in different:
        words.append("up" if link.up else "down")
    if words:
        yield ["ip", "link", "set", "dev", link.name, *words]


def _plain(link: Link, mtu: int | None) -> list[str]:
    words = []
    if link.mac is not None:
        words += ["address", link.mac]
    if mtu is not None:
        words += ["mtu", str(mtu)]
    return words


def _group(link: Link) -> list[str]:
    return ["group", str(link.group)] if link.group else []


def _master(link: Link) -> list[str]:
    return ["master", link.master] if link.master is not None else []


def _details(link: Link) -> list[str]:
    """What follows ``type`` and the kind."""
    codec = CODECS.get(type(link))
    return codec.words(link) if codec else []


# What stands beside links

# Not "replace", which would make what is to be changed.
_VERBS: dict[type[Operation], str] = {Add: "add", Change: "change", Remove: "delete"}


@singledispatch
def _beside(noun: Noun, operation: Operation) -> Iterator[Command]:
    """What is no link; a noun of another driver's is told as a comment."""
    yield ["#", str(operation)]


@_beside.register
def _(noun: Address, operation: Operation) -> Iterator[Command]:
    yield ["ip", "address", _VERBS[type(operation)], str(noun.address), "dev", noun.link]


@_beside.register
def _(noun: Neighbour, operation: Operation) -> Iterator[Command]:
    yield _neighbour(noun, _VERBS[type(operation)])


def _neighbour(noun: Neighbour, verb: str) -> Command:
    words = ["ip", "neighbour", verb, str(noun.address)]
    if verb != "delete":
        words += ["lladdr", noun.lladdr, "nud", "permanent"]
    return [*words, "dev", noun.link]


@_beside.register
def _(noun: ProxyNeighbour, operation: Operation) -> Iterator[Command]:
    verb = _VERBS[type(operation)]
    # Permanent, as ``ip`` makes them by itself: others go when their link loses its
    # carrier (pneigh_ifdown, net/core/neighbour.c).
    made_by = ["protocol", str(noun.protocol)] if verb == "add" and noun.protocol else []
    yield ["ip", "neighbour", verb, "proxy", str(noun.address), "dev", noun.link, *made_by]


@_beside.register
def _(noun: Fdb, operation: Operation) -> Iterator[Command]:
    # ``bridge`` has no "change".
    verb = "replace" if isinstance(operation, Change) else _VERBS[type(operation)]
    yield [
        "bridge", "fdb", verb, noun.mac, "dev", noun.link,
        "dst", str(noun.remote), "self", "permanent",
    ]  # fmt: skip


@_beside.register
def _(noun: Route, operation: Operation) -> Iterator[Command]:
    via = ["via", str(noun.gateway)] if noun.gateway else []
    onlink = ["onlink"] if noun.onlink else []
    verb = _VERBS[type(operation)]
    # Without it the kernel would remove a connected route before ours, whose metric is
    # lower for IPv6 (ip6_route_del, net/ipv6/route.c).
    made_by = ["proto", str(noun.protocol)]
    yield ["ip", "route", verb, str(noun.destination), *via, "dev", noun.link, *onlink, *made_by]


@_beside.register
def _(noun: Sysctl, operation: Operation) -> Iterator[Command]:
    if isinstance(operation, Change):
        yield ["sysctl", "-w", f"{noun.name}={noun.value}"]
    else:
        yield ["#", f"a parameter is changed, never added or removed: {noun.name}"]
