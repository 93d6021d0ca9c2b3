"""The base of the fake drivers: applies rules to the state of one fake kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from snnet.contract import (
    Add,
    Driver,
    Key,
    Link,
    Noun,
    Operation,
    Remove,
    Unsupported,
    Watch,
    error_for,
)

from .faults import Faults
from .refusal import Refusal
from .state import State

N = TypeVar("N", bound=Noun, contravariant=True)


class Rules(Protocol[N]):
    """Adds, changes and removes nouns of one class; each verb is all or nothing."""

    def add(self, noun: N) -> Sequence[int] | None: ...

    def change(self, noun: N, old: N) -> None: ...

    def remove(self, noun: N) -> None: ...


class FakeDriver(Driver):
    """Applies operations one at a time, by the rules of each noun's class."""

    only_snnet_errors: ClassVar[bool] = True  # there is no system below

    state: State
    faults: Faults
    rules: Mapping[type[Noun], Rules[Any]]
    gaps: Collection[str] = ()
    """What the kernel below lacks."""

    def missing(self, noun: Noun) -> str | None:
        if type(noun) in self.rules:
            return None
        return f"the fake driver {self.name!r} does not carry {type(noun).__name__}"

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        wanted = tuple(self.carries if types is None else types)
        with self.state.lock:
            return {
                key: noun
                for key, noun in self.state.nouns.items()
                if isinstance(noun, wanted) and type(noun) in self.carries
            }

    def find(self, noun: Noun) -> Noun | None:
        found = self.state.nouns.get(noun.key)
        return found if type(found) in self.carries else None

    def perform(self, operation: Operation) -> Sequence[int] | None:
        noun = operation.noun
        try:
            with self.state.lock:
                self.faults.count()
                rules = self.rules.get(type(noun))
                if rules is None or (self.gaps and self._lacks(operation)):
                    raise Refusal("EOPNOTSUPP", self.missing(noun) or "")
                if isinstance(operation, Add):
                    return rules.add(noun)
                if isinstance(operation, Remove):
                    rules.remove(noun)
                else:
                    rules.change(noun, operation.old)
                return None
        except Refusal as refusal:
            raise error_for(
                refusal.errno, _said(operation), detail=refusal.detail, operation=operation
            ) from refusal

    def _lacks(self, operation: Operation) -> bool:
        """Whether the operation fails because of one of the ``gaps``."""
        return False

    def watch(self) -> Watch:
        raise Unsupported(f"{type(self).__name__} has no link events: watch the backend instead")

    def close(self) -> None:
        pass


def _said(operation: Operation) -> str:
    """Return the operation in a few words, for error messages."""
    noun = operation.noun
    verb = type(operation).__name__.lower()
    return f"{verb} {noun.kind} {noun.name}" if isinstance(noun, Link) else f"{verb} {noun}"
