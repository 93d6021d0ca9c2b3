"""Finds single objects in a registry, and checks changes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from snnet.contract import Conflict, Entry, InvalidRequest, Missing, Registry

from . import keys, stored
from .documents import DEFAULT_TENANT, Vnic, Wanted, text

W = TypeVar("W", bound=Wanted)

Read = Callable[[type[Any], str, Entry], Any]
"""How a document is read: wholly, or what can be read of it."""


def find(
    registry: Registry, kind: type[W], tenant: str, name: str, read: Read = stored.read
) -> W | None:
    """The stored object, without its status, or None."""
    entry = (
        _find_vnic(registry, tenant, name)
        if kind is Vnic
        else _entry(registry, f"{keys.PREFIXES[kind.kind]}{tenant}/{name}/")
    )
    return None if entry is None else read(kind, entry.key, entry)


def _find_vnic(registry: Registry, tenant: str, name: str) -> Entry | None:
    """The document of a VNIC, under the node that the claim of its name tells."""
    claim = _entry(registry, keys.vnic_name(tenant, name))
    if claim is None:
        return None
    node = claim.document.get("node")
    if isinstance(node, str) and (found := _entry(registry, keys.vnic(node, tenant, name))):
        return found
    # It has moved since then, or the claim is damaged.
    for key, entry in keys.objects(registry.read(keys.VNICS).entries, keys.VNICS):
        if key.endswith(f"/{tenant}/{name}/"):
            return entry
    return None


def _entry(registry: Registry, key: str) -> Entry | None:
    return registry.read(key).entries.get(key)


def need(registry: Registry, kind: type[W], tenant: str, name: str, read: Read = stored.read) -> W:
    """The stored object.  Raises ``Missing`` if there is none."""
    found = find(registry, kind, tenant, name, read)
    if found is None:
        raise missing(kind, tenant, name)
    return found


def missing(kind: type[Wanted], tenant: str, name: str) -> Missing:
    """The error for an object that is not there."""
    of = "" if tenant == DEFAULT_TENANT else f" of tenant {tenant!r}"
    return Missing(f"there is no {kind.kind} {name!r}{of}")


def changed(old: W, changes: Mapping[str, Any]) -> W:
    """The object with other values.  Conflict for a field that cannot be changed."""
    known = {item.name for item in fields(old) if item.init and item.compare}
    for name in changes:
        if name not in known - {"name", "tenant"} - old.marks:
            raise InvalidRequest(f"a {old.kind} has no such field to change", field=name)
    unset = {name for name in old.chosen & changes.keys() if changes[name] in (None, (), [])}
    changes = {name: value for name, value in changes.items() if name not in unset}
    new = replace(old, **changes)
    for name in sorted(old.fixed & changes.keys()):
        if getattr(new, name) != getattr(old, name):
            raise Conflict(
                f"{name} of {old.title} is {text(getattr(old, name))} and cannot be changed: "
                f"delete the {old.kind}, and create it with the new value"
            )
    return new
