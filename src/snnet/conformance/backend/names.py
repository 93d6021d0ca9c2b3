"""Names and aliases at their limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnet.contract import (
    NAME_MAX,
    Add,
    Bridge,
    InvalidRequest,
    Link,
    Macvtap,
    Missing,
    Rejected,
    Remove,
    Tap,
    Veth,
    Vxlan,
)

from .base import BackendTests, is_gone, is_there
from .nouns import ALIAS, BRIDGE, LINKS, V4, described
from .place import UPLINK, Place
from .steps import add, from_outside, need, refused

_ONE_OF_A_KIND: tuple[Link, ...] = (
    Bridge(name="l"),
    Tap(name="l"),
    Veth(name="l", peer="far"),
    Macvtap(name="l", lower=UPLINK),
    Vxlan(name="l", vni=7, port=16384, **V4),
)
_NO_NAMES = ("", "a/b", "a b", ".", "..", "a:b", "a\tb", "a\0b", "x%d", "%s")
_WRONG = (Rejected, InvalidRequest)

kinds = pytest.mark.parametrize("noun", _ONE_OF_A_KIND, ids=described)


class NameTests(BackendTests):
    @kinds
    def test_a_name_of_15_bytes_and_no_more(self, place: Place, noun: Link) -> None:
        """A name of 15 bytes is used whole; a longer one is refused, never cut."""
        need(place, noun)
        long = "n" * NAME_MAX
        before = place.names()
        for name in (long + "n", "ä" * 8):
            assert refused(place, Add(replace(noun, name=name))) in _WRONG
        assert place.names() == before
        add(place, replace(noun, name=long))
        assert is_there(place, replace(noun, name=long))

    @kinds
    def test_what_is_no_name(self, place: Place, noun: Link) -> None:
        """An invalid name, and a pattern like ``tap%d``, is refused."""
        need(place, noun)
        before = place.names()
        for name in _NO_NAMES:
            assert refused(place, Add(replace(noun, name=name))) in _WRONG, repr(name)
        assert place.names() == before

    def test_the_name_of_a_peer(self, place: Place) -> None:
        """The peer's name has the same limits; if it is refused, neither end is made."""
        need(place, Veth(name="v", peer="p"))
        before = place.names()
        for name in ("p" * (NAME_MAX + 1), "a/b", "x%d"):
            assert refused(place, Add(Veth(name="v", peer=name))) in _WRONG, name
        assert place.names() == before

    @pytest.mark.parametrize("noun", LINKS, ids=described)
    def test_an_alias_of_255_bytes_and_no_more(self, place: Place, noun: Link) -> None:
        """The limit counts bytes; a link whose alias is too long is not made."""
        need(place, noun)
        before = place.names()
        for alias in ("x" * 256, "ü" * 128):
            assert refused(place, Add(replace(noun, alias=alias))) in _WRONG
        assert place.names() == before
        add(place, replace(noun, alias=ALIAS))
        assert is_there(place, replace(noun, alias=ALIAS))
        assert len(ALIAS.encode()) == 255

    def test_an_alternative_name_is_not_the_name(self, place: Place) -> None:
        """A link is found by its name only, not by an ``altname`` (ip-link(8))."""
        add(place, BRIDGE)
        from_outside(place, "link property add dev br altname other")
        assert is_gone(place, Bridge(name="other"))
        assert refused(place, Remove(replace(BRIDGE, name="other"))) is Missing
        assert is_there(place, BRIDGE)

    @pytest.mark.parametrize("alias", ["ü" * 127, " ", "-x", "a  b ", "#", "alias"])
    def test_odd_aliases(self, place: Place, alias: str) -> None:
        """An alias is stored byte by byte: nothing in it is interpreted or trimmed."""
        tap = Tap(name="t", alias=alias)
        add(place, tap)
        assert is_there(place, tap)
