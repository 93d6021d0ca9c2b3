"""Addresses on links (rtnetlink(7), RTM_NEWADDR)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface
from struct import Struct
from typing import Any

from snnet.contract import Address
from snnet.contract.network import DADFAILED, SECONDARY, TEMPORARY, TENTATIVE, is_automatic

from .encoder import U8, U32, Field, Slot
from .kernel import (
    CREATE,
    EXCLUSIVE,
    FAMILIES,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Kernel,
    attributes,
    by_family,
)

_IFADDRMSG = Struct("=BBBBI")  # family, prefix length, flags, scope, index
_BODY = 16
_ATTRIBUTES = _BODY + _IFADDRMSG.size
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SCOPE_HOST = 254  # linux/rtnetlink.h
_FLAGS_OF = {
    4: {0x01: SECONDARY},
    6: {0x01: TEMPORARY, 0x08: DADFAILED, 0x40: TENTATIVE},
}
"""IFA_F_* of linux/if_addr.h, by IP version; IPv6 has one number for two of the words."""

_NODAD = 0x02  # linux/if_addr.h
_DEPRECATED = 0x20

_PREFIX = Field("prefixlen", U8)
_FLAGS = Field("flags", U8)
_SCOPE = Field("scope", U8)
_INDEX = Field("index", U32)
_LOCAL = by_family("IFA_LOCAL")
_ADDRESS = by_family("IFA_ADDRESS")
_CACHEINFO = Struct("=II8x")  # struct ifa_cacheinfo, linux/if_addr.h
_LIFETIMES = Slot(lambda times: _CACHEINFO.pack(*times.values()), lambda n: {})
_NOT_PREFERRED = Field("IFA_CACHEINFO", _LIFETIMES, {"ifa_preferred": 0, "ifa_valid": 0xFFFFFFFF})


class Addresses:
    """The addresses of one network namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, noun: Address) -> None:
        self._kernel.ask(RTM_NEWADDR, self._values(noun), CREATE | EXCLUSIVE)

    def remove(self, noun: Address) -> None:
        self._kernel.ask(RTM_DELADDR, self._values(noun))

    def find(self, noun: Address) -> Address | None:
        index, version = self._kernel.index(noun.link), noun.address.version
        identity = index, noun.address.packed, noun.address.network.prefixlen
        values = {FAMILIES[version]: None, _INDEX: index}
        for message in self._kernel.dump(RTM_GETADDR, values):
            # Kernels before 4.20 ignore the filter.
            *found, bits = _parse(message)
            if tuple(found) == identity:
                return _noun(noun.link, *identity[1:], bits)
        return None

    def on(self, link: str) -> list[Address]:
        """Return those of one link, as a snapshot has them."""
        index = self._kernel.index(link)
        found = map(_parse, self._kernel.dump(RTM_GETADDR, {_INDEX: index}))
        return [
            _noun(link, packed, *rest)
            for there, packed, *rest in found
            if there == index and not _is_automatic(packed)
        ]

    def snapshot(self) -> list[Address]:
        """Return all except those that the kernel adds to every link."""
        name_of = self._kernel.names()
        found = map(_parse, self._kernel.dump(RTM_GETADDR, {}))
        return [
            _noun(name, packed, *rest)
            for index, packed, *rest in found
            if not _is_automatic(packed) and (name := name_of(index)) is not None
        ]

    def _values(self, noun: Address) -> dict[Field, Any]:
        address = noun.address
        version = address.version
        host = version == 4 and address.is_loopback
        return {
            FAMILIES[version]: None,
            _PREFIX: address.network.prefixlen,
            _FLAGS: _NODAD if version == 6 else 0,
            _SCOPE: _SCOPE_HOST if host else 0,
            _INDEX: self._kernel.index(noun.link),
            _LOCAL[version]: address,
            _ADDRESS[version]: address,
            **({_NOT_PREFERRED: None} if noun.deprecated else {}),
        }


def _parse(message: bytes) -> tuple[int, bytes, int, int]:
    """The index of the link, the address in bytes, the length of its prefix, and its flags."""
    _, prefix, bits, _, index = _IFADDRMSG.unpack_from(message, _BODY)
    found = attributes(message, _ATTRIBUTES)
    # On a point-to-point link, IFA_ADDRESS is the address of the other end.
    return index, found.get(_IFA_LOCAL) or found[_IFA_ADDRESS], prefix, bits


# A host has the same addresses at each look, and these take long to make.


@lru_cache(maxsize=4096)
def _noun(link: str, packed: bytes, prefix: int, bits: int) -> Address:
    version = 4 if len(packed) == 4 else 6
    kind = IPv4Interface if version == 4 else IPv6Interface
    flags = tuple(word for bit, word in _FLAGS_OF[version].items() if bits & bit)
    deprecated = bool(bits & _DEPRECATED)
    return Address(link=link, address=kind((packed, prefix)), deprecated=deprecated, flags=flags)


@lru_cache(maxsize=4096)
def _is_automatic(packed: bytes) -> bool:
    return len(packed) == 16 and is_automatic(IPv6Interface(packed))
