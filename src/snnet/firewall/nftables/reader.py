"""Reading tables, chains, rules and elements from the kernel (linux/netfilter/nf_tables.h).

This uses netlink: nft would read every set of every table to show one element.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from snnet.contract.translating import as_error
from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attribute, attributes

from .tables import ARP, BRIDGE, INET, Table

_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA, _LOOKUP_SET = 1, 2, 1
LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
ELEMENT = 1
KEY, DATA, _FLAGS, USERDATA, KEY_END = 1, 2, 3, 6, 10
_EXPIRES, _EXPRESSION = 5, 7
_COUNTER_PACKETS = 2
VALUE, VERDICT = 1, 2
_VALUE_AT = 4  # after struct nlattr, linux/netlink.h
_INTERVAL_END = bytes((0, 0, 0, 1))  # NFT_SET_ELEM_INTERVAL_END
VERDICT_CODE, VERDICT_CHAIN = 1, 2
COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT, libnftnl
VERDICTS = {-3 & 0xFFFFFFFF: "jump", -4 & 0xFFFFFFFF: "goto"}
_UNNAMED = b"__"
"""How the names begin that nft gives to sets without a name."""

FAMILIES = (INET, ARP, BRIDGE)


class StoredElement(NamedTuple):
    """One element of a set or map; ``key`` in the kernel's bytes."""

    key: bytes
    comment: str
    data: str = ""
    """What a map has for the key, as nft's text: a verdict, an address, or address and port."""
    ends: bool = False
    """Whether an interval ends before the key, rather than begins with it."""
    last: bytes = b""
    """The last key that the element matches, where its key has ranges."""


class StoredChain(NamedTuple):
    """One chain: its rules as expressions in the kernel's bytes, and how it is attached."""

    hook: bytes
    """Hook, priority, type and policy in the kernel's bytes; empty if it is attached to none."""
    rules: tuple[bytes, ...]


class Reader:
    """The tables of one network namespace."""

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, nf_tables.SUBSYSTEM)
        self.close = self._kernel.close

    def _dump(self, kind: int, asked: bytes = b"", family: int = 0) -> list[bytes]:
        try:
            return self._kernel.dump(kind, asked, family)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                raise
            raise as_error(error, "list firewall rules") from error

    def _ask(self, kind: int, asked: bytes, family: int) -> list[bytes]:
        try:
            return self._kernel.ask(kind, asked, family)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                raise
            raise as_error(error, "look up a firewall rule") from error

    def generation(self) -> int:
        """Return a number that changes with every transaction in the namespace."""
        try:
            return nf_tables.generation(self._kernel)
        except NetlinkError as error:
            raise as_error(error, "look at the firewall rules") from error

    def tables(self, family: str) -> list[str]:
        """Return the names of all tables of the family."""
        try:
            return nf_tables.tables(self._kernel, family)
        except NetlinkError as error:
            raise as_error(error, "list firewall rules") from error

    def is_dormant(self, table: Table) -> bool:
        """Whether the table has flags: dormant, for one, detaches all its chains."""
        for message in self._dump(nf_tables.GET_TABLE, family=nf_tables.FAMILIES[table.family]):
            found = dict(attributes(message))
            if _text(found[nf_tables.TABLE_NAME]) == table.name:
                return any(found.get(nf_tables.TABLE_FLAGS, b""))
        return False

    def content(self, table: Table) -> dict[str, StoredChain]:
        """Return the table's chains with their rules, in order."""
        rules: dict[str, list[bytes]] = {}
        asked = attribute(_RULE_TABLE, _string(table.name))
        for message in self._dump(nf_tables.GET_RULE, asked, nf_tables.FAMILIES[table.family]):
            found = dict(attributes(message))
            # Kernels before 6.3 may list those of other tables as well.
            if _text(found[_RULE_TABLE]) == table.name:
                expressions = self._named(table, found.get(_RULE_EXPRESSIONS, b""))
                rules.setdefault(_text(found[_RULE_CHAIN]), []).append(expressions)
        chains = {}
        for message in self._dump(nf_tables.GET_CHAIN, family=nf_tables.FAMILIES[table.family]):
            found = dict(attributes(message))
            if _text(found[nf_tables.CHAIN_TABLE]) == table.name:
                name = _text(found[nf_tables.CHAIN_NAME])
                chains[name] = StoredChain(_hook(found), tuple(rules.get(name, ())))
        return chains

    def _named(self, table: Table, expressions: bytes) -> bytes:
        """Return the expressions with the elements of unnamed sets in place of their names."""
        if _UNNAMED not in expressions:
            return expressions
        parts = []
        for _, raw in attributes(expressions):
            found = dict(attributes(raw))
            data = dict(attributes(found.get(_EXPRESSION_DATA, b"")))
            name = data.get(_LOOKUP_SET, b"")
            if _text(found[_EXPRESSION_NAME]) == "lookup" and name.startswith(_UNNAMED):
                data[_LOOKUP_SET] = repr(sorted(self.elements(table, _text(name)))).encode()
                raw = repr(sorted(data.items())).encode()
            parts.append(raw)
        return b"".join(parts)

    def chains(self, table: Table) -> list[str]:
        """Return the names of the table's chains."""
        names = []
        for message in self._dump(nf_tables.GET_CHAIN, family=nf_tables.FAMILIES[table.family]):
            found = dict(attributes(message))
            if _text(found[nf_tables.CHAIN_TABLE]) == table.name:
                names.append(_text(found[nf_tables.CHAIN_NAME]))
        return names

    def has_chain(self, table: Table, chain: str) -> bool:
        asked = attribute(nf_tables.CHAIN_TABLE, _string(table.name))
        asked += attribute(nf_tables.CHAIN_NAME, _string(chain))
        try:
            self._ask(nf_tables.GET_CHAIN, asked, nf_tables.FAMILIES[table.family])
        except NetlinkError:
            return False
        return True

    def elements(self, table: Table, name: str) -> list[StoredElement]:
        """Return everything in a set or map; an empty list if there is no such set."""
        return [found for message in self._listed(table, name) for found in _parse(message)]

    def once(self) -> Reader:
        """Return a reader for one look at everything: it reads the elements of each set once."""
        return _Once(self)

    def counted(self, table: Table, name: str) -> list[Counted]:
        """Return what the elements of a set have counted; an empty list if there is no such set."""
        return [found for message in self._listed(table, name) for found in _counted(message)]

    def _listed(self, table: Table, name: str) -> list[bytes]:
        asked = attribute(LIST_TABLE, _string(table.name))
        asked += attribute(LIST_SET, _string(name))
        try:
            return self._dump(nf_tables.GET_ELEMENTS, asked, nf_tables.FAMILIES[table.family])
        except NetlinkError:
            return []

    def element(self, table: Table, name: str, key: bytes) -> StoredElement | None:
        """Return one element, or None; the cost does not grow with their number.

        Where keys have ranges, it is the one that matches the key.
        """
        value = attribute(KEY, attribute(VALUE, key), nested=True)
        asked = attribute(LIST_TABLE, _string(table.name))
        asked += attribute(LIST_SET, _string(name))
        asked += attribute(LIST_ELEMENTS, attribute(ELEMENT, value, nested=True), nested=True)
        try:
            messages = self._ask(nf_tables.GET_ELEMENTS, asked, nf_tables.FAMILIES[table.family])
        except NetlinkError:
            return None
        return next((found for message in messages for found in _parse(message)), None)


