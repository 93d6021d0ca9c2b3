"""What the backend tests share: a new place for each test, and how to look at nouns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from snnet.contract import Key, Link, Noun, Veth, link_key

from .place import Place

L = TypeVar("L", bound=Link)


class BackendTests:
    """A new place for each test."""

    @pytest.fixture
    def place(self) -> Iterator[Place]:
        raise NotImplementedError("give your class a fixture 'place': see snnet.conformance")


def is_there(place: Place, noun: Noun) -> bool:
    """Whether the host has the noun exactly as wanted, both in ``find`` and in ``snapshot``."""
    found = place.driver.find(noun)
    assert place.driver.snapshot([type(noun)]).get(noun.key) == found
    if isinstance(noun, Link):
        assert (noun.name in place.names()) == (found is not None)
    return found is not None and not noun.differences(found)


def is_gone(place: Place, noun: Noun) -> bool:
    """Whether the host has no noun of that key, both in ``find`` and in ``snapshot``."""
    found = place.driver.find(noun)
    assert (noun.key in place.driver.snapshot([type(noun)])) == (found is not None)
    if isinstance(noun, Link):
        assert (noun.name in place.names()) == (found is not None)
    return found is None


def link(place: Place, kind: type[L], name: str) -> L:
    """Return the link of this name, which must be there and of this class."""
    found = place.driver.find(Link(name=name))
    assert isinstance(found, kind), f"{name}: {found}"
    return found


def keys_of(noun: Noun) -> set[Key]:
    """Return the keys that the host gains with the noun: a veth pair has two ends."""
    ends = {link_key(noun.peer)} if isinstance(noun, Veth) and noun.peer else set()
    return {noun.key} | ends
