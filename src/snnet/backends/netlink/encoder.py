"""Messages for the kernel: pyroute2 encodes each shape once, then copies are patched.

Only this module uses pyroute2, and only its message layouts: it never opens one of its
sockets.  pyroute2 takes about 0.2 ms to encode a message, so each combination of
attributes is encoded once.  Every later message of the same shape is a copy of those
bytes with the values written into their places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EINVAL, ERANGE
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.tcmsg import tcmsg  # type: ignore[import-untyped]

from snnet.contract import NAME_MAX
from snnet.system.netlink import NetlinkError

Layout = Callable[[], Any]
"""A message class of pyroute2."""

LINK: Layout = ifinfmsg
ADDRESS: Layout = ifaddrmsg
ROUTE: Layout = rtmsg
NEIGHBOUR: Layout = ndmsg
RULE: Layout = fibmsg
TRAFFIC: Layout = tcmsg

_LENGTH = Struct("=I")
_ATTRIBUTE = Struct("=HH")


@dataclass(frozen=True, slots=True)
class Slot:
    """A type of value: how to pack it, and a sample in which all bytes are ``n``."""

    pack: Callable[[Any], bytes]
    sample: Callable[[int], Any]


def _integer(layout: str) -> Slot:
    packer = Struct(layout)
    return Slot(packer.pack, lambda n: packer.unpack(bytes([n]) * packer.size)[0])


def _packed(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed


def _name_bytes(name: str) -> bytes:
    # The kernel would end the name at a NUL, replace %d by a number, and choose a name
    # if this one is empty.
    if not name or "%" in name or "\0" in name:
        raise ValueError(name)
    # The kernel accepts a name padded with NULs: the policy of IFLA_IFNAME
    # (net/core/rtnetlink.c) strips one NUL and allows 15 bytes, and the rest is read as
    # a C string.
    return name.encode().ljust(NAME_MAX, b"\0")


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


U8 = _integer("=B")
U32 = _integer("=I")
BE16 = _integer("!H")
BE32 = _integer("!I")
MAC = Slot(mac_bytes, lambda n: bytes([n] * 6).hex(":"))
IP4 = Slot(_packed, lambda n: str(IPv4Address(bytes([n] * 4))))
IP6 = Slot(_packed, lambda n: str(IPv6Address(bytes([n] * 16))))
NAME = Slot(_name_bytes, lambda n: chr(n) * NAME_MAX)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A place in a message: a header field ("index"), or attributes from the outside in.

    ``path`` is "IFLA_LINKINFO IFLA_INFO_KIND", for example.  With a ``slot`` the value
    differs between messages; without, ``value`` is part of the shape.
    """

    path: str
    slot: Slot | None = None
    value: Any = None


Shape = tuple[Layout, int, int, tuple[Field, ...]]


class Encoder:
    """Encodes messages and remembers their shapes.  Threads can share it."""

    def __init__(self) -> None:
        self._templates: dict[Shape, _Template] = {}

    def message(
        self,
        layout: Layout,
        kind: int,
        flags: int,
        values: Mapping[Field, Any],
    ) -> bytearray:
        """Return a message with these fields in order; sequence number and port are 0.

        The value of a constant field does not matter.  A value that does not fit is
        refused as the kernel would do it: ``NetlinkError`` with EINVAL or ERANGE.
        """
        shape = (layout, kind, flags, tuple(values))
        template = self._templates.get(shape)
        if template is None:
            template = self._templates[shape] = _Template(shape)
        return template.fill(values)


def append(message: bytearray, attribute: int, payload: bytes) -> bytearray:
    """Add an attribute of any length at the end of the message."""
    message += _ATTRIBUTE.pack(4 + len(payload), attribute) + payload + bytes(-len(payload) % 4)
    _LENGTH.pack_into(message, 0, len(message))
    return message


class _Template:
    """The bytes of one shape, and where its values stand in them."""

    def __init__(self, shape: Shape) -> None:
        fields = shape[3]
        slots = {field: field.slot for field in fields if field.slot is not None}
        # Encode twice with different samples, each of one repeated byte: the n-th value
        # is where the first has n + 1 and the second has n + 65.
        first = _encode(shape, {f: s.sample(n) for n, (f, s) in enumerate(slots.items(), 1)})
        second = _encode(shape, {f: s.sample(n) for n, (f, s) in enumerate(slots.items(), 65)})
        places: dict[int, list[int]] = {}
        for position, (one, other) in enumerate(zip(first, second, strict=True)):
            if other - one == 64:
                places.setdefault(one, []).append(position)
        self._bytes = first
        self._places = []
        for n, (field, slot) in enumerate(slots.items(), 1):
            start, stop = places[n][0], places[n][-1] + 1
            if places[n] != list(range(start, stop)):
                raise ValueError(f"{field.path} is in more than one place")
            self._places.append((field, start, stop, slot.pack))

    def fill(self, values: Mapping[Field, Any]) -> bytearray:
        message = bytearray(self._bytes)
        for field, start, stop, pack in self._places:
            try:
                data = pack(values[field])
            except (ValueError, StructError) as error:
                raise NetlinkError(EINVAL, f"{values[field]!r} is not a {field.path}") from error
            if len(data) != stop - start:
                raise NetlinkError(ERANGE, f"{values[field]!r} does not fit {field.path}")
            message[start:stop] = data
        return message


def _encode(shape: Shape, samples: Mapping[Field, Any]) -> bytes:
    layout, kind, flags, fields = shape
    message = layout()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    attributes: list[Any] = []
    for field in fields:
        value = samples.get(field, field.value)
        *outer, name = field.path.split(" ")
        if not outer and name.islower():
            message[name] = value
        else:
            _nested(attributes, outer).append([name, value])
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def _nested(attributes: list[Any], path: list[str]) -> list[Any]:
    """Return the list of attributes at ``path``, creating it if necessary."""
    for name in path:
        inner = next((value for found, value in attributes if found == name), None)
        if inner is None:
            inner = {"attrs": []}
            attributes.append([name, inner])
        attributes = inner["attrs"]
    return attributes
