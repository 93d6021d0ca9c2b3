"""Namespaces of the host, veths that lead into them, and links that are attached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from snnet.contract import (
    Add,
    Address,
    Attached,
    Bridge,
    Change,
    Exists,
    Link,
    Missing,
    Namespace,
    Remove,
    Route,
    Veth,
)

from .base import BackendTests, is_gone, is_there, link
from .nouns import BRIDGE, PAIR
from .place import Place
from .steps import add, do, from_outside, need, refused, remove, within_patience

NAME = f"snnet-kit-{os.getpid()}"
"""All hosts of a machine may share the names."""

SPACE = Namespace(name=NAME, alias="snnet1 o=cn:kit k=ns t=a")
ACROSS = Veth(name="near", peer="far", peer_namespace=NAME, mtu=1400, peer_mtu=1400, alias="a veth")


class NamespaceTests(BackendTests):
    @pytest.fixture
    def space(self, place: Place) -> Iterator[Namespace]:
        """A namespace of the host, which goes with the test."""
        need(place, SPACE)
        do(place, Add(SPACE))
        try:
            yield SPACE
        finally:
            place.driver.apply([Remove(ACROSS), Remove(SPACE)], keep_going=True)

    def test_a_namespace_is_added_found_and_removed(self, place: Place, space: Namespace) -> None:
        """It has its alias, an interface ``lo`` that is up, and nothing else."""
        assert is_there(place, space)
        assert place.driver.find(space) == space
        with place.driver.inside(NAME) as inside:
            links = list(inside.snapshot([Link]).values())
            assert [(one.name, one.up) for one in links if isinstance(one, Link)] == [("lo", True)]
        for prefix, wanted in ((NAME, [space]), (NAME[:-1], [space]), (f"{NAME}x", [])):
            assert list(place.driver.namespaces(prefix)) == wanted, "as in a snapshot"
        remove(place, space)
        assert is_gone(place, space)
        with pytest.raises(Missing), place.driver.inside(NAME):
            pass

    def test_a_name_is_taken_once(self, place: Place, space: Namespace) -> None:
        """``Add`` of a name that exists is ``Exists``, whatever the alias."""
        assert refused(place, Add(space)) is Exists
        assert refused(place, Add(replace(space, alias="another"))) is Exists
        assert is_there(place, space)

    def test_only_the_same_one_is_removed(self, place: Place, space: Namespace) -> None:
        """A namespace with another alias is not the noun's: ``Missing``, and it stays."""
        assert refused(place, Remove(replace(space, alias="another"))) is Missing
        assert refused(place, Remove(replace(space, alias=""))) is Missing
        assert refused(place, Remove(replace(space, name=f"{NAME}-no"))) is Missing
        assert is_there(place, space)

    def test_only_the_same_one_is_entered(self, place: Place, space: Namespace) -> None:
        """``inside`` with an alias is ``Missing`` where the namespace has another alias."""
        with place.driver.inside(NAME, space.alias) as inside:
            assert inside.find(Link(name="lo")) is not None
        for alias in ("another", ""):
            with pytest.raises(Missing), place.driver.inside(NAME, alias):
                pass

    def test_one_without_an_alias_is_anybodys(self, place: Place) -> None:
        """It is found, and keeps its name; it is not in a snapshot, and not removed."""
        need(place, SPACE)
        from_outside(place, f"netns add {NAME}")
        try:
            bare = Namespace(name=NAME)
            assert place.driver.find(SPACE) == bare
            assert bare.key not in place.driver.snapshot([Namespace])
            assert refused(place, Add(SPACE)) is Exists
            for alias in ("", SPACE.alias):
                assert refused(place, Remove(replace(SPACE, alias=alias))) is Missing
                with pytest.raises(Missing), place.driver.inside(NAME, alias):
                    pass
            assert place.driver.find(SPACE) == bare
        finally:
            from_outside(place, f"netns delete {NAME}")

    def test_a_veth_leads_inside(self, place: Place, space: Namespace) -> None:
        """The other end is in the namespace, down; both ends have their MTU."""
        add(place, ACROSS)
        assert is_there(place, ACROSS)
        assert "far" not in place.names()
        assert link(place, Veth, "near").peer is None
        with place.driver.inside(NAME) as inside:
            far = inside.find(Link(name="far"))
            assert isinstance(far, Veth)
            assert (far.up, far.mtu, far.peer) == (False, 1400, None)

    @pytest.mark.parametrize("end", ["near", "far"])
    def test_both_ends_go_together(self, place: Place, space: Namespace, end: str) -> None:
        """Removing either end removes both."""
        add(place, ACROSS)
        with place.driver.inside(NAME) as inside:
            if end == "near":
                remove(place, ACROSS)
            else:
                far = inside.find(Link(name="far"))
                assert far is not None
                assert inside.apply([Remove(far)]).error is None
            assert inside.find(Link(name="far")) is None
        assert is_gone(place, ACROSS)

    def test_a_link_goes_with_its_namespace(self, place: Place, space: Namespace) -> None:
        """The kernel may take a moment for this."""
        add(place, ACROSS)
        remove(place, space)
        assert within_patience(lambda: place.driver.find(ACROSS) is None)

    def test_no_veth_without_its_namespace(self, place: Place) -> None:
        """A veth into a namespace that does not exist is ``Missing``, and nothing is left."""
        need(place, SPACE)
        assert refused(place, Add(replace(ACROSS, peer_namespace=f"{NAME}-no"))) is Missing

    def test_equal_names_in_two_namespaces(self, place: Place, space: Namespace) -> None:
        """A link inside may have the name of one outside, the near end's own too."""
        add(place, PAIR)
        add(place, replace(ACROSS, peer="near"))
        with place.driver.inside(NAME) as inside:
            assert inside.find(Link(name="near")) is not None
            assert inside.find(Link(name=PAIR.name)) is None

    def test_nouns_inside_are_apart(self, place: Place, space: Namespace) -> None:
        """Addresses and routes inside are those of the namespace alone."""
        add(place, ACROSS)
        address = Address(link="far", address=ip_interface("169.254.7.9/32"))
        way = Route(
            destination=ip_network("0.0.0.0/0"),
            link="far",
            gateway=ip_interface("169.254.1.1/32").ip,
            onlink=True,
        )
        nouns = (Attached(link="far"), address, way)
        with place.driver.inside(NAME) as inside:
            assert inside.apply([Add(noun) for noun in nouns]).error is None
            assert [inside.find(noun) for noun in nouns] == [*nouns]
            assert [place.driver.find(noun) for noun in nouns] == [None] * 3

    def test_alias_and_group_survive_a_move(self, place: Place, space: Namespace) -> None:
        """A link that is moved into a namespace keeps its alias and its group."""
        add(place, replace(PAIR, alias="mine"))
        from_outside(place, f"link set dev {PAIR.name} netns {NAME}")
        with place.driver.inside(NAME) as inside:
            moved = inside.find(Link(name=PAIR.name))
            assert isinstance(moved, Link)
            assert (moved.alias, moved.group) == ("mine", PAIR.group)

    def test_an_attached_link_is_up_and_a_port(self, place: Place) -> None:
        """Adding brings a link up and into the bridge; removing takes it down and out."""
        wanted = Attached(link="low-far", master="br")
        need(place, wanted)
        add(place, BRIDGE, PAIR)
        before = link(place, Veth, "low-far")
        assert place.driver.find(wanted) is None
        add(place, wanted)
        assert place.driver.find(wanted) == wanted
        found = link(place, Veth, "low-far")
        assert (found.up, found.master) == (True, "br")
        remove(place, wanted)
        assert link(place, Veth, "low-far") == before
        assert place.driver.find(wanted) is None

    def test_an_attached_link_changes_its_bridge(self, place: Place) -> None:
        """A change moves a link from bridge to bridge, or out of its bridge; it stays up."""
        wanted = Attached(link="low-far")
        need(place, wanted)
        add(place, BRIDGE, Bridge(name="br2"), PAIR, wanted)
        first = Attached(link="low-far", master="br")
        do(place, Change(first, wanted))
        assert place.driver.find(wanted) == first
        second = Attached(link="low-far", master="br2")
        do(place, Change(second, first))
        assert place.driver.find(wanted) == second
        do(place, Change(wanted, second))
        assert place.driver.find(wanted) == wanted

    def test_what_cannot_be_attached(self, place: Place) -> None:
        """A link that is up already is ``Exists``; without link or bridge it is ``Missing``."""
        wanted = Attached(link="low-far", master="br")
        need(place, wanted)
        assert refused(place, Add(wanted)) is Missing
        assert refused(place, Remove(wanted)) is Missing
        add(place, PAIR)
        assert refused(place, Add(wanted)) is Missing
        assert not link(place, Veth, "low-far").up
        add(place, BRIDGE, wanted)
        assert refused(place, Add(wanted)) is Exists
        remove(place, BRIDGE)
        assert place.driver.find(wanted) == Attached(link="low-far")
