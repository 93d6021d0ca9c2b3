"""Types of nft: how values are written as text and as the kernel's bytes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from snnet.contract import error_for
from snnet.contract.addresses import is_mac
from snnet.contract.links import is_link_name

_PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOL_NUMBERS.items()}


class Type(NamedTuple):
    """A type of nft: how a value is written as text and as the kernel's bytes."""

    size: int
    text: Callable[[Any], str]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    last: Callable[[Any], bytes] | None = None
    """Of a range within a key: its last value as bytes; ``encode`` returns the first."""


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode()


@lru_cache(maxsize=256)
def _packed_name(name: str) -> bytes:  # one call has the same few names in many elements
    # nft has no escape for a quote, and takes a name that ends in * for a pattern.
    if not is_link_name(name) or '"' in name or name.endswith("*"):
        raise ValueError(f"{name!r} is not the name of a link")
    return name.encode().ljust(16, b"\0")


@lru_cache(maxsize=256)
def _packed_mac(mac: str) -> bytes:
    if not is_mac(mac):
        raise ValueError(f"{mac!r} is not a MAC")
    return bytes.fromhex(mac.replace(":", ""))


def _mac(mac: str) -> str:
    """The MAC in words of nft, which would fill up one that is too short."""
    return _checked(_packed_mac, mac)


def _quoted(name: str) -> str:
    return f'"{_checked(_packed_name, name)}"'


def _checked(pack: Callable[[str], bytes], text: str) -> str:
    try:
        pack(text)
    except ValueError as error:
        raise error_for(errno.EINVAL, "put a value into words of nft", detail=str(error)) from None
    return text


def _packed_ipv4(address: IPv4Address) -> bytes:
    # An address of the other family is a ValueError.  To make one of one takes long.
    return (address if type(address) is IPv4Address else IPv4Address(address)).packed


def _packed_ipv6(address: IPv6Address) -> bytes:
    return (address if type(address) is IPv6Address else IPv6Address(address)).packed


IFNAME = Type(16, _quoted, _packed_name, _name)
IPV4 = Type(4, str, _packed_ipv4, IPv4Address)
IPV6 = Type(16, str, _packed_ipv6, IPv6Address)
NET4 = Type(4, str, lambda network: network.network_address.packed, IPv4Address)
NET6 = Type(16, str, lambda network: network.network_address.packed, IPv6Address)
RAW_IPV6 = Type(
    16,
    lambda address: f"0x{IPv6Address(address).packed.hex()}",
    lambda address: IPv6Address(address).packed,
    IPv6Address,
)
"""An IPv6 address at any place of a packet, which nft takes for a number."""
INTERVALS = (NET4, NET6)
"""Networks as whole keys, which nft makes elements of their own for both ends of."""
RANGE4 = Type(*NET4[:4], lambda network: network.broadcast_address.packed)
RANGE6 = Type(*NET6[:4], lambda network: network.broadcast_address.packed)
RAW_RANGE6 = Type(
    16,
    lambda network: "-".join(RAW_IPV6.text(network[end]) for end in (0, -1)),
    NET6.encode,
    IPv6Address,
    RANGE6.last,
)
"""Networks as parts of keys, of which each address matches."""
ETHER = Type(6, _mac, _packed_mac, lambda raw: raw.hex(":"))
RAW_ETHER = Type(6, lambda mac: f"0x{mac.replace(':', '')}", ETHER.encode, ETHER.decode)
"""A MAC at any place of a packet."""
PROTO = Type(
    1, str, lambda name: bytes([_PROTOCOL_NUMBERS[name]]), lambda raw: _PROTOCOL_NAMES[raw[0]]
)
PORT = Type(
    2, str, lambda port: port.to_bytes(2, "big"), lambda raw: int.from_bytes(raw[:2], "big")
)

Values = tuple[Any, ...]

_PADDING = (b"", bytes(3), bytes(2), bytes(1))
"""What fills a register of four bytes, by the length modulo 4."""


def pack(types: tuple[Type, ...], values: Values) -> bytes:
    """Return a key; the parts of a concatenation are padded to registers of four bytes."""
    if len(types) == 1:
        (value,) = values
        return types[0].encode(value)
    joined = bytearray()
    for kind, value in zip(types, values, strict=True):
        part = kind.encode(value)
        joined += part
        joined += _PADDING[len(part) & 3]
    return bytes(joined)


def pack_last(types: tuple[Type, ...], values: Values) -> bytes:
    """Return the last key that an element with ranges matches."""
    ends = [kind._replace(encode=kind.last) if kind.last else kind for kind in types]
    return pack(tuple(ends), values)


def unpack(types: tuple[Type, ...], raw: bytes) -> Values:
    values, offset = [], 0
    for kind in types:
        values.append(kind.decode(raw[offset : offset + kind.size]))
        offset += -(-kind.size // 4) * 4
    return tuple(values)
