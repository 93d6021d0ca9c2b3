"""Rate limits: shapers at the roots of links, and redirects of what links receive."""

from __future__ import annotations

from dataclasses import replace

from snnet.contract import (
    Add,
    Change,
    Exists,
    Ifb,
    Missing,
    Redirect,
    Remove,
    Shaper,
    Tap,
    Unsupported,
    Veth,
)

from .base import BackendTests, is_gone, is_there, link
from .nouns import BLOCK, BRIDGE
from .place import Place
from .steps import add, do, need, refused, remove

_GUEST = Tap(name="guest", master="br")
_SHAPER = Shaper(link="guest", rate=50_000_000)
_REDIRECT = Redirect(link="guest", to="block")


class ShapingTests(BackendTests):
    """A driver may lack ``Shaper``, ``Ifb`` or ``Redirect``: then rates cannot be limited."""

    def test_a_rate_is_changed_in_place(self, place: Place) -> None:
        """To any other, and back; the kernel keeps it exactly."""
        need(place, _SHAPER)
        add(place, BRIDGE, _GUEST, _SHAPER)
        assert is_there(place, _SHAPER)
        assert refused(place, Add(_SHAPER)) is Exists
        assert refused(place, Add(replace(_SHAPER, rate=8_000))) is Exists
        now = _SHAPER
        for rate in (8_000, 9_999_999_992, 40_000_000_000, 50_000_000):
            do(place, Change(replace(now, rate=rate), now))
            now = replace(now, rate=rate)
            assert is_there(place, now)
        remove(place, now)
        assert is_gone(place, now)
        assert refused(place, Remove(now)) is Missing

    def test_a_shaper_and_a_redirect_go_with_their_link(self, place: Place) -> None:
        """The target of the redirect stays, and its shaper."""
        need(place, _REDIRECT)
        sending = replace(_SHAPER, link="block")
        add(place, BRIDGE, _GUEST, BLOCK, _SHAPER, sending, _REDIRECT)
        do(place, Remove(link(place, Tap, "guest")))
        assert not place.driver.snapshot([Redirect])
        assert list(place.driver.snapshot([Shaper]).values()) == [sending]
        remove(place, BLOCK)
        assert not place.driver.snapshot([Shaper])

    def test_a_redirect_is_added_found_and_removed(self, place: Place) -> None:
        """``Add`` and ``Remove`` are strict, and nothing of it can be changed in place."""
        need(place, _REDIRECT)
        other = Ifb(name="other")
        add(place, BRIDGE, _GUEST, BLOCK, other, _REDIRECT)
        assert is_there(place, _REDIRECT)
        moved = replace(_REDIRECT, to="other")
        assert refused(place, Add(moved)) is Exists
        do(place, Remove(_REDIRECT), Add(moved))
        assert is_there(place, moved)
        remove(place, moved)
        assert is_gone(place, moved)
        assert refused(place, Remove(moved)) is Missing

    def test_a_redirect_whose_target_is_gone_leads_nowhere(self, place: Place) -> None:
        """It is found without a target, and removed.  To add such a one has no effect."""
        need(place, _REDIRECT)
        add(place, BRIDGE, _GUEST, BLOCK, _REDIRECT)
        remove(place, BLOCK)
        lost = replace(_REDIRECT, to="")
        assert is_there(place, lost)
        do(place, Remove(lost))
        assert is_gone(place, lost)
        do(place, Add(lost))
        assert is_gone(place, lost)

    def test_a_redirect_leads_nowhere_whatever_its_target_was(self, place: Place) -> None:
        """Also when the target went with another link, as a peer does."""
        need(place, _REDIRECT)
        add(place, BRIDGE, _GUEST, Veth(name="near", peer="far"), replace(_REDIRECT, to="far"))
        do(place, Remove(link(place, Veth, "near")))
        assert is_there(place, replace(_REDIRECT, to=""))

    def test_a_missing_kind_is_declared(self, place: Place) -> None:
        """What ``missing`` says of a noun is what happens to it."""
        add(place, BRIDGE, _GUEST)
        nouns = (_SHAPER, BLOCK, _REDIRECT)
        for noun in nouns:
            if place.driver.missing(noun):
                assert refused(place, Add(noun)) is Unsupported
                return
            add(place, noun)
