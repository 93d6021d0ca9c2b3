"""Changing elements of sets and maps over netlink (linux/netfilter/nf_tables.h).

libnftables lists all tables, sets and chains of the namespace before it changes an element of
one.  That takes longer than the change, and far longer where others have thousands of sets.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from struct import Struct

from snnet.contract import Change, GroupMembers, Operation, error_for
from snnet.contract.translating import as_error
from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import NESTED, Nfnetlink, Request, attribute

from .elements import COMMENT_MAX, Element
from .groups import chain_of, table_of
from .reader import (
    COMMENT,
    DATA,
    ELEMENT,
    KEY,
    KEY_END,
    LIST_ELEMENTS,
    LIST_SET,
    LIST_TABLE,
    USERDATA,
    VALUE,
    VERDICT,
    VERDICT_CHAIN,
    VERDICT_CODE,
    VERDICTS,
    Reader,
)
from .steps import Command, ElementChange
from .tables import Table
from .types import INTERVALS

_FLAGS = {"create": 0x600, "add": 0x400, "delete": 0}  # NLM_F_CREATE, NLM_F_EXCL
_CODES = {verdict: code for code, verdict in VERDICTS.items()}
_HEADS = Struct("=HHHHHH")
"""Lengths and numbers of three attributes, each in the one before."""
_MESSAGE = 60_000
"""Bytes of elements in one message: its length is a number of 16 bits."""


class Outdated(Exception):
    """Others changed the ruleset since its number was read; nothing is done."""


class Writer:
    """Changes elements in one network namespace, and deletes tables."""

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, nf_tables.SUBSYSTEM)
        self.close = self._kernel.close

    def change(self, changes: Sequence[ElementChange], generation: int | None = None) -> bool:
        """Change elements in one transaction; raise the class of the kernel's errno.

        With ``generation``, raise ``Outdated`` if that is not the number of the ruleset.

        Return whether it certainly changed something.  If all elements were there already, it
        is no transaction to the kernel, and adds nothing to the number of the ruleset.
        """
        certain = any(change.verb != "add" for change in changes)
        new = changes if certain else [change._replace(verb="create") for change in changes]
        try:
            self._kernel.transact(requests(new), generation=generation)
        except NetlinkError as error:
            if certain or error.errno != errno.EEXIST:
                raise _refused(error) from error
        else:
            return True
        try:
            self._kernel.transact(requests(changes), generation=generation)
        except NetlinkError as error:
            raise _refused(error) from error
        return False

    def delete_tables(self, doomed: Iterable[Table], generation: int) -> bool:
        """Delete the tables with all that is in them, in one transaction; return True.

        Raise ``Outdated`` if the number of the ruleset is not ``generation``.
        """
        whole = [
            (nf_tables.DELETE_TABLE, 0, nf_tables.FAMILIES[table.family], _named(table))
            for table in doomed
        ]
        try:
            self._kernel.transact(whole, generation=generation)
        except NetlinkError as error:
            raise _refused(error) from error
        return True


def _refused(error: NetlinkError) -> Exception:
    if error.errno == errno.ERESTART:
        return Outdated()
    return as_error(error, "change the firewall")


def by_netlink(commands: Iterable[Command]) -> list[ElementChange] | None:
    """Return the commands if all are changes of elements that need no help of nft, else None.

    Networks in sets of networks need it: nft makes two elements of one, and joins neighbours.
    """
    changes: list[ElementChange] = []
    for command in commands:
        if isinstance(command, str) or command.element.types[0] in INTERVALS:
            return None
        changes.append(command)
    return changes


def check_members(operation: Operation, reader: Reader) -> None:
    """Raise ``Missing`` if the operation changes the members of a group that is not there.

    Only a chain says that it is there, and a change of elements does not look at that.
    """
    noun = operation.noun
    if not isinstance(operation, Change) or not isinstance(noun, GroupMembers):
        return
    if not reader.has_chain(table_of(noun), chain_of(noun)):
        raise error_for(errno.ENOENT, str(operation), operation=operation)


def requests(changes: Iterable[ElementChange]) -> list[Request]:
    """Return kind, flags, family and attributes of each message.

    Elements of one set share a message, but no change passes one of the other kind: what is
    deleted may be added again.  Those that may be there already come last, so that a set that
    is missing is what the kernel reports first.
    """
    messages: list[Request] = []
    gathered: dict[_Where, list[bytes]] = {}
    deletes = False
    for verb, table, element in changes:
        if deletes is not (verb == "delete"):
            messages += _messages(gathered)
            gathered, deletes = {}, not deletes
        encoded = _encoded(element, whole=not deletes)
        gathered.setdefault((verb, table, element.set), []).append(encoded)
    return messages + _messages(gathered)


_Where = tuple[str, Table, str]
"""How elements change, and the table and the set that they are in."""


def _messages(gathered: dict[_Where, list[bytes]]) -> list[Request]:
    first: list[Request] = []
    last: list[Request] = []
    for (verb, table, name), elements in gathered.items():
        kind = nf_tables.DELETE_ELEMENTS if verb == "delete" else nf_tables.NEW_ELEMENTS
        family, where = nf_tables.FAMILIES[table.family], _set(table, name)
        for part in elements if len(elements) == 1 else _parted(elements):
            listed = where + attribute(LIST_ELEMENTS, part, nested=True)
            (last if verb == "create" else first).append((kind, _FLAGS[verb], family, listed))
    return first + last


def _parted(elements: Sequence[bytes]) -> list[bytes]:
    """Join as many elements as a message has room for."""
    whole = b"".join(elements)
    if len(whole) <= _MESSAGE:
        return [whole]
    parts = [bytearray()]
    for element in elements:
        if len(parts[-1]) + len(element) > _MESSAGE:
            parts.append(bytearray())
        parts[-1] += element
    return [bytes(part) for part in parts]


@lru_cache(maxsize=256)
def _set(table: Table, name: str) -> bytes:
    """Return what names a set; a node has one table a family, and changes the same few sets."""
    return _named(table) + attribute(LIST_SET, name.encode() + b"\0")


def _named(table: Table) -> bytes:
    """Return what names a table: its attribute has one number in requests of all kinds."""
    return attribute(LIST_TABLE, table.name.encode() + b"\0")


def _encoded(element: Element, *, whole: bool) -> bytes:
    """Return an element in the kernel's bytes; without comment and data it only names it."""
    key, rest = element.packed(), b""
    if last := element.last():
        rest = attribute(KEY_END, attribute(VALUE, last), nested=True)
    if whole and element.data:
        rest += attribute(DATA, _data(element.data), nested=True)
    if whole and element.comment:
        rest += _comment(element.comment)
    # The element, in it its key, in that the value: at once, since every create makes many.
    padding = -len(key) % 4
    value = 4 + len(key)
    keys = 4 + value + padding
    head = _HEADS.pack(4 + keys + len(rest), ELEMENT | NESTED, keys, KEY | NESTED, value, VALUE)
    return b"".join((head, key, bytes(padding), rest))


@lru_cache(maxsize=256)
def _data(text: str) -> bytes:
    """Return what a map has for a key: a verdict, an address, address and port, or a number."""
    first, *others = text.split()
    if first in _CODES:
        verdict = attribute(VERDICT_CODE, _CODES[first].to_bytes(4, "big"))
        verdict += attribute(VERDICT_CHAIN, others[0].encode() + b"\0")
        return attribute(VERDICT, verdict, nested=True)
    if first.isdigit():
        return attribute(VALUE, int(first).to_bytes(2, "big"))
    raw = ip_address(first).packed
    if others:
        raw += int(others[-1]).to_bytes(2, "big") + bytes(2)
    return attribute(VALUE, raw)


def _comment(text: str) -> bytes:
    """Return a comment as an attribute, of user data of libnftnl: type, length, value."""
    raw = text.encode()
    if len(raw) > COMMENT_MAX or '"' in text or not text.isprintable():
        detail = f"{text!r} cannot be a comment"
        raise error_for(errno.EINVAL, "describe an element", detail=detail)
    return attribute(USERDATA, bytes((COMMENT, len(raw) + 1)) + raw + b"\0")
