"""Reading stored documents: also those that a later version wrote, or that nobody checked.

Such a document must neither hide others nor stay for ever.  Lists show it as failed, and it can
be deleted; whatever needs all of it raises ``Unreadable``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from snnet.contract import ApiError, Entry
from snnet.core.ports import check_ports

from .documents import FAILED, Forward, Status, Vnic, Wanted
from .problems import DAMAGED

W = TypeVar("W", bound=Wanted)


_EMPTY: tuple[object, ...] = ("", range(0))
"""Defaults of fields that every document must have; without them they are None."""


class Unreadable(ApiError):
    """A stored document cannot be read; nothing was changed."""


def read(kind: type[W], key: str, entry: Entry) -> W:
    """The object of a stored document.  Raises ``Unreadable`` that names it."""
    try:
        return kind.read(entry.document, entry.revision)
    except DAMAGED as error:
        title = _salvaged(kind, key, entry, error).title
        raise Unreadable(
            f"the stored document of {title} cannot be read: {error}; use the version of snnet "
            f"that wrote it, or delete the {kind.kind} and create it again"
        ) from error


def salvage(kind: type[W], key: str, entry: Entry) -> W:
    """The object of a stored document, or what can be read of it: it has failed, and says why."""
    try:
        return kind.read(entry.document, entry.revision)
    except DAMAGED as error:
        return _salvaged(kind, key, entry, error)


def is_salvaged(item: Wanted) -> bool:
    """Whether only a part of the object could be read."""
    return item.status.node is None and item.state == FAILED


def _salvaged(kind: type[W], key: str, entry: Entry, error: Exception) -> W:
    """Fields that are wrong, or missing, are as if they had not been given."""
    found: W = object.__new__(kind)
    *_, node, tenant, name = key.rstrip("/").split("/")
    values: dict[str, Any] = {
        item.name: None if item.default in _EMPTY else item.default
        for item in fields(kind)
        if item.default is not MISSING
    }
    for field, check in found.checks().items():
        if field in entry.document:
            with suppress(*DAMAGED):
                values[field] = check(entry.document[field], field)
    said = Status(state=FAILED, error=f"its document cannot be read: {error}")
    values |= {"name": name, "tenant": tenant, "revision": entry.revision, "status": said}
    if issubclass(kind, Vnic):
        values["node"] = node
    if issubclass(kind, Forward):
        with suppress(*DAMAGED):
            values["protocol"], _, ports = name.partition("-")
            values["port"] = check_ports(ports, "port")
    for field, value in values.items():
        object.__setattr__(found, field, value)
    return found
