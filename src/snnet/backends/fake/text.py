"""A fake kernel as text, for tests to compare and people to read."""

from __future__ import annotations

from snnet.contract import Key, Link, Noun

from .state import State
from .sysctls import changed_sysctls


def to_text(state: State) -> str:
    """Return a line per noun: links by name, each followed by its nouns, then the rest."""
    lines = []
    links = sorted(noun.name for noun in state.nouns.values() if isinstance(noun, Link))
    for name in links:
        lines.append(str(state.nouns["link", name]))
        lines += [f"    {noun}" for noun in sorted(state.on_link(name), key=_order)]
    rest = [
        noun
        for noun in [*state.nouns.values(), *changed_sysctls(state)]
        if noun.within is None and not isinstance(noun, Link)
    ]
    lines += [str(noun) for noun in sorted(rest, key=_order)]
    for name, inside in sorted(state.children.items()):
        lines += [f"{name}: {line}" for line in to_text(inside).splitlines()]
    return "\n".join(lines)


def _order(noun: Noun) -> tuple[int, Key]:
    return noun.rank, noun.key
