"""``apply``: make what is stored as a list of documents says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any

from snnet.checks import shown
from snnet.contract import Conflict, InvalidRequest, SnnetError, Unavailable

from . import store
from .documents import Network, Vnic, Wanted
from .kinds import KINDS
from .problems import Problems, raise_all
from .security import SecurityGroup, groups_named
from .views import kind_of, read_everything, unmanaged
from .writing import Writer

Id = tuple[str, str, str]
"""Kind, tenant and name."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``apply`` did about one object, or would do.

    ``action`` is "created", "updated", "kept", "deleted" or "failed"; ``changes`` has the
    old and the new value of each field that differs.
    """

    kind: str
    tenant: str
    name: str
    action: str
    error: SnnetError | None = None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data: dict[str, Any] = {
            "kind": self.kind, "tenant": self.tenant, "name": self.name, "action": self.action
        }  # fmt: skip
        if self.error:
            data["error"] = str(self.error)
        if self.changes:
            data["changes"] = {
                name: {"is": old, "becomes": new} for name, (old, new) in self.changes.items()
            }
        return data


@dataclass(frozen=True, slots=True)
class _Item:
    """One checked document, and the fields that it has."""

    wanted: Wanted
    given: frozenset[str]

    @property
    def id(self) -> Id:
        return _id(self.wanted)


Progress = Callable[[int, int], None]
"""Is told how many objects are done, and of how many."""


def apply(
    writer: Writer,
    documents: Iterable[Mapping[str, Any]],
    *,
    prune: bool,
    dry_run: bool,
    progress: Progress | None,
) -> list[Applied]:
    """See :meth:`snnet.Cluster.apply`."""
    items = read_documents(documents)
    stored = {_id(item): item for item in read_everything(writer.registry)}
    ours = set(map(_id, unmanaged(stored.values())))
    tenants = {item.wanted.tenant for item in items}
    wanted = {item.id for item in items}
    kept = {
        key: item
        for key, item in stored.items()
        if not prune or key in wanted or item.tenant not in tenants or key not in ours
    }
    _check_references(items, kept)
    gone = [item for key, item in stored.items() if key not in kept]
    done: list[Applied] = []
    for applied in _each(writer, items, stored, gone, dry_run=dry_run):
        done.append(applied)
        if progress is not None:
            progress(len(done), len(items) + len(gone))
    return done


def _each(
    writer: Writer,
    items: list[_Item],
    stored: Mapping[Id, Wanted],
    gone: list[Wanted],
    *,
    dry_run: bool,
) -> Iterator[Applied]:
    """Delete, create and change one object after the other; yield what became of each."""
    # Last what others refer to: the rules, then the VNICs, then the networks.
    groups = [item for item in gone if isinstance(item, SecurityGroup)]
    others = [item for item in reversed(gone) if not isinstance(item, SecurityGroup)]
    for other in others:
        yield _deleted(writer, other, dry_run=dry_run)
    if not dry_run:
        _make_named_groups(writer, items, stored)
    for item in items:
        yield _applied(writer, item, stored.get(item.id), dry_run=dry_run)
    # VNICs and other groups have left these by now.
    for group in _namers_first(groups):
        yield _deleted(writer, group, dry_run=dry_run)


def _make_named_groups(writer: Writer, items: list[_Item], stored: Mapping[Id, Wanted]) -> None:
    """Make new groups without rules, so that the rules of each may name any other."""
    for item in items:
        if isinstance(item.wanted, SecurityGroup) and item.id not in stored:
            with suppress(Conflict):
                writer.group(replace(item.wanted, rules=()), frozenset())


def _namers_first(groups: list[SecurityGroup]) -> Iterator[SecurityGroup]:
    """Yield a group after those whose rules name it, if they do not name each other."""
    while groups:
        named = {(one.tenant, name) for one in groups for name in one.named}
        free = [one for one in groups if (one.tenant, one.name) not in named] or groups
        yield from free
        groups = [one for one in groups if one not in free]


def read_documents(documents: Iterable[Mapping[str, Any]]) -> list[_Item]:
    """Check documents; return them in the order of their dependencies.

    Raises all problems at once; each names the document by position and what it is called.
    """
    items: list[_Item] = []
    problems: list[InvalidRequest] = []
    for number, document in enumerate(documents):
        try:
            items.append(_read(document))
        except InvalidRequest as problem:
            where = _where(number, document)
            lines = problem.problems if isinstance(problem, Problems) else (str(problem),)
            problems += [InvalidRequest(line, field=where) for line in lines]
    seen: set[Id] = set()
    for item in items:
        if item.id in seen:
            problems.append(InvalidRequest("is there twice", field=item.wanted.title))
        seen.add(item.id)
    raise_all(problems)
    order = list(KINDS)
    return sorted(items, key=lambda item: order.index(item.wanted.kind))


def _read(document: Mapping[str, Any]) -> _Item:
    if not isinstance(document, Mapping):
        raise InvalidRequest(f"{shown(document)} is not a mapping of fields")
    fields = {name: value for name, value in document.items() if name != "kind"}
    wanted = kind_of(document.get("kind")).asked(fields)
    return _Item(wanted, frozenset(fields) - {"name", "tenant"})


def _where(number: int, document: Any) -> str:
    named = isinstance(document, Mapping) and (document.get("name") or document.get("address"))
    if not named:
        return f"document {number + 1}"
    kind = document.get("kind")
    what = kind if isinstance(kind, str) else "document"
    return f"{what} {shown(named)} (document {number + 1})"


def _check_references(items: list[_Item], kept: Mapping[Id, Wanted]) -> None:
    """Check what only all documents together show, before anything is written."""
    after = {**kept, **{item.id: item.wanted for item in items}}
    problems: list[InvalidRequest] = []
    for item in items:
        for missing in _missing(item.wanted, after):
            problems.append(InvalidRequest(missing, field=item.wanted.title))
    networks = [item for item in after.values() if isinstance(item, Network)]
    problems += _overlaps(networks, {item.id for item in items})
    raise_all(problems)


def _missing(wanted: Wanted, after: Mapping[Id, Wanted]) -> Iterator[str]:
    network = getattr(wanted, "network", None)
    if network and ("network", wanted.tenant, network) not in after:
        yield f"there is no network {network!r}: add a document for it"
    target = getattr(wanted, "to", None)
    if target and ("vnic", wanted.tenant, target) not in after:
        yield f"there is no vnic {target!r}: add a document for it"
    for name in groups_named(wanted):
        if ("group", wanted.tenant, name) not in after:
            yield f"there is no group {name!r}: add a document for it"
    if isinstance(wanted, Vnic):
        found = after.get(("network", wanted.tenant, wanted.network))
        for ip in wanted.ip if isinstance(found, Network) else ():
            assert isinstance(found, Network)
            if not any(ip in subnet for subnet in found.subnet):
                yield f"{ip} is outside {', '.join(map(str, found.subnet))}"


def _overlaps(networks: Iterable[Network], given: set[Id]) -> Iterator[InvalidRequest]:
    """A problem for each two networks of a tenant that overlap, if the file has one of them."""
    for one, other in combinations(networks, 2):
        if one.tenant != other.tenant or given.isdisjoint((_id(one), _id(other))):
            continue
        for a, b in product(one.subnet, other.subnet):
            if a.version == b.version and a.overlaps(b):
                yield InvalidRequest(f"{a} overlaps {b} of {other.title}", field=one.title)


def _deleted(writer: Writer, item: Wanted, *, dry_run: bool) -> Applied:
    try:
        if not dry_run:
            writer.delete(type(item), item.tenant, item.name)
    except SnnetError as error:
        return _failed(item, error)
    return Applied(*_id(item), "deleted")


def _applied(writer: Writer, item: _Item, old: Wanted | None, *, dry_run: bool) -> Applied:
    try:
        if old is None:
            if not dry_run:
                writer.create(item.wanted, item.given)
            return Applied(*item.id, "created")
        return _updated(writer, item, old, dry_run=dry_run)
    except SnnetError as error:
        return _failed(item.wanted, error)


def _updated(writer: Writer, item: _Item, old: Wanted, *, dry_run: bool) -> Applied:
    given = {name: getattr(item.wanted, name) for name in item.given}
    new = store.changed(old, given)
    before, after = old.document(), new.document()
    changes = {
        name: (before.get(name), after.get(name))
        for name in sorted(item.given)
        if before.get(name) != after.get(name)
    }
    if not changes:
        return Applied(*item.id, "kept")
    if not dry_run:
        new_values = {name: given[name] for name in changes}
        writer.update(type(old), old.tenant, old.name, new_values)
    return Applied(*item.id, "updated", changes=changes)


def _failed(item: Wanted, error: SnnetError) -> Applied:
    if isinstance(error, Unavailable):
        raise error
    return Applied(*_id(item), "failed", error)


def _id(item: Wanted) -> Id:
    return (item.kind, item.tenant, item.name)
