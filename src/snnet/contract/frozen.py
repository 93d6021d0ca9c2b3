"""Frozen dataclasses that are cheap to make: a create makes two dozen objects of them.

``dataclass(frozen=True)`` sets each field by ``object.__setattr__``, since the class itself
refuses to, and that takes most of the time of making a noun.  Here the object is of an *open*
class, which refuses nothing, until ``__init__`` has set its fields by plain assignments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def frozen(*, kw_only: bool = True, repr: bool = True) -> Callable[[type[T]], type[T]]:
    """Make a frozen dataclass with slots, as ``dataclass`` does; a field cannot have a factory.

    An object whose class has ``make_key()`` has its result as ``key``.
    """

    def made(cls: type[T]) -> type[T]:
        kind: type[T] = dataclass(frozen=True, slots=True, kw_only=kw_only, repr=repr, init=False)(
            cls
        )
        kind.__init__ = _init(kind)  # type: ignore[method-assign]
        return kind

    return made


class _Opened(dict[type[Any], type[Any]]):
    """The open class of each class, made when its first object is."""

    def __missing__(self, kind: type[Any]) -> type[Any]:
        allowed = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
        # No slots of its own: an object can go from one class to the other.
        return self.setdefault(kind, type(kind.__name__, (kind,), {"__slots__": (), **allowed}))


OPENED = _Opened()


def changed(one: T, name: str, value: object) -> T:
    """Return a copy with another value of a field that is no part of a noun's key.

    Does what ``dataclasses.replace`` does, without its checks and in a seventh of the time.
    """
    kind = type(one)
    copy: T = _COPIERS[kind](one)
    setattr(copy, name, value)
    copy.__class__ = kind
    return copy


class _Copiers(dict[type[Any], Callable[[Any], Any]]):
    """How to copy an object of each class into one of its open class."""

    def __missing__(self, kind: type[Any]) -> Callable[[Any], Any]:
        names = [item.name for item in fields(kind)] + ["key"] * hasattr(kind, "key")
        scope: dict[str, Any] = {"new": object.__new__, "kind": OPENED[kind]}
        body = [f"copy.{name} = old.{name}" for name in names]
        exec("\n ".join(["def copier(old):", "copy = new(kind)", *body, "return copy"]), scope)
        copier: Callable[[Any], Any] = scope["copier"]
        return self.setdefault(kind, copier)


_COPIERS = _Copiers()


def _init(kind: type[Any]) -> Callable[..., None]:
    """Return the ``__init__`` of the class, compiled from text as ``dataclass`` does it."""
    scope: dict[str, Any] = {"OPENED": OPENED, "put": object.__setattr__}
    parameters, keywords, body = list[str](), list[str](), list[str]()
    for item in fields(kind):
        assert item.default_factory is MISSING, f"{kind.__name__}.{item.name} has a factory"
        if not item.init:
            continue
        default = ""
        if item.default is not MISSING:
            scope[f"default_{item.name}"] = item.default
            default = f"=default_{item.name}"
        (keywords if item.kw_only else parameters).append(item.name + default)
        body.append(f"self.{item.name} = {item.name}")
    lines = [
        f"def __init__({', '.join(['self', *parameters, *['*'] * bool(keywords), *keywords])}):",
        "kind = self.__class__",
        "put(self, '__class__', OPENED[kind])",
        *body,
        *["self.__post_init__()"] * hasattr(kind, "__post_init__"),
        *["self.key = self.make_key()"] * hasattr(kind, "make_key"),
        "self.__class__ = kind",
    ]
    exec("\n ".join(lines), scope)
    made: Callable[..., None] = scope["__init__"]
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    return made
