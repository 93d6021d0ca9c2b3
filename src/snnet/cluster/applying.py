"""``apply``: make what is stored as a list of documents says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from snnet.checks import shown
from snnet.contract import Conflict, InvalidRequest, Registry, SnnetError, Unavailable

from . import store
from .claims import Id, claims_of, id_of
from .contradictions import check_together
from .documents import Forward, PublicIp, Vnic, Wanted
from .kinds import KINDS
from .problems import DocumentProblem, each, raise_all
from .rehearsal import Rehearsal
from .security import SecurityGroup
from .views import kind_of, read_everything, unmanaged
from .writing import Writer

_RULES = (Forward, PublicIp)
"""The kinds of what leads to a VNIC."""


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
    """One checked document, its number, and the fields that it has."""

    number: int
    wanted: Wanted
    given: frozenset[str]

    @property
    def id(self) -> Id:
        return id_of(self.wanted)


Progress = Callable[[int, int], None]
"""Is told how many objects are done, and of how many."""


def apply(
    registry: Registry,
    documents: Iterable[Mapping[str, Any]],
    *,
    prune: bool,
    dry_run: bool,
    progress: Progress | None,
) -> list[Applied]:
    """See :meth:`snnet.Cluster.apply`."""
    items = read_documents(documents)
    stored = {id_of(item): item for item in read_everything(registry)}
    ours = set(map(id_of, unmanaged(stored.values())))
    tenants = {item.wanted.tenant for item in items}
    wanted = {item.id: item for item in items}
    kept = {
        key: item
        for key, item in stored.items()
        if not prune or key in wanted or item.tenant not in tenants or key not in ours
    }
    after = {**kept, **{item.id: _after(item, stored.get(item.id)) for item in items}}
    check_together(after, {id: item.number for id, item in wanted.items()}, stored)
    reserved = {claim for item in items for claim in claims_of(item.wanted)}
    writer = Writer(Rehearsal(registry) if dry_run else registry, reserved)
    gone = [item for key, item in stored.items() if key not in kept]
    done: list[Applied] = []
    for applied in _each(writer, items, stored, gone):
        done.append(applied)
        if progress is not None:
            progress(len(done), len(items) + len(gone))
    return done


def _after(item: _Item, old: Wanted | None) -> Wanted:
    """What an object is after the file was applied, or what was asked for in vain."""
    with suppress(SnnetError):
        return _changed(item, old) if old else item.wanted
    return item.wanted


def _each(
    writer: Writer, items: list[_Item], stored: Mapping[Id, Wanted], gone: list[Wanted]
) -> Iterator[Applied]:
    """Delete, create and change one object after the other; yield what became of each."""
    # Last what others refer to: the rules, then the VNICs, then the networks.
    rules = [item for item in reversed(gone) if isinstance(item, _RULES)]
    groups = [item for item in gone if isinstance(item, SecurityGroup)]
    others = [item for item in reversed(gone) if not isinstance(item, (*_RULES, SecurityGroup))]
    for rule in rules:
        yield _deleted(writer, rule)
    there = stored.keys() - {id_of(item) for item in others}
    leaving = {item.id: item for item in _leaving(items, stored, others)}
    moved = [id for id, item in leaving.items() if _target(item.wanted) in there]
    for id in moved:
        yield _applied(writer, leaving[id], stored[id])
    # The rest leads to nothing for a while: a VNIC to come may need what a deleted one has.
    for other in others:
        yield _deleted(writer, other, leaving)
    _make_named_groups(writer, items, stored)
    for item in items:
        if item.id not in moved:
            yield _applied(writer, item, stored.get(item.id))
    # VNICs and other groups have left these by now.
    for group in _namers_first(groups):
        yield _deleted(writer, group)


def _leaving(items: list[_Item], stored: Mapping[Id, Wanted], gone: list[Wanted]) -> list[_Item]:
    """The rules that lead to a VNIC which is deleted, and that the file leads to another one."""
    vnics = {id_of(item) for item in gone if isinstance(item, Vnic)}
    found = []
    for item in items:
        old = stored.get(item.id)
        if isinstance(old, _RULES) and _target(old) in vnics:
            with suppress(SnnetError):  # it stays as it is, and so does the VNIC
                _changed(item, old)
                found.append(item)
    return found


def _target(rule: Any) -> Id:
    """The VNIC that a rule leads to."""
    return ("vnic", rule.tenant, rule.to)


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
    for number, document in enumerate(documents, 1):
        try:
            items.append(_read(number, document))
        except InvalidRequest as error:
            where = _where(number, document)
            problems += [DocumentProblem(problem, number, where) for problem in each(error)]
    seen: set[Id] = set()
    for item in items:
        if item.id in seen:
            twice = InvalidRequest("is there twice")
            problems.append(DocumentProblem(twice, item.number, item.wanted.title))
        seen.add(item.id)
    raise_all(problems)
    order = list(KINDS)
    return sorted(items, key=lambda item: order.index(item.wanted.kind))


def _read(number: int, document: Mapping[str, Any]) -> _Item:
    if not isinstance(document, Mapping):
        raise InvalidRequest(f"{shown(document)} is not a mapping of fields")
    fields = {name: value for name, value in document.items() if name != "kind"}
    wanted = kind_of(document.get("kind")).asked(fields)
    return _Item(number, wanted, frozenset(fields) - {"name", "tenant"})


def _where(number: int, document: Any) -> str:
    named = isinstance(document, Mapping) and (document.get("name") or document.get("address"))
    if not named:
        return f"document {number}"
    kind = document.get("kind")
    what = kind if isinstance(kind, str) else "document"
    return f"{what} {shown(named)} (document {number})"


def _deleted(writer: Writer, item: Wanted, leave: Collection[Id] = ()) -> Applied:
    try:
        writer.delete(type(item), item.tenant, item.name, leave=leave)
    except SnnetError as error:
        return _failed(item, error)
    return Applied(*id_of(item), "deleted")


def _applied(writer: Writer, item: _Item, old: Wanted | None) -> Applied:
    try:
        if old is None:
            writer.create(item.wanted, item.given)
            return Applied(*item.id, "created")
        return _updated(writer, item, old)
    except SnnetError as error:
        return _failed(item.wanted, error)


def _changed(item: _Item, old: Wanted) -> Wanted:
    """The stored object with what the document gives."""
    return store.changed(old, {name: getattr(item.wanted, name) for name in item.given})


def _updated(writer: Writer, item: _Item, old: Wanted) -> Applied:
    before, after = old.document(), _changed(item, old).document()
    changes = {
        name: (before.get(name), after.get(name))
        for name in sorted(item.given)
        if before.get(name) != after.get(name)
    }
    if not changes:
        return Applied(*item.id, "kept")
    new_values = {name: getattr(item.wanted, name) for name in changes}
    writer.update(type(old), old.tenant, old.name, new_values)
    return Applied(*item.id, "updated", changes=changes)


def _failed(item: Wanted, error: SnnetError) -> Applied:
    if isinstance(error, Unavailable):
        raise error
    return Applied(*id_of(item), "failed", error)
