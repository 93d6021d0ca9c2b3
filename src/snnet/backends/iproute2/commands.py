"""Each operation as commands of ``ip``, ``bridge``, ``tc`` and ``sysctl``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import singledispatch

from snnet.backends.linux import (
    comes_up_later,
    first_mtu,
    free_macvtap_index,
    starts_anew,
    without_link_local,
)
from snnet.backends.settings import Setting, to_change, to_set
from snnet.contract import (
    Add,
    Address,
    Attached,
    Bridge,
    BridgeFdb,
    Change,
    Fdb,
    Inside,
    Link,
    Macvtap,
    Namespace,
    Neighbour,
    Noun,
    Operation,
    Other,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Remove,
    Route,
    Shaper,
    Sysctl,
    Tap,
    inner,
)
from snnet.contract.addresses import NO_MAC
from snnet.contract.network import MAIN_TABLE, SNNET_PROTOCOL
from snnet.contract.parameters import is_routed, quiet_parameters, routed_parameters
from snnet.contract.shaping import FILTER_PRIORITY, QDISC_HANDLE

from .kinds import CODECS

Command = list[str]
"""A program and its arguments; if the first word is ``#``, a comment."""


def render(operation: Operation) -> list[str]:
    """Return the operation as lines for a root shell; comments for what no command can do.

    The backend ``iproute_shell`` runs these commands.  They use names, not indexes: when
    a line is run later, its index may belong to another link.  A macvtap without an
    index gets a new random one each time.
    """
    return [
        " ".join(words) if words[0] == "#" else shlex.join(words)
        for words in commands(settled(operation))
    ]


def settled(operation: Operation) -> Operation:
    """Return the operation with all values filled in that the driver must choose."""
    noun = operation.noun
    if isinstance(operation, Add) and isinstance(noun, Macvtap) and not noun.index:
        return Add(with_free_index(noun))
    return operation


def with_free_index(link: Macvtap) -> Macvtap:
    """Return the link with an index whose character device does not exist."""
    return replace(link, index=free_macvtap_index())


def commands(operation: Operation) -> list[Command]:
    """Return the commands that carry out the operation, in order.

    The first command of an ``Add`` creates the object.  For a tap it takes the first two,
    because a tap without its group has no owner.
    """
    noun = operation.noun
    if not isinstance(noun, Link):
        return list(_non_link(noun, operation))
    if isinstance(operation, Add):
        return list(_add_link(noun))
    if isinstance(operation, Remove):
        return [["ip", "link", "delete", "dev", noun.name]]
    different = noun.differences(operation.old)
    was = operation.old if isinstance(operation.old, Link) else noun
    settings = _settings(noun, to_change(noun, was, different))
    anew = _start_anew(noun) if "mtu" in different and starts_anew(noun, was) else ()
    return [*_change_link(noun, different), *anew, *settings]


def probe(link: Link) -> Command:
    """Return a command that a kernel with this kind of link refuses for its number of queues.

    The kernel looks up the kind first, loading its module if it can, and creates
    nothing (rtnl_newlink and rtnl_create_link, net/core/rtnetlink.c).
    """
    return [
        "ip", "link", "add", "name", "snnet-probe", "numtxqueues", str(1 << 16),
        "type", link.kind, *_details(link),
    ]  # fmt: skip


def displace(noun: Neighbour | BridgeFdb) -> Command:
    """Return the command that replaces what the kernel has learned."""
    if isinstance(noun, BridgeFdb):
        return _bridge_fdb(noun, "replace")
    return _neighbour(noun, "replace")


def without_clsact(noun: Redirect) -> Command:
    """Return the command that removes what the filter of a redirect hung on."""
    return ["tc", "qdisc", "delete", "dev", noun.link, "clsact"]


# Links


def _add_link(link: Link) -> Iterator[Command]:
    alone = ["ip", "link", "set", "dev", link.name]
    if isinstance(link, Other):
        yield ["#", f"snnet cannot create links of kind {link.kind}: {link.name}"]
        return
    alias = ["alias", link.alias] if link.alias else []
    later = comes_up_later(link)
    up = ["up"] if link.up and not later else []
    if isinstance(link, Tap):
        yield from _tuntap(link)
        # All in one message: the kernel only accepts an alias for an existing link.
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
        multicast = ["allmulticast", "on"] if _all_multicast(link) else []
        if alias or mtu or multicast:
            yield [*alone, *alias, *mtu, *multicast]
    if without_link_local(link):
        yield [*alone, "addrgenmode", "none"]
    if is_routed(link):
        for name, value in routed_parameters(link).items():
            yield ["sysctl", "-w", f"{name}={value}"]
    yield from _quiet(link)
    if link.up and later:
        yield [*alone, "up"]
    yield from _settings(link, to_set(link, None))


