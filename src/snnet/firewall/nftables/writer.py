"""Changing elements of sets over netlink (linux/netfilter/nf_tables.h).

nft looks at every set of the namespace before it changes an element of one.  Where a table has
thousands of sets, that takes far longer than the change.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from snnet.contract import Change, GroupMembers, Operation, error_for
from snnet.contract.translating import as_error
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attribute

from .elements import Element, elements
from .groups import chain_of
from .reader import FAMILIES, NFTABLES, Reader
from .tables import BRIDGE, Table

_NEW_ELEMENTS, _DELETE_ELEMENTS = 12, 14
_CREATE = 0x400  # NLM_F_CREATE
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _VALUE = 1, 1, 1
_AT_ONCE = 1000
"""Elements of one message: its length is a number of 16 bits."""


class Writer:
    """Changes the members of groups: elements that have neither data nor a comment."""

    def __init__(self, netns: int) -> None:
        self._kernel = Nfnetlink(netns, NFTABLES)
        self.close = self._kernel.close

    def replace_members(self, change: Operation, reader: Reader) -> int:
        """Change the members of a group in one transaction; return how many it took.

        Raise ``Missing`` if they are not there.
        """
        noun = change.noun
        assert isinstance(noun, GroupMembers)
        assert isinstance(change, Change)
        table = Table(BRIDGE, noun.owner)
        if not reader.has_chain(table, chain_of(noun)):
            raise error_for(errno.ENOENT, str(change), operation=change)
        before, after = set(elements(change.old)), set(elements(noun))
        requests = [
            *((_DELETE_ELEMENTS, 0, data) for data in _encoded(table, before - after)),
            *((_NEW_ELEMENTS, _CREATE, data) for data in _encoded(table, after - before)),
        ]
        if not requests:
            return 0
        try:
            self._kernel.transact(requests, FAMILIES[table.family])
        except NetlinkError as error:
            raise as_error(error, str(change)) from error
        return 1


def is_of_members(operation: Operation) -> bool:
    """Whether the operation changes the members of a group, and nothing else."""
    return isinstance(operation, Change) and isinstance(operation.noun, GroupMembers)


def _encoded(table: Table, changed: Iterable[Element]) -> Iterator[bytes]:
    """Yield the attributes of each message."""
    ordered = sorted(changed, key=lambda element: element.set)
    for name, found in groupby(ordered, key=lambda element: element.set):
        members = list(found)
        for start in range(0, len(members), _AT_ONCE):
            yield (
                attribute(_LIST_TABLE, table.name.encode() + b"\0")
                + attribute(_LIST_SET, name.encode() + b"\0")
                + attribute(_LIST_ELEMENTS, _listed(members[start : start + _AT_ONCE]), nested=True)
            )


def _listed(members: Sequence[Element]) -> bytes:
    return b"".join(
        attribute(
            _ELEMENT,
            attribute(_KEY, attribute(_VALUE, element.packed()), nested=True),
            nested=True,
        )
        for element in members
    )
