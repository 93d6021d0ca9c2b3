"""Nouns read back from the plain data that ``Noun.to_dict`` returns."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from snnet.contract import InvalidRequest, IPAddress, IPInterface, IPNetwork, Noun, Rule

_PARSERS: tuple[tuple[type, Callable[[str], Any]], ...] = (
    *((kind, ipaddress.ip_address) for kind in typing.get_args(IPAddress)),
    *((kind, ipaddress.ip_network) for kind in typing.get_args(IPNetwork)),
    *((kind, ipaddress.ip_interface) for kind in typing.get_args(IPInterface)),
)


def read_noun(row: Mapping[str, Any], kinds: Mapping[str, type[Noun]]) -> Noun:
    """Return the noun of one of these classes, by name, that the data describes.

    Raises KeyError, TypeError or ValueError if it describes none.
    """
    kind = kinds[row["noun"]]
    fields = _fields(kind)  # type: ignore[arg-type]
    # A value of None is not written.
    values = dict.fromkeys(fields.optional) | {
        key: fields.parsers[key](value) for key, value in row.items() if key != "noun"
    }
    return kind(**values)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fields:
    """How to read each field of a noun back, and the fields that are None if not there."""

    parsers: dict[str, Callable[[Any], Any]]
    optional: tuple[str, ...]


@functools.cache
def _fields(kind: type[Noun]) -> _Fields:
    hints = typing.get_type_hints(kind)
    items = dataclasses.fields(kind)
    return _Fields(
        {item.name: _parser(hints[item.name]) for item in items},
        tuple(
            item.name
            for item in items
            if item.default is not None
            if type(None) in typing.get_args(hints[item.name])
        ),
    )


def _parsed(parse: Callable[[str], Any], kinds: tuple[type, ...], value: Any) -> Any:
    parsed = parse(value) if isinstance(value, str) else value
    if not isinstance(parsed, kinds):
        raise TypeError(f"{value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return parsed


def _rule(value: Any) -> Rule:
    """Return the rule, which reads its fields itself."""
    try:
        return Rule(**value)
    except InvalidRequest as error:
        raise ValueError(str(error)) from error


def _parser(hint: Any) -> Callable[[Any], Any]:
    if typing.get_origin(hint) is tuple:
        return _tuple_parser(*typing.get_args(hint))
    if hint is Rule:
        return _rule
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            return _parser(kind)
    for kind, parse in _PARSERS:
        if kind in kinds:
            return functools.partial(_parsed, parse, kinds)
    allowed = tuple(kinds)

    def check(value: Any) -> Any:
        if not isinstance(value, allowed):
            raise TypeError(f"{value!r} is no {hint}")
        return value

    return check


def _tuple_parser(*parts: Any) -> Callable[[Any], Any]:
    if parts[-1] is Ellipsis:
        inner = _parser(parts[0])
        return lambda value: tuple(map(inner, value))
    each = [_parser(part) for part in parts]
    return lambda value: tuple(parse(one) for parse, one in zip(each, value, strict=True))