def _settings(link: Link, settings: Iterable[tuple[str, Setting, int]]) -> Iterator[Command]:
    for kind, one, value in settings:
        yield ["ip", "link", "set", "dev", link.name, *one.words(kind, value)]


def _quiet(link: Link) -> Iterator[Command]:
    """The command that keeps the host's IPv6 from the link, if any is needed."""
    if quiet := quiet_parameters(link):
        # -e: a host without IPv6 does not have these.
        yield ["sysctl", "-e", "-w", *(f"{name}={value}" for name, value in quiet.items())]


def _start_anew(link: Link) -> Iterator[Command]:
    """The commands for a link whose IPv6 is new: its parameters, and no link-local address."""
    if without_link_local(link):
        yield ["ip", "link", "set", "dev", link.name, "addrgenmode", "none"]
        yield ["ip", "address", "flush", "dev", link.name, "to", "fe80::/10"]
    yield from _quiet(link)


def _tuntap(tap: Tap) -> Iterator[Command]:
    many = ["multi_queue", "vnet_hdr"] if tap.multi_queue or tap.queues > 1 else []
    user = [] if tap.user is None else ["user", str(tap.user)]
    yield ["ip", "tuntap", "add", "dev", tap.name, "mode", "tap", *user, *many]
    if tap.queues > 1:
        yield ["#", f"no command opens the {tap.queues} queues: use the ioctl TUNSETIFF"]


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
    if "all_multicast" in different:
        words += ["allmulticast", "on" if _all_multicast(link) else "off"]
    if "up" in different:
        words.append("up" if link.up else "down")
        if link.up:
            yield from _quiet(link)
    if words:
        yield ["ip", "link", "set", "dev", link.name, *words]


def _all_multicast(link: Link) -> bool:
    return isinstance(link, Macvtap) and link.all_multicast


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
    """Return what follows ``type`` and the kind."""
    codec = CODECS.get(type(link))
    return codec.words(link) if codec else []


# Nouns other than links

# Not "replace", which would create a missing object instead of failing.
_VERBS: dict[type[Operation], str] = {Add: "add", Change: "change", Remove: "delete"}


@singledispatch
def _non_link(noun: Noun, operation: Operation) -> Iterator[Command]:
    """Yield the commands for a noun other than a link; a comment for other drivers' nouns."""
    yield ["#", str(operation)]


@_non_link.register
def _(noun: Address, operation: Operation) -> Iterator[Command]:
    # Without "nodad" the address would be tentative for a second.
    nodad = ["nodad"] if isinstance(operation, Add) and noun.address.version == 6 else []
    lifetime = ["preferred_lft", "0"] if isinstance(operation, Add) and noun.deprecated else []
    words = [str(noun.address), "dev", noun.link, *nodad, *lifetime]
    yield ["ip", "address", _VERBS[type(operation)], *words]


@_non_link.register
def _(noun: Neighbour, operation: Operation) -> Iterator[Command]:
    yield _neighbour(noun, _VERBS[type(operation)])


def _neighbour(noun: Neighbour, verb: str) -> Command:
    words = ["ip", "neighbour", verb, str(noun.address)]
    if verb != "delete":
        words += ["lladdr", noun.lladdr, "nud", "permanent"]
    return [*words, "dev", noun.link]


@_non_link.register
def _(noun: ProxyNeighbour, operation: Operation) -> Iterator[Command]:
    verb = _VERBS[type(operation)]
    # ``ip`` makes them permanent.  Others are removed when their link loses carrier
    # (pneigh_ifdown, net/core/neighbour.c).
    made_by = ["protocol", str(noun.protocol)] if verb == "add" and noun.protocol else []
    yield ["ip", "neighbour", verb, "proxy", str(noun.address), "dev", noun.link, *made_by]


@_non_link.register
def _(noun: Fdb, operation: Operation) -> Iterator[Command]:
    # ``bridge`` has no "change" command.
    verb = "replace" if isinstance(operation, Change) else _VERBS[type(operation)]
    if noun.mac == NO_MAC and verb == "add":
        verb = "append"
    yield [
        "bridge", "fdb", verb, noun.mac, "dev", noun.link,
        "dst", str(noun.remote), "self", "permanent",
    ]  # fmt: skip


