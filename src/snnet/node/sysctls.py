"""The driver of shared kernel parameters, which are set while a node needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeGuard

from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Change,
    Exists,
    Key,
    Missing,
    Noun,
    Operation,
    Remove,
    SharedSysctl,
    Sysctl,
)
from snnet.core.subnets import BRIDGED_TO_IP

from .over_backend import OverBackend

RECORD = "sysctl"
"""The host's record of previous values and users, by the name of the parameter."""


_BRIDGED = frozenset(BRIDGED_TO_IP.values())


class SharedSysctls(OverBackend):
    """Carries ``SharedSysctl`` over a backend that carries ``Sysctl``.

    The previous value and the users are in a record of the host, which is written before
    the change.  A process killed in between leaves a user whose value is not set yet;
    ``find`` shows that.

    What passes bridged frames to the hooks of IP stays on where others have bridges: their
    filters may separate guests by it.
    """

    name: ClassVar[str] = "sysctls"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset({SharedSysctl})

    def missing(self, noun: Noun) -> str | None:
        assert isinstance(noun, SharedSysctl)
        if self._value(noun.name) is None:
            return f"this kernel has no sysctl {noun.name}"
        return None

    def unreported(self) -> Collection[type[Noun]]:
        """See :meth:`snnet.contract.Driver.unreported`: as the backend's."""
        return (SharedSysctl,) if Sysctl in self._backend.unreported() else ()

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        recorded = self.host.recorded(RECORD)
        entries = {name: entry for name, entry in recorded.items() if _is_entry(entry)}
        found: dict[Key, Noun] = {}
        for name, entry in entries.items():
            for owner in entry["users"]:
                wanted = SharedSysctl(
                    owner=owner,
                    name=name,
                    value=entry.get("value", ""),
                    unless=tuple(entry.get("unless", ())),
                )
                if (noun := self._as_found(wanted)) is not None:
                    found[noun.key] = noun
        return found

    def find(self, noun: Noun) -> Noun | None:
        assert isinstance(noun, SharedSysctl)
        entry = self.host.recorded(RECORD).get(noun.name)
        if not _is_entry(entry) or noun.owner not in entry["users"]:
            return None
        return self._as_found(noun)

    def _as_found(self, noun: SharedSysctl) -> SharedSysctl | None:
        """The parameter as it is now; a value that may stay counts as the wanted one."""
        value = self._value(noun.name)
        if value is None:
            return None
        return noun if self._may_stay(noun, value) else replace(noun, value=value)

    def _may_stay(self, noun: SharedSysctl, value: str | None) -> bool:
        """Whether the value serves as well, or others in the namespace rely on it."""
        if value in noun.unless:
            return True
        return noun.name in _BRIDGED and value == "1" and bool(self._others())

    def _others(self) -> list[str]:
        """The bridges of others, whose frames their filters see by what is in ``_BRIDGED``."""
        found = self._backend.snapshot({Bridge}).values()
        return [
            link.name for link in found if isinstance(link, Bridge) and link.group != LINK_GROUP
        ]

    def perform(self, operation: Operation) -> None:
        noun = operation.noun
        assert isinstance(noun, SharedSysctl)
        match operation:
            case Add():
                self._add(noun)
            case Remove():
                self._remove(noun)
            case Change():
                self._put(noun)

    @contextmanager
    def _record(self) -> Iterator[dict[str, Any]]:
        """The record without damaged entries: what nobody can read, nobody needs."""
        with self.host.record(RECORD) as record:
            for name in [name for name, entry in record.items() if not _is_entry(entry)]:
                del record[name]
            yield record

    def _add(self, noun: SharedSysctl) -> None:
        with self._record() as record:
            current = self._value(noun.name)
            entry = record.setdefault(noun.name, {"previous": current, "users": []})
            if noun.unless or noun.name in _BRIDGED:
                entry |= {"value": noun.value, "unless": list(noun.unless)}
            if noun.owner in entry["users"]:
                raise Exists(f"cannot add {noun}: it is already recorded")
            entry["users"].append(noun.owner)
        try:
            self._put(noun)
        except BaseException:
            self._remove(noun)
            raise

    def _remove(self, noun: SharedSysctl) -> None:
        with self._record() as record:
            if noun.owner not in record.get(noun.name, {}).get("users", ()):
                raise Missing(f"cannot remove {noun}: it is not recorded")
            # If restoring the value fails, the record is not changed.
            previous = self._drop_user(record, noun)
            if previous is not None:
                self._set(noun.name, previous)

    def _drop_user(self, record: dict[str, Any], noun: SharedSysctl) -> str | None:
        """Forget a user; return the value to restore if it was the last one."""
        entry = record[noun.name]
        entry["users"].remove(noun.owner)
        if entry["users"]:
            return None
        del record[noun.name]
        previous: str | None = entry["previous"]
        return previous

    def _value(self, name: str) -> str | None:
        found = self._backend.find(Sysctl(name=name))
        return found.value if isinstance(found, Sysctl) else None

    def _put(self, noun: SharedSysctl) -> None:
        if not self._may_stay(noun, self._value(noun.name)):
            self._set(noun.name, noun.value)

    def _set(self, name: str, value: str) -> None:
        current = self._value(name)
        if current is None or current == value:
            return
        change = Change(Sysctl(name=name, value=value), Sysctl(name=name, value=current))
        outcome = self._backend.apply([change])
        if outcome.error is not None:
            raise outcome.error

    def commands(self, operation: Operation) -> Sequence[str]:
        noun = operation.noun
        assert isinstance(noun, SharedSysctl)
        return () if isinstance(operation, Remove) else (f"sysctl -w {noun.name}={noun.value}",)

    def obstacles(self) -> Sequence[str]:
        """Bridges of others, and what the setting that they share with a node here does."""
        name = BRIDGED_TO_IP[4]
        entry = self.host.recorded(RECORD).get(name)
        users = entry["users"] if _is_entry(entry) else ()
        if not users:
            return ()
        value, what = self._value(name), ""
        if value == "1":
            what = (
                f"{name} stays 1, so that guests of {users[0]} behind one tunnel do not reach each "
                "other by a port forward, because rules of others may need to see"
            )
        elif value == "0":
            what = f"{name} is 0 for {users[0]}, so that rules of others do not see"
        return [
            f"{what} frames between ports of bridge {bridge} (Docker's icc=false, for one): run "
            "the concentrator in a network namespace of its own"
            for bridge in (self._others() if what else ())
        ]


def _is_entry(entry: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is what the record has of a parameter: the previous value, and the users."""
    return (
        isinstance(entry, dict)
        and "previous" in entry
        and isinstance(entry["previous"], str | None)
        and isinstance(entry.get("users"), list)
        and all(isinstance(user, str) for user in entry["users"])
        and isinstance(entry.get("value", ""), str)
        and isinstance(entry.get("unless", []), list)
    )
