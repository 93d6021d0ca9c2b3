"""Addresses, routes, neighbours and forwarding entries."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from struct import Struct
from typing import Any

from snnet.contract import (
    Address,
    Fdb,
    IPAddress,
    IPInterface,
    IPNetwork,
    Key,
    Missing,
    Neighbour,
    Route,
)
from snnet.system.netlink import NetlinkError

from . import kernel as k
from .encoder import IP4, IP6, MAC, U8, U32, Field
from .found import Found
from .kernel import Kernel, attributes

Values = dict[Field, Any]

_FAMILIES = {4: Field("family", value=2), 6: Field("family", value=10)}
_IPS = {4: IP4, 6: IP6}
_ABSENT = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)


def _by_family(path: str) -> dict[int, Field]:
    return {version: Field(path, slot) for version, slot in _IPS.items()}


def _ip(value: bytes) -> IPAddress:
    return IPv4Address(value) if len(value) == 4 else IPv6Address(value)
