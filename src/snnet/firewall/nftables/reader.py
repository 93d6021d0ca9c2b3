"""Reading tables and elements from the kernel (linux/netfilter/nf_tables.h).

This uses netlink: nft would read every set of every table to show one element.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attribute, attributes

from .tables import ARP, BRIDGE, INET, Table

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_ELEMENTS = 1, 4, 7, 13
_TABLE_NAME = 1
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_RULE_TABLE = 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT = 1
_KEY, _USERDATA = 1, 6
_VALUE = 1
_COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT, libnftnl

FAMILIES = {INET: 1, ARP: 3, BRIDGE: 7}  # NFPROTO_*, linux/netfilter.h


class StoredElement(NamedTuple):
    """The key of an element in the kernel's bytes, and its comment."""

    key: bytes
    comment: str


class Reader:
    """The tables of one network namespace."""

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, _NFTABLES)
        self.close = self._kernel.close

    def tables(self, family: str) -> list[str]:
        """Return the names of all tables of the family."""
        found = self._kernel.dump(_GET_TABLE, family=FAMILIES[family])
        return [_text(dict(attributes(message))[_TABLE_NAME]) for message in found]

    def rules(self, table: Table) -> int:
        """Return the number of rules in the table."""
        asked = attribute(_RULE_TABLE, _string(table.name))
        found = self._kernel.dump(_GET_RULE, asked, FAMILIES[table.family])
        # Kernels before 6.3 may list those of other tables as well.
        return sum(_text(dict(attributes(message))[_RULE_TABLE]) == table.name for message in found)

    def chains(self, table: Table) -> list[str]:
        """Return the names of the table's chains."""
        names = []
        for message in self._kernel.dump(_GET_CHAIN, family=FAMILIES[table.family]):
            found = dict(attributes(message))
            if _text(found[_CHAIN_TABLE]) == table.name:
                names.append(_text(found[_CHAIN_NAME]))
        return names

    def has_chain(self, table: Table, chain: str) -> bool:
        asked = attribute(_CHAIN_TABLE, _string(table.name))
        asked += attribute(_CHAIN_NAME, _string(chain))
        try:
            self._kernel.ask(_GET_CHAIN, asked, FAMILIES[table.family])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def elements(self, table: Table, name: str) -> list[StoredElement]:
        """Return everything in a set or map; an empty list if there is no such set."""
        asked = attribute(_LIST_TABLE, _string(table.name))
        asked += attribute(_LIST_SET, _string(name))
        try:
            messages = self._kernel.dump(_GET_ELEMENTS, asked, FAMILIES[table.family])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return []
        return [found for message in messages for found in _parse(message)]

    def element(self, table: Table, name: str, key: bytes) -> StoredElement | None:
        """Return one element, or None; the cost does not grow with their number."""
        value = attribute(_KEY, attribute(_VALUE, key), nested=True)
        asked = attribute(_LIST_TABLE, _string(table.name))
        asked += attribute(_LIST_SET, _string(name))
        asked += attribute(_LIST_ELEMENTS, attribute(_ELEMENT, value, nested=True), nested=True)
        try:
            messages = self._kernel.ask(_GET_ELEMENTS, asked, FAMILIES[table.family])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return None
        return next((found for message in messages for found in _parse(message)), None)


def _parse(message: bytes) -> Iterator[StoredElement]:
    listed = dict(attributes(message)).get(_LIST_ELEMENTS, b"")
    for _, raw in attributes(listed):
        found = dict(attributes(raw))
        key = dict(attributes(found.get(_KEY, b""))).get(_VALUE, b"")
        yield StoredElement(key, _comment(found.get(_USERDATA, b"")))


def _comment(userdata: bytes) -> str:
    """Return the comment in the user data of libnftnl: type, length, value."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == _COMMENT:
            return _text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
