"""Constructors that refuse unknown keywords as a wrong request, with the nearest known one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from .errors import InvalidRequest

C = TypeVar("C", bound=type)


def refusing_unknown(cls: C) -> C:
    """Make the class raise InvalidRequest, not TypeError, for an unknown keyword argument.

    Use it as a decorator.  The error's ``field`` is the keyword.
    """
    init: Any = cls.__init__  # type: ignore[misc]
    code = inspect.unwrap(init).__code__
    known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    names = frozenset(known)

    @functools.wraps(init)
    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        if not names.issuperset(kwargs):
            refuse_unknown(kwargs, names, f"{cls.__name__} has no such argument")
        init(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[misc]
    return cls


def refuse_unknown(names: Iterable[object], known: Collection[str], message: str) -> None:
    """Raise InvalidRequest for the first of ``names`` that is not known; it is the field."""
    for name in names:
        if name not in known:
            raise InvalidRequest(f"{message}{nearest(name, known)}", field=str(name))


def nearest(wrong: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, and all."""
    names = sorted(known)
    near = get_close_matches(str(wrong), names, 1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{meant}; use one of {', '.join(names)}"
