"""Intents as text: what a node was asked for and no link's alias can hold.

An entry is a thing that calls work on (a rule, the mesh) with its nouns, as one line
of JSON.  An entry without nouns takes an earlier one back.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import json
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from snnet.contract import (
    Address,
    ExternalForward,
    Fdb,
    Gre,
    GroupMembers,
    GroupRules,
    IPAddress,
    IPInterface,
    IPNetwork,
    Masquerade,
    Namespace,
    Neighbour,
    Noun,
    PortForward,
    PublicIp,
    Route,
    Rule,
    Veth,
    Vxlan,
)

from .policies import Policy

Entry = tuple[tuple[str, ...], tuple[Noun, ...]]
"""A thing by its name, and its nouns."""

_NOUNS: dict[str, type[Noun]] = {
    noun.__name__: noun
    for noun in (
        Masquerade, ExternalForward, PortForward, PublicIp,
        Namespace, Veth, Gre, Vxlan, Address, Fdb, Neighbour, Route, Policy,
        GroupMembers, GroupRules,
    )
}  # fmt: skip

_PARSERS: tuple[tuple[type, Callable[[str], Any]], ...] = (
    *((kind, ipaddress.ip_address) for kind in typing.get_args(IPAddress)),
    *((kind, ipaddress.ip_network) for kind in typing.get_args(IPNetwork)),
    *((kind, ipaddress.ip_interface) for kind in typing.get_args(IPInterface)),
)


def write_entry(thing: tuple[str, ...], nouns: Sequence[Noun]) -> str:
    """The entry as one line."""
    return json.dumps([list(thing), [noun.to_dict() for noun in nouns]], separators=(",", ":"))


def read_entry(line: str) -> Entry:
    """The entry that a line says; ValueError where it says none."""
    try:
        thing, rows = json.loads(line)
        nouns = tuple(_noun(row) for row in rows)
        if not all(isinstance(word, str) for word in thing):
            raise ValueError("its name is no text")
        return tuple(thing), nouns
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(str(error)) from error


def _noun(row: dict[str, Any]) -> Noun:
    name = row.pop("noun")
    fields = _fields(name)
    # A value of None is not written.
    values = dict.fromkeys(fields.optional) | {
        key: fields.parsers[key](value) for key, value in row.items()
    }
    return _NOUNS[name](**values)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fields:
    """How to read each field of a noun back, and the fields that are None if not there."""

    parsers: dict[str, Callable[[Any], Any]]
    optional: tuple[str, ...]


@functools.cache
def _fields(name: str) -> _Fields:
    kind = _NOUNS[name]
    hints = typing.get_type_hints(kind)
    items = dataclasses.fields(kind)
    return _Fields(
        {item.name: _parser(hints[item.name]) for item in items},
        tuple(
            item.name
            for item in items
            if item.default is dataclasses.MISSING
            and type(None) in typing.get_args(hints[item.name])
        ),
    )


def _parsed(parse: Callable[[str], Any], kinds: tuple[type, ...], value: Any) -> Any:
    parsed = parse(value) if isinstance(value, str) else value
    if not isinstance(parsed, kinds):
        raise TypeError(f"{value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return parsed


def _parser(hint: Any) -> Callable[[Any], Any]:
    if typing.get_origin(hint) is tuple:
        inner = _parser(typing.get_args(hint)[0])
        return lambda value: tuple(map(inner, value))
    if hint is Rule:  # it reads its fields itself
        return lambda value: Rule(**value)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind, parse in _PARSERS:
        if kind in kinds:
            return functools.partial(_parsed, parse, kinds)
    allowed = tuple(kinds)

    def check(value: Any) -> Any:
        if not isinstance(value, allowed):
            raise TypeError(f"{value!r} is no {hint}")
        return value

    return check
