"""Documents as callers see them: with the status that their agents reported."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

from snnet.checks import check_address
from snnet.contract import Document, Entry, InvalidRequest, Reading, Registry
from snnet.contract.errors import shown

from . import keys, store
from .documents import FAILED, PENDING, READY, Status, Vnic, Wanted
from .kinds import KINDS
from .node_info import NodeInfo
from .security import SecurityGroup
from .stored import is_salvaged, read, salvage

W = TypeVar("W", bound=Wanted)


def read_nodes(reading: Reading) -> list[NodeInfo]:
    """The registered nodes, sorted by name."""
    alive = {
        _last(key): entry.document
        for key, entry in reading.entries.items()
        if key.startswith(keys.ALIVE)
    }
    return [
        NodeInfo.read(_last(key), entry.document, alive.get(_last(key)))
        for key, entry in reading.entries.items()
        if key.startswith(keys.NODES)
    ]


def read_placements(reading: Reading) -> dict[str, Entry]:
    """Where each tenant's concentrator is: its document, by tenant.

    What is damaged counts as not said, until the concentrator has a place again.
    """
    found = keys.objects(reading.entries, keys.CONCENTRATORS)
    return {_last(key): replace(entry, document=_placed(entry.document)) for key, entry in found}


def _placed(document: Document) -> Document:
    """The readable parts of what says where a concentrator is."""
    found = dict(document)
    if not isinstance(found.get("node"), str):
        found.pop("node", None)
    try:
        check_address(found.get("address"), "address")
    except InvalidRequest:
        found.pop("address", None)
    return found


def read_all(registry: Registry, kind: type[W], tenant: str | None) -> list[W]:
    """All objects of a kind, of one tenant or of all, sorted by tenant and name."""
    prefix = keys.PREFIXES[kind.kind]
    by_tenant = f"{prefix}{tenant}/" if tenant and kind.kind != "vnic" else prefix
    reading = registry.read(by_tenant, keys.STATUS)
    statuses = _statuses(reading)
    found = [
        with_status(item, statuses.get((kind.kind, item.tenant, item.name), ()))
        for item in stored(reading, kind)
        if tenant is None or item.tenant == tenant
    ]
    return sorted(found, key=_place)


def read_everything(registry: Registry, tenant: str | None = None) -> list[Wanted]:
    """All objects of one moment, without their status, of one tenant or of all.

    What others refer to comes first, then they are sorted by tenant and name.  Raises
    ``Unreadable`` if a document cannot be read.
    """
    reading = registry.read(*keys.PREFIXES.values())
    found: list[Wanted] = []
    for kind in KINDS.values():
        found += sorted(stored(reading, kind, whole=True), key=_place)
    return [item for item in found if tenant is None or item.tenant == tenant]


def exported(item: Wanted) -> dict[str, Any]:
    """The document of an object as ``apply`` takes it."""
    document = {name: value for name, value in item.document().items() if name not in item.marks}
    return {"kind": item.kind, **document}


def unmanaged(items: Collection[Wanted]) -> Iterator[Wanted]:
    """Yield those that no other program manages, and that lead to nothing that one manages."""
    managed = {
        (item.tenant, item.name) for item in items if isinstance(item, Vnic) and item.managed_by
    }
    for item in items:
        vnic = item.name if isinstance(item, Vnic) else getattr(item, "to", None)
        if (item.tenant, vnic) not in managed:
            yield item


def _place(item: Wanted) -> tuple[str, Any]:
    return item.tenant, natural(item.name)


def read_one(registry: Registry, kind: type[W], tenant: str, name: str) -> W:
    """One object with its status.  Raises ``Missing`` if there is none."""
    found = store.need(registry, kind, tenant, name, salvage)
    if isinstance(found, SecurityGroup):
        nodes = read_nodes(registry.read(keys.NODES))
        said = registry.read(*(keys.status(one.name, kind.kind, tenant, name) for one in nodes))
        return with_status(found, said.entries.values())
    node = getattr(found, "node", None)
    if node is None:
        key = keys.concentrator(tenant)
        placed = registry.read(key).entries.get(key)
        node = _placed(placed.document).get("node") if placed else None
    if node is None:
        return found
    key = keys.status(str(node), kind.kind, tenant, name)
    return with_status(found, registry.read(key).entries.values())


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A sort key that puts "v2" before "v10"."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return tuple((text, int(number or -1)) for text, number in parts)


def stored(reading: Reading, kind: type[W], *, whole: bool = False) -> Iterator[W]:
    """The objects of a kind in a reading, without their status.

    Of documents that cannot be read it has what can be; ``Unreadable`` if that must be ``whole``.
    """
    for key, entry in keys.objects(reading.entries, keys.PREFIXES[kind.kind]):
        yield read(kind, key, entry) if whole else salvage(kind, key, entry)


def with_status(wanted: W, said: Iterable[Entry]) -> W:
    """The object with what agents said about it: the newest, or for a group the worst.

    A group that no VNIC is in concerns no agent, and is ready as it is stored.
    """
    if is_salvaged(wanted):
        return wanted
    statuses = [_status(wanted, entry) for entry in sorted(said, key=lambda entry: entry.revision)]
    if isinstance(wanted, SecurityGroup):
        statuses.sort(key=lambda status: (READY, PENDING, FAILED).index(status.state))
        statuses = statuses or [Status(state=READY)]
    if not statuses:
        return wanted
    found = copy(wanted)  # not replace(): its fields were checked when it was read
    object.__setattr__(found, "status", statuses[-1])
    return found


def _status(wanted: Wanted, entry: Entry) -> Status:
    """What one agent said, if it is about this revision of the object.

    What is damaged, or what a later version says in another way, counts as not said.
    """
    said = entry.document
    details, of = said.get("details"), said.get("of")
    found = Status(
        node=_parts(entry.key)[2], details=details if isinstance(details, Mapping) else {}
    )
    if not isinstance(of, int) or of < wanted.revision:
        return found
    state, error, retry_at = said.get("state"), said.get("error"), said.get("retry_at")
    return replace(
        found,
        state=state if state in (READY, FAILED) else PENDING,
        error=error if isinstance(error, str) else None,
        retry_at=retry_at if isinstance(retry_at, (int, float)) else None,
    )


def _statuses(reading: Reading) -> dict[tuple[str, str, str], list[Entry]]:
    """What agents said, by kind, tenant and name."""
    found: dict[tuple[str, str, str], list[Entry]] = {}
    for key, entry in keys.objects(reading.entries, keys.STATUS):
        _, _, _, kind, tenant, name = _parts(key)
        found.setdefault((kind, tenant, name), []).append(entry)
    return found


def kind_of(name: object) -> type[Wanted]:
    """The class of a kind's documents.  InvalidRequest lists the kinds."""
    if isinstance(name, str) and name in KINDS:
        return KINDS[name]
    raise InvalidRequest(f"{shown(name)} is not one of {', '.join(KINDS)}", field="kind")


def _parts(key: str) -> list[str]:
    return key.rstrip("/").split("/")


def _last(key: str) -> str:
    return _parts(key)[-1]
