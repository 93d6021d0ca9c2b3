"""Operations and plans as data: what to do, in order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import SnnetError
from .namespaces import Inside
from .noun import Noun


@dataclass(frozen=True, slots=True)
class Add:
    """Create the noun; fails with ``Exists`` if it exists."""

    noun: Noun

    def inverse(self) -> Remove:
        return Remove(self.noun)

    def to_dict(self) -> dict[str, Any]:
        return {"op": "add", **self.noun.to_dict()}

    def __str__(self) -> str:
        return f"add {self.noun}"


@dataclass(frozen=True, slots=True)
class Change:
    """Change ``old`` into ``noun``: the same object with other values in changeable fields."""

    noun: Noun
    old: Noun

    def inverse(self) -> Change:
        return Change(self.old, self.noun)

    def to_dict(self) -> dict[str, Any]:
        return {"op": "change", **self.noun.to_dict(), "old": self.old.to_dict()}

    def __str__(self) -> str:
        return f"change {self.noun} (was {self.old})"


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the noun; fails with ``Missing`` if it does not exist."""

    noun: Noun

    def inverse(self) -> Add:
        return Add(self.noun)

    def to_dict(self) -> dict[str, Any]:
        return {"op": "remove", **self.noun.to_dict()}

    def __str__(self) -> str:
        return f"remove {self.noun}"


Operation = Add | Change | Remove


def inner(operation: Operation) -> Operation:
    """Return an operation on a noun that is ``Inside`` a namespace, as it is there."""
    noun = operation.noun
    assert isinstance(noun, Inside)
    if isinstance(operation, Change):
        assert isinstance(operation.old, Inside)
        return Change(noun.what, operation.old.what)
    return type(operation)(noun.what)


def _no_commands(_: Operation) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of operations, which can be inspected without being run."""

    operations: tuple[Operation, ...] = ()
    render: Callable[[Operation], Iterable[str]] = field(
        default=_no_commands, compare=False, repr=False
    )

    def to_json(self) -> str:
        """Return the operations as a JSON array."""
        return json.dumps([op.to_dict() for op in self.operations], indent=2)

    def to_commands(self) -> list[str]:
        """Return the same work as shell commands (``ip``, ``bridge``, ``sysctl`` ...)."""
        return [line for op in self.operations for line in self.render(op)]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def __str__(self) -> str:
        return "\n".join(map(str, self.operations)) or "nothing to do"


Check = Callable[[], None]
"""Called before each operation; raises ``Timeout`` or ``Cancelled`` to stop."""


NOTHING = Plan()
"""The empty plan."""


@dataclass(slots=True)
class Outcome:
    """What one ``apply`` did.

    ``done``: positions of the operations that took effect, whatever else failed.
    ``errors``: the errors by position.  ``unsure``: positions of the operations in
    progress when ``FatalError`` or something other than a ``SnnetError`` was raised, for
    example ``KeyboardInterrupt``; they may have taken effect or not.  ``fds``: descriptors of
    multi-queue taps by link name; the caller owns them.
    """

    done: set[int] = field(default_factory=set)
    errors: dict[int, SnnetError] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    fds: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def error(self) -> SnnetError | None:
        """The first error in the order of the operations, or None."""
        return self.errors[min(self.errors)] if self.errors else None

    def close_fds(self) -> None:
        """Close every descriptor, for an outcome that is discarded."""
        for fds in self.fds.values():
            for fd in fds:
                os.close(fd)
        self.fds.clear()
