"""Links as ``ip -json -details link`` describes them, turned into nouns."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from snnet.contract import (
    Bridge,
    Geneve,
    Gre,
    Gretap,
    IPAddress,
    Link,
    Macvtap,
    Other,
    Tap,
    Veth,
    Vxlan,
)

Row = dict[str, Any]

_GROUP_FILES = (Path("/etc/iproute2/group"), Path("/usr/share/iproute2/group"))


def link_noun(row: Row) -> Link:
    """The link as a noun: ``Other`` where it is none that snnet could have made."""
    ethernet = row.get("link_type") == "ether"
    common: Row = {
        "name": row["ifname"],
        "alias": row.get("ifalias", ""),
        "group": _group(str(row.get("group", "default"))),
        "mac": row.get("address") if ethernet else None,
        "mtu": row["mtu"],
        "master": row.get("master"),
        "up": "UP" in row["flags"],
        "index": row["ifindex"],
    }
    info: Row = row.get("linkinfo", {})
    if (make := _MAKERS.get(info.get("info_kind", ""))) is not None:
        link = make(row, common, info.get("info_data", {}))
        if link is not None:
            return link
    return Other(other_kind=_kind(row, info), **common)


def _kind(row: Row, info: Row) -> str:
    kind: str = info.get("info_kind", "")
    if not kind:
        return "loopback" if row.get("link_type") == "loopback" else "physical"
    return kind


def _group(text: str) -> int:
    """The number of a link group, for which ``ip`` prints a name where it knows one."""
    if text.lstrip("-").isdigit():
        return int(text) & 0xFFFFFFFF  # printed as a signed number
    if text == "default":
        return 0
    for file in _GROUP_FILES:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[1:2] == [text]:
                return int(words[0], 0)
    return 0


def _link_local(row: Row) -> bool:
    """Whether the kernel gives it an IPv6 link-local address when it comes up."""
    return row.get("inet6_addr_gen_mode") != "none"


def _bridge(row: Row, common: Row, data: Row) -> Link:
    return Bridge(link_local=_link_local(row), **common)


def _tun(row: Row, common: Row, data: Row) -> Link | None:
    if data.get("type") != "tap":
        return None
    queues = data.get("numqueues", 0)  # those open now
    return Tap(multi_queue=bool(data.get("multi_queue")), queues=max(queues, 1), **common)


def _veth(row: Row, common: Row, data: Row) -> Link:
    # The index of a peer in another namespace comes as "link_index".
    return Veth(peer=row.get("link"), **common)


def _macvtap(row: Row, common: Row, data: Row) -> Link:
    # A link of another namespace is written as ip-link(8) writes it.
    elsewhere = f"if{row.get('link_index', 0)}"
    return Macvtap(
        lower=row.get("link") or elsewhere,
        mode=data.get("mode", "0"),
        link_local=_link_local(row),
        **common,
    )


def _gretap(row: Row, common: Row, data: Row) -> Link | None:
    local, remote = _address(data, "local"), _address(data, "remote")
    if local is None or remote is None:
        return None
    return Gretap(local=local, remote=remote, tunnel_key=_key(data), ttl=_ttl(data), **common)


def _gre(row: Row, common: Row, data: Row) -> Link | None:
    local, remote = _address(data, "local"), _address(data, "remote")
    if local is None or remote is not None:
        return None
    return Gre(local=local, tunnel_key=_key(data), ttl=_ttl(data), **common)


def _vxlan(row: Row, common: Row, data: Row) -> Link | None:
    local = _address(data, "local", "local6")
    if local is None:
        return None
    return Vxlan(
        local=local,
        remote=_address(data, "remote", "remote6", "group", "group6"),
        vni=data.get("id", 0),
        port=data.get("port", 0),
        ttl=_ttl(data),
        **common,
    )


def _geneve(row: Row, common: Row, data: Row) -> Link | None:
    remote = _address(data, "remote", "remote6")
    if remote is None:
        return None
    return Geneve(
        remote=remote, vni=data.get("id", 0), port=data.get("port", 0), ttl=_ttl(data), **common
    )


def _address(data: Row, *names: str) -> IPAddress | None:
    """An address, or None where it is absent or unspecified."""
    for name in names:
        text = data.get(name, "any")
        if text not in ("any", "unknown"):
            return ip_address(text)
    return None


def _key(data: Row) -> int:
    """The key, which is printed as an address: 0.0.0.7."""
    return int(IPv4Address(data.get("ikey", "0.0.0.0")))


def _ttl(data: Row) -> int:
    ttl = data.get("ttl", 0)  # absent, or "inherit", where it is 0
    return ttl if isinstance(ttl, int) else 0


_MAKERS: dict[str, Callable[[Row, Row, Row], Link | None]] = {
    "bridge": _bridge,
    "tun": _tun,
    "veth": _veth,
    "macvtap": _macvtap,
    "gretap": _gretap,
    "ip6gretap": _gretap,
    "gre": _gre,
    "vxlan": _vxlan,
    "geneve": _geneve,
}
