"""The base of all nouns: frozen values with an identity.

A noun says what an object *is*, never how to make it.  Equal nouns describe the
same state; nouns with equal ``key`` are the same object.  ``None`` in a field of
a wanted noun means "any value the kernel chooses".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from operator import attrgetter
from typing import Any, ClassVar

from .errors import CAPABILITY
from .frozen import frozen

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface

PLAIN = "plain"
"""In the metadata of a field: whether ``to_dict`` shows it; True by default."""

NO_DIFFERENCE: frozenset[str] = frozenset()

Key = tuple[str, ...]
"""Identity of a noun within one host: the class of object, then its names."""


class _Keyed:
    """The slots of a noun that are no fields."""

    __slots__ = ("_like", "key")

    key: Key
    """The identity of the object; two nouns of one host never share it."""
    _like: Noun
    """The noun that ``is_like`` found to be equal last, if it ever did."""


@frozen()
class Noun(_Keyed):
    """One object on a host, wanted or found."""

    rank: ClassVar[int] = 0
    """Nouns are added in order of rank, lowest first, and removed in the opposite order."""

    changeable: ClassVar[frozenset[str]] = frozenset()
    """The fields that a ``Change`` may alter in place.  A difference in any other field
    needs a ``Remove`` and an ``Add``."""

    capability: ClassVar[str] = CAPABILITY
    """With which the kernel allows changes of it (capabilities(7))."""

    def make_key(self) -> Key:
        """Return the identity of the object.  Use ``key``, which has it."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the noun by its fields."""
        return _from_fields, (
            type(self),
            {item.name: getattr(self, item.name) for item in fields(self)},
        )

    @property
    def within(self) -> Key | None:
        """The object whose removal also removes this one, or None."""
        return None

    def is_like(self, found: Noun) -> bool:
        """Whether the two are equal.

        A node asks this again and again, and drivers return the same noun for what has not
        changed: the fields of the same two are compared once.
        """
        if self is found or getattr(self, "_like", None) is found:
            return True
        if self != found:
            return False
        object.__setattr__(self, "_like", found)
        return True

    def differences(self, found: Noun) -> frozenset[str]:
        """Return the names of the fields in which ``found`` differs from what ``self`` wants."""
        if self.is_like(found):
            return NO_DIFFERENCE  # the most frequent case, and the cheapest to detect
        if type(found) is not type(self):
            return frozenset({"kind"})
        return frozenset(
            item.name
            for item in fields(self)
            if item.compare
            and (value := getattr(self, item.name)) is not None
            and value != getattr(found, item.name)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: ``noun`` is the class, addresses are strings."""
        data: dict[str, Any] = {"noun": type(self).__name__}
        for name in _names(type(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if value is not None:
                data[name] = _plain(value)
        return data

    def __str__(self) -> str:
        return " ".join(self.key)


@frozen()
class Owned(Noun):
    """A noun that names its owner itself, because it has no alias.

    ``owner`` is the role and id of a node ("cnci:cnci-1"), or empty.
    """

    owner: str = ""


Nouns = Mapping[Key, Noun]
"""Nouns by key: those found on a host, or those wanted."""


def keyed(nouns: Iterable[Noun]) -> dict[Key, Noun]:
    """Return the nouns by their keys, in the order given."""
    return {noun.key: noun for noun in nouns}


def in_order(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the networks sorted, each once: equal sets make equal nouns."""
    return tuple(sorted(set(networks), key=attrgetter("version", "network_address", "prefixlen")))


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind) if item.metadata.get(PLAIN, True))


def _from_fields(kind: type[Noun], values: Mapping[str, Any]) -> Noun:
    return kind(**values)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if is_dataclass(value):
        names = _names(type(value))  # type: ignore[arg-type]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value)
