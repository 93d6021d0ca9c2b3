"""Conversion of IPDB's links and addresses to nouns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from snnet.contract import Address, Bridge, Link, Other, Tap, Veth, Vxlan

# linux/if_arp.h
_ETHERNET = 1
_LOOPBACK = 772
_UP = 1  # IFF_UP, linux/if.h

Record = Mapping[str, Any]
"""An interface of IPDB: the kernel's attributes in lower case, None for absent ones."""
Records = Mapping[Any, Record]
"""All interfaces, each by its name and by its index."""


def links(records: Records) -> Iterator[Link]:
    """Yield every link."""
    for name, record in tuple(records.items()):
        if isinstance(name, str):
            yield link(record, records)


def link(record: Record, records: Records) -> Link:
    """Return the link as a noun; ``Other`` if this backend cannot create its kind."""
    common: dict[str, Any] = {
        "name": record["ifname"],
        "alias": record["ifalias"] or "",
        "group": record["group"] or 0,
        "mac": record["address"] if record["ifi_type"] == _ETHERNET else None,
        "mtu": record["mtu"],
        "master": _name(record["master"], records),
        "up": bool(record["flags"] & _UP),
        "index": record["index"],
    }
    kind = _kind(record)
    if kind == "bridge":
        return Bridge(**common)
    if kind == "tap":
        return Tap(multi_queue=(record["num_tx_queues"] or 1) > 1, **common)
    if kind == "veth":
        elsewhere = record["link_netnsid"] is not None
        return Veth(peer=None if elsewhere else _name(record["link"], records), **common)
    if kind == "vxlan":
        local = record["vxlan_local"] or record["vxlan_local6"]
        remote = record["vxlan_group"] or record["vxlan_group6"]
        if local is not None:
            return Vxlan(
                local=ip_address(local),
                remote=None if remote is None else ip_address(remote),
                vni=record["vxlan_id"],
                port=record["vxlan_port"],
                ttl=record["vxlan_ttl"],
                **common,
            )
    return Other(other_kind=kind, **common)


def addresses(record: Record) -> Iterator[Address]:
    """Yield the link's addresses except IPv6 link-local ones, which the kernel adds."""
    for text, prefix in tuple(record["ipaddr"]):
        address = ip_interface(f"{text}/{prefix}")
        if not (address.version == 6 and address.is_link_local):
            yield Address(link=record["ifname"], address=address)


def _kind(record: Record) -> str:
    kind: str | None = record["kind"]
    if kind is None:
        return "loopback" if record["ifi_type"] == _LOOPBACK else "physical"
    # IPDB does not keep IFLA_TUN_TYPE; of tun and tap, only taps carry Ethernet.
    return "tap" if kind == "tun" and record["ifi_type"] == _ETHERNET else kind


def _name(index: int | None, records: Records) -> str | None:
    record = records.get(index) if index else None
    return None if record is None else record["ifname"]
