"""Reads network namespaces of this machine for a snapshot."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from snnet import plugins
from snnet.backends.fake import FakeKernel
from snnet.contract import (
    Address,
    BridgeFdb,
    Fdb,
    Host,
    InvalidRequest,
    Link,
    Namespace,
    Neighbour,
    Noun,
    Owned,
    PolicyRule,
    ProxyNeighbour,
    Redirect,
    Shaper,
)
from snnet.contract.network import SNNET_PROTOCOL, link_sysctl, sysctl_path
from snnet.core.identity import OWNER, decode, owner_of
from snnet.firewall.others.look import gather
from snnet.node.noted import noted
from snnet.system.host import RealHost
from snnet.system.netns import in_netns
from snnet.system.process import run

from . import ipsec, queueing
from .faked import snapshot_of
from .snapshot import Snapshot, Space

_KINDS = {
    Link, Address, Neighbour, ProxyNeighbour, Fdb, BridgeFdb, PolicyRule, Namespace, Shaper,
    Redirect,
}  # fmt: skip
_SYS = Path("/proc/sys")
_GLOBAL = (
    "net.ipv4.ip_forward",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)
_PER_LINK = {
    "ipv4.conf": ("forwarding", "proxy_arp", "arp_ignore", "rp_filter"),
    "ipv6.conf": ("forwarding", "proxy_ndp", "disable_ipv6"),
}
_OWN_RULES = {"local", "main", "default"}
_PLACES = {"local": 0, "main": 32766}  # fib_default_rules_init, net/ipv4/fib_rules.c


def take(name: str = "", netns: int | None = None) -> Snapshot:
    """Read a host: a network namespace, and those that snnet's nodes in it own.

    ``name`` is what the host is called, by default its host name; ``netns`` a descriptor of
    its namespace, by default the caller's.  Changes nothing.  Needs root; raises
    ``SnnetError`` if the host cannot be read.
    """
    return Snapshot(name or socket.gethostname(), _spaces(netns))


def take_of(host: Host, name: str) -> Snapshot:
    """Like ``take``, of the host that a node's drivers work on, which may be a fake."""
    if isinstance(host, FakeKernel):
        return snapshot_of(host, name)
    return take(name, host.netns.fd)


def _spaces(netns: int | None) -> dict[str, Space]:
    found: dict[str, Space] = {}
    veths: dict[str, dict[int, tuple[str, int]]] = {}
    names = [""]
    for name in names:  # which grows
        try:
            host = RealHost(name or netns)
        except InvalidRequest:
            if not name:
                raise
            continue  # it is gone meanwhile
        try:
            found[name] = space = _read(host)
            veths[name] = _veths(host.netns.fd)
        finally:
            host.close()
        names += [] if name else _owned(space.nouns)
    return {name: _joined(name, space, veths) for name, space in found.items()}


def _owned(nouns: Iterable[Noun]) -> list[str]:
    """Return the namespaces that belong to an owner who has links, or rules, here too."""
    owners = {owner_of(noun) for noun in nouns if isinstance(noun, Link)}
    owners |= {noun.owner for noun in nouns if isinstance(noun, Owned)}
    return [
        noun.name
        for noun in nouns
        if isinstance(noun, Namespace) and (decode(noun.alias) or {}).get(OWNER) in owners
    ]


def _read(host: RealHost) -> Space:
    fd = host.netns.fd
    backend = plugins.open_driver(plugins.BACKENDS, "netlink", host)
    try:
        nouns = dict(backend.snapshot(_KINDS))
    finally:
        backend.close()
    damage: list[str] = []
    for name in _firewalls(host):
        firewall = plugins.open_driver(plugins.FIREWALLS, name, host)
        try:
            rules, changed = firewall.enforced()
        finally:
            firewall.close()
        nouns |= rules
        damage += changed
    links = [noun for noun in nouns.values() if isinstance(noun, Link)]
    return Space(
        list(nouns.values()),
        [
            {**route, "family": version}
            for version in (4, 6)
            for route in _printed(fd, f"-{version}", "route", "show", "table", "all")
        ],
        list(policies(fd)),
        in_netns(fd, lambda: dict(_sysctls(links))),
        listeners=host.listeners(),
        others={**gather(fd), "traffic": queueing.read(fd), "ipsec": ipsec.read(fd)},
        damage=damage,
    )


def _firewalls(host: RealHost) -> list[str]:
    """Return the drivers that may have set rules here: those noted, or all where one is not."""
    known = [settings.get("firewall") for settings in noted(host).values()]
    names = {str(name) for name in known if name}
    return sorted(names) if known and all(known) else ["iptables", "nftables"]


def _printed(fd: int, *words: str) -> list[dict[str, Any]]:
    text = run(["ip", "-json", *words], netns=fd).stdout
    return list(json.loads(text)) if text.strip() else []


def policies(netns: int) -> Iterator[dict[str, Any]]:
    """Yield what others changed in how a table of routes is chosen, of both families.

    "what" they changed, the "fix", and whether an own rule is "missing", which loses packets.
    """
    yield from _policies("ip rule", _printed(netns, "rule"))
    yield from _policies("ip -6 rule", _printed(netns, "-6", "rule"))


def _policies(command: str, rules: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    order = []
    for rule in rules:
        ours = rule.get("protocol") in (SNNET_PROTOCOL, str(SNNET_PROTOCOL))
        if rule.get("table") in _OWN_RULES and rule.get("src") == "all" and len(rule) == 3:
            order.append(rule["table"])
        elif not ours:
            number = rule.get("priority")
            words = " ".join(f"{key} {value}" for key, value in rule.items() if key != "priority")
            what = f"{command} {number}: {words} chooses another table of routes"
            yield {"what": what, "fix": f"{command} delete pref {number}", "missing": False}
    for number, (table, place) in enumerate(_PLACES.items()):
        # A kernel without IPv6 has no rules of it.
        if table not in order[: number + 1] and (rules or command == "ip rule"):
            what = f"{command}: no rule for table {table} at its place"
            fix = f"{command} add lookup {table} pref {place}"
            yield {"what": what, "fix": fix, "missing": True}


def _sysctls(links: Iterable[Link]) -> Iterator[tuple[str, str]]:
    """Yield the parameters that decide about packets; those of bridge ports do not."""
    for name in _GLOBAL:
        # Without br_netfilter there is no such parameter, and nothing to pass on.
        yield name, _value(name) or "0"
    names = [link.name for link in links if link.master is None]
    for table, parameters in _PER_LINK.items():
        for link in ("all", "default", *names):
            for parameter in parameters:
                name = link_sysctl(table, link, parameter)
                if (value := _value(name)) is not None:
                    yield name, value


def _value(name: str) -> str | None:
    with suppress(OSError):
        return _SYS.joinpath(*sysctl_path(name)).read_text().strip()
    return None


def _veths(fd: int) -> dict[int, tuple[str, int]]:
    """Return the veths whose other end is elsewhere: by index, the name and the other's index."""
    return {
        link["ifindex"]: (link["ifname"], link["link_index"])
        for link in _printed(fd, "link", "show", "type", "veth")
        if "link_index" in link
    }


def _joined(name: str, space: Space, veths: Mapping[str, dict[int, tuple[str, int]]]) -> Space:
    """Return the space with the other ends of its veths.

    Two veths are a pair if each has the index that the other says.
    """
    far: dict[str, tuple[str, str]] = {}
    for index, (link, other) in veths[name].items():
        for there, theirs in veths.items():
            if there != name and (found := theirs.get(other)) and found[1] == index:
                far[link] = (there, found[0])
    return replace(space, far=far)
