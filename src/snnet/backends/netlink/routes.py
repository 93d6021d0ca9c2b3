"""Unicast routes of the main table and of snnet's own (rtnetlink(7), RTM_NEWROUTE)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from struct import Struct
from typing import Any

from snnet.contract import IPNetwork, Path, Route, Unsupported
from snnet.contract.network import OWN_TABLES
from snnet.system.netlink import NetlinkError

from .encoder import U8, U32, Field
from .kernel import (
    CREATE,
    EXCLUSIVE,
    FAMILIES,
    REPLACE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Kernel,
    attributes,
    by_family,
    ip,
    number,
)

# family, destination, source and tos lengths, table, protocol, scope, type, flags
_RTMSG = Struct("=BBBBBBBBI")
_BODY = 16
_ATTRIBUTES = _BODY + _RTMSG.size
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15

# linux/rtnetlink.h
_MAIN, _UNICAST = 254, 1
_PROTO_KERNEL = 2
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_ONLINK = 4
_DEFAULT_METRIC = {2: 0, 10: 1024}  # by family; IP6_RT_PRIO_USER, net/ip6_route.h

_TABLE = Field("table", value=_MAIN)
_ANOTHER = Field("table", value=0)  # RT_TABLE_UNSPEC: see RTA_TABLE
_TABLE_NUMBER = Field("RTA_TABLE", U32)
_TYPE = Field("type", value=_UNICAST)
_PROTOCOL = Field("proto", U8)
_SCOPE = Field("scope", U8)
_FLAGS = Field("flags", U32)
_LENGTH = Field("dst_len", U8)
_LINK = Field("RTA_OIF", U32)
_DESTINATION = by_family("RTA_DST")
_GATEWAY = by_family("RTA_GATEWAY")

Values = dict[Field, Any]


class Routes:
    """The routes of one network namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, noun: Route) -> None:
        self._kernel.ask(RTM_NEWROUTE, self._values(noun), CREATE | EXCLUSIVE)

    def change(self, new: Route, old: Route) -> None:
        if wrong := new.differences(old) - new.changeable:
            raise Unsupported(f"{', '.join(sorted(wrong))} cannot be changed in place")
        self._must_exist(old)
        self._kernel.ask(RTM_NEWROUTE, self._values(new), REPLACE)

    def remove(self, noun: Route) -> None:
        # The kernel would remove a route with any metric.
        self._must_exist(noun)
        # The protocol keeps the kernel from removing a connected route instead, whose
        # metric is lower for IPv6 (ip6_route_del, net/ipv6/route.c).
        self._kernel.ask(RTM_DELROUTE, self._values(noun) | {_SCOPE: _SCOPE_NOWHERE})

    def find(self, noun: Route) -> Route | None:
        family = FAMILIES[noun.destination.version]
        values = {family: None, _LINK: self._kernel.index(noun.link)}
        return next((route for route in self._dump(values) if route.key == noun.key), None)

    def snapshot(self) -> list[Route]:
        return [route for family in FAMILIES.values() for route in self._dump({family: None})]

    def of(self, protocol: int) -> list[Route]:
        """Return the routes of one protocol.  Kernels before 4.20 list all, and ignore it."""
        listed = (
            route
            for family in FAMILIES.values()
            for route in self._dump({family: None, _PROTOCOL: protocol})
        )
        return [route for route in listed if route.protocol == protocol]

    def _dump(self, values: Values) -> Iterator[Route]:
        """Yield the routes that a noun can describe, without those that addresses create."""
        name_of = self._kernel.names()
        # Kernels before 4.20 ignore the type.
        messages = self._kernel.dump(RTM_GETROUTE, {**values, _TYPE: None})
        (family,) = (field.value for field in FAMILIES.values() if field in values)
        for message in messages:
            is_ours, length, found = _parse(message, family)
            if not is_ours or (link := name_of(number(found.get(_RTA_OIF, b"")))) is None:
                continue
            gateway = found.get(_RTA_GATEWAY)
            yield Route(
                destination=_network(family, found.get(_RTA_DST, b""), length),
                link=link,
                gateway=ip(gateway) if gateway else None,
                onlink=bool(_RTMSG.unpack_from(message, _BODY)[8] & _ONLINK),
                protocol=_RTMSG.unpack_from(message, _BODY)[5],
                table=number(found[_RTA_TABLE]),
            )

    def _must_exist(self, noun: Route) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ESRCH)

    def _values(self, noun: Route) -> Values:
        version = noun.destination.version
        values: Values = {
            FAMILIES[version]: None,
            **({_TABLE: None} if noun.table == _MAIN else {_ANOTHER: None}),
            _TYPE: None,
            _PROTOCOL: noun.protocol,
            # A destination without a gateway is on-link.
            _SCOPE: _SCOPE_LINK if version == 4 and noun.gateway is None else _SCOPE_UNIVERSE,
            _FLAGS: _ONLINK if noun.onlink else 0,
            _LENGTH: noun.destination.prefixlen,
            _DESTINATION[version]: noun.destination.network_address,
            _LINK: self._kernel.index(noun.link),
        }
        if noun.gateway is not None:
            if noun.gateway.version != version:
                raise Unsupported(f"{noun}: gateway and destination are of different families")
            values[_GATEWAY[version]] = noun.gateway
        if noun.table != _MAIN:
            values[_TABLE_NUMBER] = noun.table
        return values


class Paths:
    """How the kernel would route to an address.  Only read."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def find(self, noun: Path) -> Path | None:
        remote = noun.remote
        version = remote.version
        values: Values = {
            FAMILIES[version]: None,
            _LENGTH: remote.max_prefixlen,
            _DESTINATION[version]: remote,
        }
        try:
            answer = self._kernel.ask(RTM_GETROUTE, values)[0]
        except NetlinkError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
            return None
        found = attributes(answer, _ATTRIBUTES)
        source = found.get(_RTA_PREFSRC)
        if source is None:
            return None
        link = self._kernel.name(number(found.get(_RTA_OIF, b"")))
        return Path(remote=remote, link=link, source=ip(source))

    def snapshot(self) -> list[Path]:
        return []


def _parse(message: bytes, family: int) -> tuple[bool, int, dict[int, bytes]]:
    """Return whether a noun can describe the route, the prefix length and the attributes."""
    own, length, source, tos, _, protocol, _, type_, _ = _RTMSG.unpack_from(message, _BODY)
    if (own, source, tos, type_) != (family, 0, 0, _UNICAST):
        return False, length, {}
    found = attributes(message, _ATTRIBUTES)
    table = number(found.get(_RTA_TABLE, b""))
    if table != _MAIN and table not in OWN_TABLES:
        return False, length, {}
    metric = number(found.get(_RTA_PRIORITY, b""))
    return protocol != _PROTO_KERNEL and metric == _DEFAULT_METRIC[family], length, found


def _network(family: int, packed: bytes, length: int) -> IPNetwork:
    if family == 2:
        return IPv4Network((packed or bytes(4), length))
    return IPv6Network((packed or bytes(16), length))
