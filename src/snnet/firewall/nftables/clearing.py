"""Which tables are removed whole, because everything in them is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from snnet.contract import Noun, Operation, Owned, Remove

from .integrity import models_of
from .reader import FAMILIES, Reader
from .tables import Table


def emptied(
    operations: Sequence[Operation], nouns: Iterable[Noun], reader: Reader
) -> Collection[Table]:
    """Return the tables of an owner if the operations remove all of its nouns, each once.

    ``nouns`` are those of all owners, as they are in the kernel.  Return nothing if others have
    chains in the tables.
    """
    doomed = {operation.noun.key for operation in operations if isinstance(operation, Remove)}
    owners = {noun.owner for operation in operations if isinstance(noun := operation.noun, Owned)}
    if len(doomed) < len(operations) or len(owners) != 1:
        return []
    (owner,) = owners
    own = [noun for noun in nouns if isinstance(noun, Owned) and noun.owner == owner]
    if len(own) != len(doomed) or any(noun.key not in doomed for noun in own):
        return []
    there = {table: reader.chains(table) for table in (Table(name, owner) for name in FAMILIES)}
    models = models_of(own, there, whole=False)
    if any(not models[table].rules.keys() >= {*chains} for table, chains in there.items()):
        return []
    return [table for table, chains in there.items() if chains]
