"""Checking listeners against the hooks that there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches

from snnet.checks import does_nothing, shown
from snnet.contract import InvalidRequest


def check_listener(listener: object, specification: type) -> None:
    """Raise InvalidRequest where a listener would never be called as its author means.

    The public methods of ``specification`` are the hooks.
    """
    known = [name for name in vars(specification) if not name.startswith("_")]
    kind = listener.__name__ if inspect.isclass(listener) else type(listener).__name__
    methods = [
        name
        for name in dir(listener)
        if not name.startswith("_") and inspect.isroutine(getattr(listener, name, None))
    ]
    hooks = [name for name in known if name in methods]
    for name in methods:
        near = () if name in known else get_close_matches(name, known, 1, 0.8)
        if near and near[0] not in hooks:
            raise InvalidRequest(
                f"{kind}.{name} is not a hook, and would never be called: the hook is {near[0]}",
                field="listeners",
            )
    for name in known:
        if name not in hooks and hasattr(listener, name):
            raise InvalidRequest(
                f"{kind}.{name} is {shown(getattr(listener, name))}, not a method",
                field="listeners",
            )
    if not hooks:
        raise InvalidRequest(
            f"{shown(listener)} has none of the hooks {', '.join(known)}: it would never be called",
            field="listeners",
        )
    for name in hooks:
        if does_nothing(getattr(listener, name)):
            raise InvalidRequest(
                f"{kind}.{name} is asynchronous or a generator, and would never run: make it a "
                "plain method, which may hand over to an event loop",
                field="listeners",
            )
        allowed = [*inspect.signature(getattr(specification, name)).parameters][1:]
        wrong = [found for found in _arguments(getattr(listener, name)) if found not in allowed]
        if wrong:
            raise InvalidRequest(
                f"{kind}.{name} takes {', '.join(wrong)}, which the hook does not have: it may "
                f"take {', '.join(allowed)}",
                field="listeners",
            )


def _arguments(hook: Callable[..., object]) -> list[str]:
    """The arguments that a hook must be given."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # written in C: it says nothing about them
        return []
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