@_non_link.register
def _(noun: BridgeFdb, operation: Operation) -> Iterator[Command]:
    yield _bridge_fdb(noun, _VERBS[type(operation)])


def _bridge_fdb(noun: BridgeFdb, verb: str) -> Command:
    return ["bridge", "fdb", verb, noun.mac, "dev", noun.link, "master", "static"]


@_non_link.register
def _(noun: Route, operation: Operation) -> Iterator[Command]:
    via = ["via", str(noun.gateway)] if noun.gateway else []
    onlink = ["onlink"] if noun.onlink else []
    verb = _VERBS[type(operation)]
    # Without the protocol the kernel would remove a connected route instead of ours: its
    # metric is lower for IPv6 (ip6_route_del, net/ipv6/route.c).
    made_by = ["proto", str(noun.protocol)]
    table = [] if noun.table == MAIN_TABLE else ["table", str(noun.table)]
    words = [*via, "dev", noun.link, *onlink, *made_by, *table]
    yield ["ip", "route", verb, str(noun.destination), *words]


@_non_link.register
def _(noun: PolicyRule, operation: Operation) -> Iterator[Command]:
    family = "-4" if noun.source.version == 4 else "-6"
    specific = ["suppress_prefixlength", "0"] if noun.specific else []
    yield [
        "ip", family, "rule", _VERBS[type(operation)], "from", str(noun.source),
        "priority", str(noun.priority), "protocol", str(SNNET_PROTOCOL),
        "table", str(noun.table), *specific,
    ]  # fmt: skip


@_non_link.register
def _(noun: Shaper, operation: Operation) -> Iterator[Command]:
    root = ["dev", noun.link, "root", "handle", f"{QDISC_HANDLE:x}:"]
    if isinstance(operation, Remove):
        yield ["tc", "qdisc", "delete", *root]
        return
    # "replace" also takes the place of what somebody else put there.
    yield [
        "tc", "qdisc", "replace", *root, "tbf", "rate", f"{noun.rate}bit",
        "burst", str(noun.burst), "limit", str(noun.limit),
    ]  # fmt: skip


@_non_link.register
def _(noun: Redirect, operation: Operation) -> Iterator[Command]:
    filters = ["dev", noun.link, "ingress", "protocol", "all", "pref", str(FILTER_PRIORITY)]
    if isinstance(operation, Remove):
        yield ["tc", "filter", "delete", *filters]
        # Without a look at the host one cannot know whether filters of others are left.
        yield ["#", f"if no filter is left there: {shlex.join(without_clsact(noun))}"]
    elif noun.to:
        # "replace" leaves one that is there, with its filters.
        yield ["tc", "qdisc", "replace", "dev", noun.link, "clsact"]
        yield [
            "tc", "filter", "add", *filters, "u32", "match", "u32", "0", "0",
            "action", "mirred", "egress", "redirect", "dev", noun.to,
        ]  # fmt: skip
    else:
        yield ["#", f"nothing to do: {noun}"]


@_non_link.register
def _(noun: Sysctl, operation: Operation) -> Iterator[Command]:
    if isinstance(operation, Change):
        yield ["sysctl", "-w", f"{noun.name}={noun.value}"]
    else:
        yield ["#", f"a parameter cannot be added or removed: {noun.name}"]


@_non_link.register
def _(noun: Namespace, operation: Operation) -> Iterator[Command]:
    yield ["ip", "netns", _VERBS[type(operation)], noun.name]
    if isinstance(operation, Add):
        alias = ["alias", noun.alias] if noun.alias else []
        yield ["ip", "-n", noun.name, "link", "set", "dev", "lo", *alias, "up"]


@_non_link.register
def _(noun: Attached, operation: Operation) -> Iterator[Command]:
    removed = isinstance(operation, Remove)
    port = ["master", noun.master] if noun.master and not removed else ["nomaster"]
    yield ["ip", "link", "set", "dev", noun.link, *port, "down" if removed else "up"]


@_non_link.register
def _(noun: Inside, operation: Operation) -> Iterator[Command]:
    for words in commands(inner(operation)):
        if words[0] == "ip":
            yield ["ip", "-n", noun.namespace.name, *words[1:]]
        else:
            yield ["ip", "netns", "exec", noun.namespace.name, *words]
