"""Intents as text: what a node was asked for and no link's alias can hold.

An entry is a thing that calls work on (a rule, the mesh) with its nouns, as one line
of JSON.  An entry without nouns takes an earlier one back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from snnet.contract import (
    Address,
    ExternalForward,
    Fdb,
    Gre,
    GroupMembers,
    GroupRules,
    Masquerade,
    Namespace,
    Neighbour,
    Noun,
    PortForward,
    PublicIp,
    Route,
    Veth,
    Vxlan,
)

from .meshing import SubnetPeers
from .plain import read_noun
from .policies import Policy

Entry = tuple[tuple[str, ...], tuple[Noun, ...]]
"""A thing by its name, and its nouns."""

_NOUNS: dict[str, type[Noun]] = {
    noun.__name__: noun
    for noun in (
        Masquerade, ExternalForward, PortForward, PublicIp,
        Namespace, Veth, Gre, Vxlan, Address, Fdb, Neighbour, Route, Policy, SubnetPeers,
        GroupMembers, GroupRules,
    )
}  # fmt: skip


def write_entry(thing: tuple[str, ...], nouns: Iterable[Noun]) -> str:
    """The entry as one line."""
    return join_entry(thing, map(write_noun, nouns))


def join_entry(thing: tuple[str, ...], written: Iterable[str]) -> str:
    """The entry as one line, of nouns that ``write_noun`` has written."""
    return f"[{_dump(list(thing))},[{','.join(written)}]]"


def write_noun(noun: Noun) -> str:
    return _dump(noun.to_dict())


def _dump(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


def read_entry(line: str) -> Entry:
    """The entry that a line says; ValueError where it says none."""
    try:
        thing, rows = json.loads(line)
        nouns = tuple(read_noun(row, _NOUNS) for row in rows)
        if not all(isinstance(word, str) for word in thing):
            raise ValueError("its name is no text")
        return tuple(thing), nouns
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(str(error)) from error
