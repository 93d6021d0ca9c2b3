"""Messages for the kernel: each shape is encoded once, then copies are patched.

Each combination of attributes is encoded once.  Every later message of the same shape is a
copy of those bytes with the values written into their places.

``layouts`` knows the attributes that snnet uses.  pyroute2 encodes what has others; only this
module uses it, only its message layouts, and loads it for that alone: it takes longer to load
than all the rest of the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import EINVAL, ERANGE
from functools import cache
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError
from typing import Any

from snnet.contract import NAME_MAX
from snnet.system.netlink import NetlinkError

from . import layouts

if find_spec("pyroute2") is None:  # here rather than in the middle of a call
    raise ModuleNotFoundError("No module named 'pyroute2'", name="pyroute2")

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


def _text_bytes(text: str) -> bytes:
    return text.encode() + b"\0"


U8 = _integer("=B")
U16 = _integer("=H")
U32 = _integer("=I")
BE16 = _integer("!H")
BE32 = _integer("!I")
MAC = Slot(mac_bytes, lambda n: bytes([n] * 6).hex(":"))
IP4 = Slot(_packed, lambda n: IPv4Address(bytes([n] * 4)))
IP6 = Slot(_packed, lambda n: IPv6Address(bytes([n] * 16)))
NAME = Slot(_name_bytes, lambda n: chr(n) * NAME_MAX)
TEXT = Slot(_text_bytes, str)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A place in a message: a header field ("index"), or attributes from the outside in.

    ``path`` is "IFLA_LINKINFO IFLA_INFO_KIND", for example.  Its value has the type ``slot``,
    which a constant in the header does not need.  A constant ``value`` is part of the shape.
    """

    path: str
    slot: Slot | None = None
    value: Any = None
    number: int | None = None
    """The number of the attribute, if ``layouts`` does not have it."""


Shape = tuple[str, int, int, tuple[Field, ...]]


def encode(layout: str, kind: int, flags: int, values: Mapping[Field, Any]) -> bytearray:
    """Return a message with these fields in order; sequence number and port are 0.

    The value of a constant field does not matter.  A value that does not fit is
    refused as the kernel would do it: ``NetlinkError`` with EINVAL or ERANGE.
    """
    return _template((layout, kind, flags, tuple(values))).fill(values)


def append(message: bytearray, attribute: int, payload: bytes) -> bytearray:
    """Add an attribute of any length at the end of the message."""
    message += _ATTRIBUTE.pack(4 + len(payload), attribute) + payload + bytes(-len(payload) % 4)
    _LENGTH.pack_into(message, 0, len(message))
    return message


class _Template:
    """The bytes of one shape, and where its values stand in them."""

    def __init__(self, shape: Shape) -> None:
        fields = shape[3]
        slots = {field: field.slot for field in fields if field.slot and field.value is None}
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


@cache
def _template(shape: Shape) -> _Template:
    """Return the template of a shape, for all threads and namespaces of the process."""
    return _Template(shape)


def _encode(shape: Shape, samples: Mapping[Field, Any]) -> bytes:
    """Return a message with these samples for its values."""
    layout, kind, flags, fields = shape
    numbers = numbers_of(fields)
    if numbers is None:
        return encode_with_pyroute2(shape, samples)
    header: dict[str, int] = {}
    tree: layouts.Tree = {}
    for field in fields:
        value = samples.get(field, field.value)
        *outer, name = field.path.split(" ")
        if name.islower():
            header[name] = value
        else:
            assert field.slot is not None, f"{field.path} needs a type"
            inner: Any = tree
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[name] = field.slot.pack(value)
    return layouts.encode(layout, kind, flags, header, tree, numbers)


def numbers_of(fields: Iterable[Field]) -> Mapping[str, int] | None:
    """Return the numbers of all attributes of these fields; None if one is not known."""
    names = [name for field in fields for name in field.path.split(" ") if not name.islower()]
    numbers = {field.path.split(" ")[-1]: field.number for field in fields if field.number}
    numbers = {**layouts.NUMBERS, **numbers}
    return numbers if numbers.keys() >= set(names) else None


def encode_with_pyroute2(shape: Shape, samples: Mapping[Field, Any]) -> bytes:
    """Return the same as pyroute2 encodes it, which knows all attributes by name."""
    layout, kind, flags, fields = shape
    message = message_classes()[layout]()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    attributes: list[Any] = []
    for field in fields:
        value = samples.get(field, field.value)
        if field.slot in (IP4, IP6):
            value = str(value)
        *outer, name = field.path.split(" ")
        if name.islower():
            message[name] = value
        else:
            _nested(attributes, outer).append([name, value])
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def message_classes() -> dict[str, Any]:
    """Return the classes of messages, by name."""
    from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.tcmsg import tcmsg  # type: ignore[import-untyped]

    classes = (fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg, tcmsg)
    return {found.__name__: found for found in classes}


def _nested(attributes: list[Any], path: list[str]) -> list[Any]:
    """Return the list of attributes at ``path``, creating it if necessary."""
    for name in path:
        inner = next((value for found, value in attributes if found == name), None)
        if inner is None:
            inner = {"attrs": []}
            attributes.append([name, inner])
        attributes = inner["attrs"]
    return attributes
