"""What happened to a packet, step by step, and how that is told."""

from __future__ import annotations

from typing import NamedTuple

_LINES_MAX = 80
"""Lines told of a search that failed; a flood through a thousand hosts has more."""


class Step:
    """One thing that happened, because of the one before.

    It is put into words only when somebody asks: walking is done much more often.
    """

    __slots__ = ("before", "host", "link", "said", "values")

    def __init__(
        self, before: Step | None, host: str, link: str, said: str, values: tuple[object, ...]
    ) -> None:
        self.before, self.host, self.link = before, host, link
        self.said, self.values = said, values

    def then(self, host: str, link: str, said: str, *values: object) -> Step:
        """The next step; ``said`` has a ``{}`` for each value."""
        return Step(self, host, link, said, values)

    def path(self) -> list[Step]:
        """All steps from the first to this one."""
        path: list[Step] = []
        step: Step | None = self
        while step is not None:
            path.append(step)
            step = step.before
        return path[::-1]

    def __str__(self) -> str:
        place = f"{self.link} on {self.host}" if self.link else self.host
        return f"{place}: {self.said.format(*self.values)}"


class Endings(NamedTuple):
    """Where the branches of one walk ended."""

    dropped: list[Step]
    ignored: list[Step]

    def told(self) -> list[str]:
        """The steps that led to each ending; indented where the way forks.

        Those who were not meant are told too, while there is room: they show
        how far a search went.
        """
        kept = [*self.dropped, *self.ignored][:_LINES_MAX]
        kept.sort(key=self.dropped.__contains__)  # what was dropped is told last
        after: dict[Step | None, list[Step]] = {}
        for leaf in kept:
            for step in leaf.path():
                siblings = after.setdefault(step.before, [])
                if step not in siblings:
                    siblings.append(step)
        lines = _tree(after)
        if len(lines) > _LINES_MAX:
            half = _LINES_MAX // 2
            lines[half:-half] = [f"... {len(lines) - _LINES_MAX} lines left out ..."]
        hidden = len(self.dropped) + len(self.ignored) - len(kept)
        return [*lines, f"... and {hidden} more ends like these"] if hidden else lines


def _tree(after: dict[Step | None, list[Step]]) -> list[str]:
    lines = []
    waiting = [(step, 0) for step in reversed(after.get(None, []))]
    while waiting:
        step, depth = waiting.pop()
        lines.append("  " * depth + str(step))
        following = after.get(step, [])
        deeper = depth + (len(following) > 1)
        waiting += [(next_step, deeper) for next_step in reversed(following)]
    return lines
