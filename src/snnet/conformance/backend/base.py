"""What the tests have in common: a place of its own for each, and how nouns are found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from snnet.contract import Key, Link, Noun, Veth, link_key

from .place import Place

L = TypeVar("L", bound=Link)


class BackendTests:
    """A fresh place for each test."""

    @pytest.fixture
    def place(self) -> Iterator[Place]:
        raise NotImplementedError("give your class a fixture 'place': see snnet.conformance")


def is_there(place: Place, noun: Noun) -> bool:
    """Whether the host has the noun exactly as wanted, by look-up and by listings alike."""
    found = place.driver.find(noun)
    assert place.driver.snapshot([type(noun)]).get(noun.key) == found
    if isinstance(noun, Link):
        assert (noun.name in place.names()) == (found is not None)
    return found is not None and not noun.differences(found)


def is_gone(place: Place, noun: Noun) -> bool:
    """Whether nothing of that key is on the host, by look-up and by listings alike."""
    found = place.driver.find(noun)
    assert (noun.key in place.driver.snapshot([type(noun)])) == (found is not None)
    if isinstance(noun, Link):
        assert (noun.name in place.names()) == (found is not None)
    return found is None


def link(place: Place, kind: type[L], name: str) -> L:
    """The link of this name, which must be there and of this class."""
    found = place.driver.find(Link(name=name))
    assert isinstance(found, kind), f"{name}: {found}"
    return found


def keys_of(noun: Noun) -> set[Key]:
    """What a host has more once the noun is added: a veth has two ends."""
    ends = {link_key(noun.peer)} if isinstance(noun, Veth) and noun.peer else set()
    return {noun.key} | ends
