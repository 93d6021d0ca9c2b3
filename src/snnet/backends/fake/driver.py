"""The base of the fake drivers: applies rules to the state of one fake kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from snnet.contract import (
    Add,
    ApiError,
    Change,
    Check,
    Driver,
    Key,
    Link,
    Noun,
    Operation,
    Outcome,
    SnnetError,
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

    def add(self, noun: N) -> None: ...

    def change(self, noun: N, old: N) -> None: ...

    def remove(self, noun: N) -> None: ...


class FakeDriver(Driver):
    """Applies operations one at a time, by the rules of each noun's class."""

    state: State
    faults: Faults
    rules: Mapping[type[Noun], Rules[Any]]

    def missing(self, noun: Noun) -> str | None:
        if type(noun) in self.rules:
            return None
        return f"the fake driver {self.name!r} carries no {type(noun).__name__}"

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

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
    ) -> Outcome:
        outcome = Outcome()
        for position, operation in enumerate(operations):
            try:
                if check is not None:
                    check()
            except SnnetError as error:
                outcome.errors[position] = error
                break
            try:
                with self.state.lock:
                    self.faults.count()
                    self._carry_out(operation, outcome)
            except Refusal as refusal:
                outcome.errors[position] = error_for(
                    refusal.errno, _said(operation), detail=refusal.detail, operation=operation
                )
            except ApiError as error:
                error.operation = operation
                outcome.errors[position] = error
            except SnnetError as error:
                outcome.errors[position] = error
            else:
                outcome.done.add(position)
            if outcome.errors and not keep_going:
                break
        return outcome

    def _carry_out(self, operation: Operation, outcome: Outcome) -> None:
        noun = operation.noun
        rules = self.rules.get(type(noun))
        reason = None if rules else self.missing(noun)
        if rules is None or reason:
            raise Refusal("EOPNOTSUPP", reason or "")
        if isinstance(operation, Add):
            rules.add(noun)
        elif isinstance(operation, Change):
            rules.change(noun, operation.old)
        else:
            rules.remove(noun)

    def watch(self) -> Watch:
        raise Unsupported(f"{type(self).__name__} has no link events: watch the backend instead")

    def close(self) -> None:
        pass


def _said(operation: Operation) -> str:
    """Return the operation in a few words, for error messages."""
    noun = operation.noun
    verb = type(operation).__name__.lower()
    return f"{verb} {noun.kind} {noun.name}" if isinstance(noun, Link) else f"{verb} {noun}"
