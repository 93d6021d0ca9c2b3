"""Operations and plans: what is to be done, in order, as data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import SnnetError
from .noun import Noun


@dataclass(frozen=True, slots=True)
class Add:
    """Create the noun; strict: fails with ``Exists`` where it is there already."""

    noun: Noun

    def inverse(self) -> Remove:
        return Remove(self.noun)

    def to_dict(self) -> dict[str, Any]:
        return {"op": "add", **self.noun.to_dict()}

    def __str__(self) -> str:
        return f"add {self.noun}"


@dataclass(frozen=True, slots=True)
class Change:
    """Turn ``old`` into ``noun``: the same object, other values in changeable fields."""

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
    """Delete the noun; fails with ``Missing`` where it is gone already."""

    noun: Noun

    def inverse(self) -> Add:
        return Add(self.noun)

    def to_dict(self) -> dict[str, Any]:
        return {"op": "remove", **self.noun.to_dict()}

    def __str__(self) -> str:
        return f"remove {self.noun}"


Operation = Add | Change | Remove


def _no_commands(_: Operation) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of operations; may be looked at without being run."""

    operations: tuple[Operation, ...] = ()
    render: Callable[[Operation], Iterable[str]] = field(
        default=_no_commands, compare=False, repr=False
    )

    def to_json(self) -> str:
        """The operations as a JSON array."""
        return json.dumps([op.to_dict() for op in self.operations], indent=2)

    def to_commands(self) -> list[str]:
        """The same work as shell commands (``ip``, ``bridge``, ``sysctl`` ...)."""
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
"""The plan that has nothing to do."""


@dataclass(slots=True)
class Outcome:
    """What one ``apply`` did.

    ``done``: positions of the operations that took effect, whatever else
    failed.  ``errors``: what stopped or was skipped over, by position.
    ``unsure``: positions of operations that were under way when something
    else than a ``SnnetError`` was raised, ``KeyboardInterrupt`` for example:
    they may have taken effect or not.  ``fds``: descriptors of multi-queue
    taps by link name; the receiver of the outcome owns them.
    """

    done: set[int] = field(default_factory=set)
    errors: dict[int, SnnetError] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    fds: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def include(self, part: Outcome, start: int) -> None:
        """Add the outcome of a part of the operations, which began at position ``start``."""
        self.done.update([start + position for position in part.done])
        self.fds.update(part.fds)
        if part.errors or part.unsure:
            self.unsure.update([start + position for position in part.unsure])
            for position, error in part.errors.items():
                self.errors[start + position] = error

    @property
    def error(self) -> SnnetError | None:
        """The first error in the order of the operations, if there was any."""
        return self.errors[min(self.errors)] if self.errors else None

    def close_fds(self) -> None:
        """Close every descriptor handed out; for an outcome that is thrown away."""
        for fds in self.fds.values():
            for fd in fds:
                os.close(fd)
        self.fds.clear()
