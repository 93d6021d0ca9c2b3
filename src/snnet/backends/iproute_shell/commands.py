"""Each operation as commands of ``ip``, ``bridge`` and ``sysctl``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import singledispatch

from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Link,
    Macvtap,
    Neighbour,
    Noun,
    Operation,
    ProxyNeighbour,
    Remove,
    Route,
    Sysctl,
    Tap,
    Veth,
    Vxlan,
)


def render(operation: Operation) -> list[str]:
    """The operation as lines for a root shell; a comment where no command does it."""
    return [shlex.join(words) if words[0] != "#" else " ".join(words) for words in argv(operation)]


def argv(operation: Operation) -> Iterator[list[str]]:
    """The operation as commands, each a list of words."""
    noun = operation.noun
    if isinstance(noun, Link):
        if isinstance(operation, Add):
            yield from _add_link(noun)
        elif isinstance(operation, Remove):
            yield ["ip", "link", "delete", "dev", noun.name]
        else:
            yield from _change_link(noun, operation)
    elif isinstance(noun, Sysctl):
        yield ["sysctl", "-w", f"{noun.name}={noun.value}"]
    else:
        verb = {Add: "add", Change: "replace", Remove: "delete"}[type(operation)]
        yield from _beside(noun, verb)


def _add_link(link: Link) -> Iterator[list[str]]:
    alone = ["ip", "link", "set", "dev", link.name]
    if isinstance(link, Tap):
        many = ["multi_queue", "vnet_hdr"] if link.multi_queue else []
        yield ["ip", "tuntap", "add", "dev", link.name, "mode", "tap", *many]
        yield [*alone, *_plain(link), *_group(link), *_master(link)]
    else:
        lower = ["link", link.lower] if isinstance(link, Macvtap) else []
        index = ["index", str(link.index)] if link.index else []
        yield [
            "ip", "link", "add", *lower, "name", link.name, *index, *_plain(link),
            *_group(link), *_master(link), "type", link.kind, *_details(link),
        ]  # fmt: skip
    if link.alias:
        yield [*alone, "alias", link.alias]
    routed = isinstance(link, (Tap, Veth)) and link.proxy_arp
    if routed or (isinstance(link, (Bridge, Macvtap)) and not link.link_local):
        yield [*alone, "addrgenmode", "none"]
    if routed:
        name = link.name.replace(".", "/")
        yield ["sysctl", "-w", f"net.ipv4.conf.{name}.proxy_arp=1"]
        yield ["sysctl", "-w", f"net.ipv4.neigh.{name}.proxy_delay=0"]
    if link.up:
        yield [*alone, "up"]


def _plain(link: Link) -> list[str]:
    words = []
    if link.mac is not None:
        words += ["address", link.mac]
    if link.mtu is not None:
        words += ["mtu", str(link.mtu)]
    return words


def _group(link: Link) -> list[str]:
    return ["group", str(link.group)] if link.group else []


def _master(link: Link) -> list[str]:
    return ["master", link.master] if link.master else []


def _change_link(link: Link, operation: Change) -> Iterator[list[str]]:
    different = link.differences(operation.old)
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
    yield ["ip", "link", "set", "dev", link.name, *words]


@singledispatch
def _details(link: Link) -> list[str]:
    """What follows ``type`` and the kind."""
    return []


@_details.register
def _(link: Bridge) -> list[str]:
    return ["forward_delay", "0", "stp_state", "0"]


@_details.register
def _(link: Veth) -> list[str]:
    words = ["peer", "name", str(link.peer)]
    if link.peer_mac:
        words += ["address", link.peer_mac]
    if link.peer_mtu:
        words += ["mtu", str(link.peer_mtu)]
    return words


@_details.register
def _(link: Macvtap) -> list[str]:
    return ["mode", link.mode]


@_details.register
def _(link: Gretap) -> list[str]:
    words = ["key", str(link.tunnel_key), "local", str(link.local), "remote", str(link.remote)]
    if link.local.version == 4:
        return [*words, "ttl", str(link.ttl), "pmtudisc"]
    return [*words, "hoplimit", str(link.ttl), "encaplimit", "none"]


@_details.register
def _(link: Gre) -> list[str]:
    return ["key", str(link.tunnel_key), "local", str(link.local), "ttl", str(link.ttl)]


@_details.register
def _(link: Vxlan) -> list[str]:
    far = ["remote", str(link.remote)] if link.remote else []
    return [
        "id", str(link.vni), "local", str(link.local), *far,
        "dstport", str(link.port), "ttl", str(link.ttl), "nolearning",
    ]  # fmt: skip


@_details.register
def _(link: Geneve) -> list[str]:
    return [
        "id", str(link.vni), "remote", str(link.remote),
        "dstport", str(link.port), "ttl", str(link.ttl),
    ]  # fmt: skip


@singledispatch
def _beside(noun: Noun, verb: str) -> Iterator[list[str]]:
    """What is no link; a noun of another driver's is told as a comment."""
    yield ["#", verb, str(noun)]


@_beside.register
def _(noun: Address, verb: str) -> Iterator[list[str]]:
    yield ["ip", "address", verb, str(noun.address), "dev", noun.link]


@_beside.register
def _(noun: Neighbour, verb: str) -> Iterator[list[str]]:
    address = ["ip", "neighbour", verb, str(noun.address)]
    if verb == "delete":
        yield [*address, "dev", noun.link]
    else:
        yield [*address, "lladdr", noun.lladdr, "dev", noun.link, "nud", "permanent"]


@_beside.register
def _(noun: ProxyNeighbour, verb: str) -> Iterator[list[str]]:
    yield ["ip", "neighbour", verb, "proxy", str(noun.address), "dev", noun.link]


@_beside.register
def _(noun: Fdb, verb: str) -> Iterator[list[str]]:
    yield [
        "bridge", "fdb", verb, noun.mac, "dev", noun.link,
        "dst", str(noun.remote), "self", "permanent",
    ]  # fmt: skip


@_beside.register
def _(noun: Route, verb: str) -> Iterator[list[str]]:
    via = ["via", str(noun.gateway)] if noun.gateway else []
    onlink = ["onlink"] if noun.onlink else []
    made_by = ["proto", str(noun.protocol)]
    yield ["ip", "route", verb, str(noun.destination), *via, "dev", noun.link, *onlink, *made_by]
