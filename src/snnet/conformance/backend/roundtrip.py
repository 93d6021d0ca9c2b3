"""Every noun: added, found, listed, refused a second time, removed."""

from __future__ import annotations

import pytest

from snnet.contract import Add, Change, Exists, Missing, Noun, Remove

from .base import BackendTests, is_gone, is_there, keys_of
from .nouns import EXTREME_LINKS, EXTREME_NON_LINKS, LINKS, NON_LINKS, described, ground
from .place import Place
from .steps import add, need, refused, remove

_ORDINARY = (*LINKS, *NON_LINKS)
_EVERY = (*_ORDINARY, *EXTREME_LINKS, *EXTREME_NON_LINKS)

ordinary = pytest.mark.parametrize("noun", _ORDINARY, ids=described)
every = pytest.mark.parametrize("noun", _EVERY, ids=described)
changeable = pytest.mark.parametrize(
    "noun", [noun for noun in _ORDINARY if noun.changeable], ids=described
)


class RoundTripTests(BackendTests):
    @every
    def test_found_as_it_was_added(self, place: Place, noun: Noun) -> None:
        """``find`` and ``snapshot`` return what was added, and nothing else was added with it.

        What the kernel adds by itself is not listed: connected routes, IPv6 link-local
        addresses, the entry of a vxlan for its own remote.
        """
        add(place, *ground(noun))
        assert is_gone(place, noun)
        before = place.driver.snapshot()
        add(place, noun)
        assert is_there(place, noun)
        after = place.driver.snapshot()
        assert after[noun.key] == place.driver.find(noun)
        assert after.keys() - before.keys() == keys_of(noun)
        remove(place, noun)
        assert is_gone(place, noun)
        assert place.driver.snapshot() == before

    @ordinary
    def test_comes_once_and_goes_once(self, place: Place, noun: Noun) -> None:
        """A second Add is ``Exists``, a second Remove is ``Missing``; neither changes anything."""
        add(place, *ground(noun))
        add(place, noun)
        assert refused(place, Add(noun)) is Exists
        remove(place, noun)
        assert refused(place, Remove(noun)) is Missing
        add(place, noun)
        assert is_there(place, noun)

    @changeable
    def test_what_is_not_there_cannot_change(self, place: Place, noun: Noun) -> None:
        """A Change of a missing noun is ``Missing``, and creates nothing."""
        add(place, *ground(noun))
        need(place, noun)
        assert refused(place, Change(noun, noun)) is Missing

    @ordinary
    def test_carried_or_declared_missing(self, place: Place, noun: Noun) -> None:
        """A driver carries each kind of noun, or says why not and what to do."""
        assert type(noun) in place.driver.carries or place.driver.missing(noun)

    def test_asking_for_support_makes_nothing(self, place: Place) -> None:
        """``missing`` answers the same each time and changes nothing."""
        before = place.driver.snapshot(), place.names()
        answers = [[place.driver.missing(noun) for noun in _EVERY] for _ in range(2)]
        assert answers[0] == answers[1]
        assert (place.driver.snapshot(), place.names()) == before