class _Once(Reader):
    def __init__(self, reader: Reader) -> None:
        self._kernel = reader._kernel
        self._read: dict[tuple[Table, str], list[StoredElement]] = {}

    def elements(self, table: Table, name: str) -> list[StoredElement]:
        if (found := self._read.get((table, name))) is None:
            found = self._read[table, name] = super().elements(table, name)
        return found


class Counted(NamedTuple):
    """An element that counts packets, and the seconds until it is forgotten."""

    key: bytes
    packets: int
    left: float


def _counted(message: bytes) -> Iterator[Counted]:
    listed = dict(attributes(message)).get(LIST_ELEMENTS, b"")
    for _, raw in attributes(listed):
        found = dict(attributes(raw))
        key = _key(found.get(KEY))
        expression = dict(attributes(found.get(_EXPRESSION, b"")))
        if _text(expression.get(_EXPRESSION_NAME, b"")) == "counter":
            packets = dict(attributes(expression[_EXPRESSION_DATA]))[_COUNTER_PACKETS]
            left = int.from_bytes(found.get(_EXPIRES, b""), "big") / 1000
            yield Counted(key, int.from_bytes(packets, "big"), left)


def _parse(message: bytes) -> Iterator[StoredElement]:
    listed = dict(attributes(message)).get(LIST_ELEMENTS, b"")
    for _, raw in attributes(listed):
        found = dict(attributes(raw))
        comment = _comment(found[USERDATA]) if USERDATA in found else ""
        data = _data(found[DATA]) if DATA in found else ""
        ends = found.get(_FLAGS) == _INTERVAL_END  # and nothing else, as "*", which matches all
        yield StoredElement(_key(found.get(KEY)), comment, data, ends, _key(found.get(KEY_END)))


def _key(part: bytes | None) -> bytes:
    """Return the value that is all of a key (nft_data_dump, net/netfilter/nf_tables_api.c)."""
    return part[_VALUE_AT : int.from_bytes(part[:2], sys.byteorder)] if part else b""


def _data(element: bytes) -> str:
    """Return what a map has for an element, as nft would write it."""
    data = dict(attributes(element))
    if VERDICT in data:
        verdict = dict(attributes(data[VERDICT]))
        code = int.from_bytes(verdict[VERDICT_CODE], "big")
        return f"{VERDICTS.get(code, code)} {_text(verdict.get(VERDICT_CHAIN, b''))}"
    value = data.get(VALUE, b"")
    if len(value) == 2:
        return str(int.from_bytes(value, "big"))
    size = {4: 4, 8: 4, 16: 16, 20: 16}.get(len(value))  # an address, or address and port
    if size is None:
        return value.hex()
    port = f" . {int.from_bytes(value[size : size + 2], 'big')}" if value[size:] else ""
    return f"{ip_address(value[:size])}{port}"


def _hook(chain: dict[int, bytes]) -> bytes:
    parts = (
        chain.get(part, b"")
        for part in (nf_tables.CHAIN_HOOK, nf_tables.CHAIN_POLICY, nf_tables.CHAIN_TYPE)
    )
    return b"|".join(parts) if nf_tables.CHAIN_HOOK in chain else b""


def _comment(userdata: bytes) -> str:
    """Return the comment in the user data of libnftnl: type, length, value."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == COMMENT:
            return _text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
