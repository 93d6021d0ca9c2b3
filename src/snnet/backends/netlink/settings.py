"""Settings of links in rtnetlink: read of every link, and set where somebody changed them."""

from __future__ import annotations

import sys
from struct import Struct, pack

from snnet.backends.settings import OF_KINDS, OF_PORTS, PORT, Setting, changed
from snnet.contract.links import Settings

from .kernel import attributes, number

_RTM_NEWLINK = 16
_REQUEST, _ACK = 0x1, 0x4  # NLM_F_REQUEST, NLM_F_ACK, linux/netlink.h
_HEADER = Struct("=IHHIIBxHiII")  # struct nlmsghdr, struct ifinfomsg
_ATTRIBUTE = Struct("=HH")
_LINKINFO = 18
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5  # IFLA_INFO_, linux/if_link.h

_usual: dict[tuple[str, bool, int], list[tuple[int, int]]] = {}
"""Usual blocks of settings, by kind, whether the link is running, and length: of each, as numbers,
a mask of the bytes that settings have, and what these are.

The kernel writes blocks of one length alike (br_port_fill_attrs, net/bridge/br_netlink.c), so that
a block with all of these need not be read.  The state of a port that does not run may be either."""


_BLOCKS = 2
"""Usual blocks of one key at most."""


def settings_of(info: dict[int, bytes], *, running: bool) -> Settings | None:
    """Return the settings in IFLA_LINKINFO that are not usual; None if all are.

    ``running``: the link is up and has carrier.
    """
    kind = info.get(_KIND, b"").rstrip(b"\0").decode(errors="replace")
    found = []
    if info.get(_SLAVE_KIND) == b"bridge\0":
        found += _unusual(PORT, OF_PORTS, info.get(_SLAVE_DATA, b""), running)
    if kind in OF_KINDS:
        found += _unusual(kind, OF_KINDS[kind], info.get(_DATA, b""), running)
    return tuple(found) or None


def _unusual(
    kind: str, settings: tuple[Setting, ...], data: bytes, running: bool
) -> list[tuple[str, int]]:
    known = _usual.setdefault((kind, running, len(data)), [])
    whole = int.from_bytes(data, "big")
    for mask, usual in known:
        if whole & mask == usual:
            return []
    there = attributes(data)
    values = {one.name: number(there[one.attribute]) for one in settings if one.attribute in there}
    unusual = changed(kind, settings, values, running=running)
    if not unusual and len(known) < _BLOCKS:
        mask = _mask(data, {one.attribute for one in settings})
        known.append((mask, whole & mask))
    return unusual


def _mask(data: bytes, wanted: set[int]) -> int:
    """Return which bytes of a block are these attributes, as a number."""
    mask, at = bytearray(len(data)), 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if kind in wanted:
            mask[at : at + size] = b"\xff" * size
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return int.from_bytes(mask, "big")


def setting_message(index: int, kind: str, setting: Setting, value: int) -> bytearray:
    """Return the message that sets one setting of a link."""
    which, data = (_SLAVE_KIND, _SLAVE_DATA) if kind == PORT else (_KIND, _DATA)
    name = "bridge" if kind == PORT else kind
    inner = _packed(setting.attribute, value.to_bytes(setting.size, sys.byteorder))
    info = _packed(which, name.encode() + b"\0") + _packed(data, inner)
    body = _packed(_LINKINFO, info)
    length = _HEADER.size + len(body)
    head = _HEADER.pack(length, _RTM_NEWLINK, _REQUEST | _ACK, 0, 0, 0, 0, index, 0, 0)
    return bytearray(head + body)


def _packed(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
