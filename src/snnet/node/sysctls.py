"""The driver of shared kernel parameters, which are set while a node needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Change,
    Driver,
    Exists,
    Key,
    Missing,
    Noun,
    Operation,
    Remove,
    SharedSysctl,
    Sysctl,
    Unsupported,
    Watch,
)
from snnet.core.subnets import BRIDGED_TO_IP

RECORD = "sysctl"
"""The host's record of previous values and users, by the name of the parameter."""


class SharedSysctls(Driver):
    """Carries ``SharedSysctl`` over a backend that carries ``Sysctl``.

    The previous value and the users are in a record of the host, which is written before
    the change.  A process killed in between leaves a user whose value is not set yet;
    ``find`` shows that.
    """

    name: ClassVar[str] = "sysctls"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset({SharedSysctl})

    def __init__(self, backend: Driver) -> None:
        self._backend = backend
        self.host = backend.host

    def missing(self, noun: Noun) -> str | None:
        assert isinstance(noun, SharedSysctl)
        if self._value(noun.name) is None:
            return f"this kernel has no sysctl {noun.name}"
        return None

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        with self._record() as record:
            entries = {name: dict(entry) for name, entry in record.items()}
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
        with self._record() as record:
            if noun.owner not in record.get(noun.name, {}).get("users", ()):
                return None
        return self._as_found(noun)

    def _as_found(self, noun: SharedSysctl) -> SharedSysctl | None:
        """The parameter as it is now; a value that serves as well counts as the wanted one."""
        value = self._value(noun.name)
        if value is None:
            return None
        return noun if value in noun.unless else replace(noun, value=value)

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
            if noun.unless:
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
        if self._value(noun.name) not in noun.unless:
            self._set(noun.name, noun.value)

    def _set(self, name: str, value: str) -> None:
        current = self._value(name)
        if current in (None, value):
            return
        change = Change(Sysctl(name=name, value=value), Sysctl(name=name, value=current or ""))
        outcome = self._backend.apply([change])
        if outcome.error is not None:
            raise outcome.error

    def commands(self, operation: Operation) -> Sequence[str]:
        noun = operation.noun
        assert isinstance(noun, SharedSysctl)
        return () if isinstance(operation, Remove) else (f"sysctl -w {noun.name}={noun.value}",)

    def obstacles(self) -> Sequence[str]:
        """Bridges of others whose frames no filter sees because a node here turned that off."""
        with self._record() as record:
            users = record.get(BRIDGED_TO_IP[4], {}).get("users", ())
        if not users or self._value(BRIDGED_TO_IP[4]) != "0":
            return ()
        return [
            f"{BRIDGED_TO_IP[4]} is 0 for {users[0]}, so that rules of others do not see frames "
            f"between ports of bridge {link.name} (Docker's icc=false, for one): run the "
            "concentrator in a network namespace of its own"
            for link in self._backend.snapshot({Bridge}).values()
            if isinstance(link, Bridge) and link.group != LINK_GROUP
        ]

    def watch(self) -> Watch:
        raise Unsupported("sysctls have no events: watch the backend instead")

    def close(self) -> None:
        pass


def _is_entry(entry: object) -> bool:
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
