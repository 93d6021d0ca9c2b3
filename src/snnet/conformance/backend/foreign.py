"""Foreign objects: listed, and never changed or removed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Change,
    Exists,
    Link,
    Missing,
    Other,
    Remove,
    Tap,
    Unsupported,
    Veth,
)
from snnet.contract.links import DYING_GROUPS

from .base import BackendTests, is_gone, is_there, link
from .nouns import TAP
from .place import UPLINK, Place
from .steps import add, do, need, refused, remove

_OURS = Bridge(name="br", alias="ours")
_FOREIGN: tuple[tuple[str, Link, str, int], ...] = (
    ("another kind", Tap(name="br", alias="ours"), "ours", LINK_GROUP),
    ("no alias", _OURS, "", LINK_GROUP),
    ("another alias", _OURS, "theirs", LINK_GROUP),
    ("a longer alias", _OURS, "ours too", LINK_GROUP),
    ("no group", _OURS, "ours", 0),
    ("another group", _OURS, "ours", 5),
    ("an alias where there was none", replace(_OURS, alias=""), "theirs", LINK_GROUP),
)


class ForeignTests(BackendTests):
    @pytest.mark.parametrize(
        ("noun", "alias", "group"),
        [case[1:] for case in _FOREIGN],
        ids=[case[0] for case in _FOREIGN],
    )
    def test_a_foreign_link_of_the_same_name(
        self, place: Place, noun: Link, alias: str, group: int
    ) -> None:
        """A link of another kind, alias or group is not the noun's: ``Missing``, and it stays.

        The alias says who owns the link, and the group that snnet made it.  The name alone
        proves nothing.
        """
        need(place, noun)
        place.make_bridge("br", alias=alias, group=group)
        theirs = link(place, Bridge, "br")
        assert (theirs.alias, theirs.group) == (alias, group)
        assert refused(place, Remove(noun)) is Missing
        assert refused(place, Change(replace(noun, mtu=1400), noun)) is Missing
        assert refused(place, Add(noun)) is Exists
        assert link(place, Bridge, "br") == theirs

    def test_it_is_removed_by_what_it_is(self, place: Place) -> None:
        """A foreign link is changed and removed if the noun is as found."""
        need(place, _OURS)
        place.make_bridge("br", alias="theirs", group=5)
        theirs = link(place, Bridge, "br")
        do(place, Change(replace(theirs, alias="ours", group=LINK_GROUP, up=True), theirs))
        assert is_there(place, _OURS)
        remove(place, _OURS)

    def test_foreign_links_among_many_stay(self, place: Place) -> None:
        """When many links are removed at once, those that are no longer ours stay."""
        taps = [Tap(name=f"t{number}", alias="ours") for number in range(6)]
        add(place, *taps)
        place.make_other("foreign", "ifb")
        place.make_bridge("copied", alias="ours", group=LINK_GROUP)
        place.mark_link("t0", alias="theirs", group=LINK_GROUP)
        place.mark_link("t1", alias="ours", group=5)
        place.mark_link("t2", alias="", group=LINK_GROUP)
        place.delete_link("t3")
        place.make_other("t3", "ifb")
        changes = [Change(replace(tap, mtu=1300), tap) for tap in taps[:4]]
        assert place.driver.apply(changes, keep_going=True).done == set()
        copied = Tap(name="copied", alias="ours")
        outcome = place.driver.apply([Remove(tap) for tap in [*taps, copied]], keep_going=True)
        assert outcome.done == {4, 5}
        assert {at: type(error) for at, error in outcome.errors.items()} == dict.fromkeys(
            (0, 1, 2, 3, 6), Missing
        )
        assert {"foreign", "copied", "t0", "t1", "t2", "t3"} <= place.names()
        assert place.names().isdisjoint({"t4", "t5"})

    def test_a_link_that_was_about_to_be_deleted_is_ours(self, place: Place) -> None:
        """A link of ours that a driver marked with one of ``DYING_GROUPS`` is still ours."""
        tap = Tap(name="t", alias="ours")
        add(place, tap)
        place.mark_link("t", alias="ours", group=DYING_GROUPS[5])
        remove(place, tap)
        assert is_gone(place, tap)

    def test_one_removed_behind_the_drivers_back(self, place: Place) -> None:
        """A link that another program removed is ``Missing``, and can be added again."""
        tap = Tap(name="t")
        add(place, tap)
        place.delete_link("t")
        assert place.driver.find(tap) is None
        assert refused(place, Remove(tap)) is Missing
        add(place, tap)
        assert is_there(place, tap)

    def test_foreign_links_are_listed(self, place: Place) -> None:
        """Foreign links are listed by name, with their kind."""
        place.make_bridge("theirs", alias="theirs", group=7)
        found = link(place, Bridge, "theirs")
        assert (found.alias, found.group) == ("theirs", 7)
        assert place.driver.snapshot([Link])[found.key] == found
        assert isinstance(place.driver.find(Link(name=UPLINK)), Link)
        listed = {key[1] for key in place.driver.snapshot([Link])}
        assert listed == place.names()

    def test_the_loopback_is_read_and_never_made(self, place: Place) -> None:
        """The loopback is ``Other``; Add and Remove are ``Unsupported``."""
        loopback = link(place, Other, "lo")
        assert loopback.kind == "loopback"
        assert place.driver.missing(loopback)
        assert refused(place, Add(replace(loopback, name="lo2"))) is Unsupported
        assert refused(place, Remove(loopback)) is Unsupported
        assert link(place, Other, "lo") == loopback

    @pytest.mark.parametrize("kind", ["tun", "macvlan", "vxlan"])
    def test_links_of_other_kinds_are_only_read(self, place: Place, kind: str) -> None:
        """They are listed as ``Other``, with the kernel's name for the kind.

        ``missing`` says why one cannot be made, and Add is ``Unsupported``.
        """
        before = place.driver.snapshot([Other])
        place.make_other("other", kind)
        found = link(place, Other, "other")
        assert found.kind == kind
        assert place.driver.snapshot([Other]) == {**before, found.key: found}
        assert kind in (place.driver.missing(found) or "")
        assert refused(place, Add(found)) is Unsupported
        assert refused(place, Add(replace(found, name="more"))) is Unsupported
        if place.driver.missing(TAP) is None:
            assert refused(place, Remove(replace(TAP, name="other", alias="", group=0))) is Missing
        assert link(place, Other, "other") == found

    def test_a_bridge_of_ours_keeps_foreign_ports(self, place: Place) -> None:
        """A foreign port of a bridge of ours stays when the bridge is removed."""
        need(place, Veth(name="v", peer="w"))
        add(place, _OURS)
        uplink = link(place, Veth, UPLINK)
        do(place, Change(replace(uplink, master="br"), uplink))
        remove(place, _OURS)
        assert is_there(place, uplink)
