"""Tunnels: what makes two of them the same, and details that no noun shows."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.contract import (
    Add,
    Bridge,
    Change,
    Exists,
    Gre,
    Gretap,
    Link,
    Tunnel,
    Unsupported,
    Veth,
    error_for,
)

from .base import BackendTests, is_there
from .nouns import GRE, GRETAP, GRETAP6, TUNNELS, V6, VXLAN, address, described
from .place import Place
from .steps import add, do, need, prove_gap, refused, remove

_ELSEWHERE = ip_address("192.0.2.12")
_TUNNELS: tuple[Tunnel, ...] = (*TUNNELS, GRETAP6, GRE)
_DIFFERENT: tuple[tuple[Link, dict[str, Any]], ...] = (
    *((noun, {noun.key_field: 8}) for noun in _TUNNELS),
    *((noun, {"port": 16385}) for noun in _TUNNELS if noun.over_udp),
    *((noun, {"remote": _ELSEWHERE}) for noun in TUNNELS if noun.kind != VXLAN.kind),
    (VXLAN, V6),
    (GRETAP, {"local": _ELSEWHERE}),
)


def _case_name(value: Any) -> str:
    return described(value) if isinstance(value, Link) else "-".join(value)


class TunnelTests(BackendTests):
    @pytest.mark.parametrize("noun", _TUNNELS, ids=described)
    def test_the_same_tunnel_twice(self, place: Place, noun: Tunnel) -> None:
        """A second tunnel of another name is ``Exists``, or what the kernel says instead."""
        again = replace(noun, name="again", alias="")
        add(place, noun)
        before = place.names()
        assert refused(place, Add(again)) is type(error_for(getattr(errno, noun.taken), ""))
        assert place.names() == before
        remove(place, noun)
        add(place, again)

    @pytest.mark.parametrize(("noun", "fields"), _DIFFERENT, ids=_case_name)
    def test_what_makes_another_tunnel(
        self, place: Place, noun: Link, fields: dict[str, Any]
    ) -> None:
        """Tunnels that differ on the wire can exist at the same time."""
        other = replace(noun, name="other", **fields)
        add(place, noun, other)
        assert is_there(place, noun)
        assert is_there(place, other)

    def test_the_remote_makes_no_other_vxlan(self, place: Place) -> None:
        """There is one vxlan for a VNI and port, whatever its remote."""
        add(place, VXLAN)
        for remote in (_ELSEWHERE, None):
            assert refused(place, Add(replace(VXLAN, name="other", remote=remote))) is Exists

    def test_a_gre_and_a_gretap_share_a_key(self, place: Place) -> None:
        """Their frames have different protocols, so that both may have one key."""
        add(place, GRETAP, GRE)
        assert is_there(place, GRETAP)
        assert is_there(place, GRE)

    @pytest.mark.parametrize(
        ("below", "asked", "given"),
        [(9000, None, 8938), (1280, None, 1280), (9000, 65521, 1438), (1280, 65521, 1438)],
    )
    def test_the_mtu_of_an_ip6gretap(
        self, place: Place, below: int, asked: int | None, given: int
    ) -> None:
        """The MTU is that of the path less the headers, at least 1280.

        A given MTU that is too large is ignored, and with it that of the path
        (ip6gre_tnl_link_config, net/ipv6/ip6_gre.c).
        """
        way = Veth(name="way", peer="end", mtu=below, peer_mtu=below)
        noun = replace(
            GRETAP6, mtu=asked, local=ip_address("fd07::1"), remote=ip_address("fd07::2")
        )
        need(place, noun)
        add(place, way)
        end = place.driver.find(Link(name="end"))
        assert isinstance(end, Link)
        do(place, Change(replace(end, up=True), end))
        add(place, address("fd07::1/64", "way"), noun)
        found = place.driver.find(noun)
        assert isinstance(found, Gretap)
        assert found.mtu == given

    @pytest.mark.parametrize(("local", "given"), [("10.7.0.1", 8958), ("10.7.0.3", 1458)])
    def test_the_mtu_of_a_gretap(self, place: Place, local: str, given: int) -> None:
        """The MTU is that of the path less the headers.

        From an address that the host does not have no path is looked up (ip_tunnel_bind_dev,
        net/ipv4/ip_tunnel.c).
        """
        way = Bridge(name="way", mtu=9000)
        noun = replace(GRETAP, mtu=None, local=ip_address(local), remote=ip_address("10.7.0.2"))
        need(place, noun)
        add(place, way, address("10.7.0.1/24", "way"), noun)
        found = place.driver.find(noun)
        assert isinstance(found, Gretap)
        assert found.mtu == given

    def test_multipoint_gre_over_ipv6(self, place: Place) -> None:
        """No known kernel has it: the driver declares it missing, or really makes it."""
        noun: Gre = replace(GRE, local=V6["local"])
        gap = place.driver.missing(noun)
        if gap is None:
            add(place, noun)
            assert is_there(place, noun)
        else:
            prove_gap(place, noun, gap)

    def test_ends_of_two_families(self, place: Place) -> None:
        """No tunnel has ends of two families: ``Unsupported``."""
        for noun in (VXLAN, GRETAP):
            if place.driver.missing(noun) is None:
                assert refused(place, Add(replace(noun, remote=V6["remote"]))) is Unsupported

    @pytest.mark.parametrize(
        ("noun", "words", "never"),
        [
            (VXLAN, ["nolearning", "ttl 64"], []),
            (GRETAP, ["ttl 64"], ["nopmtudisc"]),
            (GRETAP6, ["hoplimit 64"], ["encaplimit 4"]),
            (GRE, ["ttl 64"], ["nopmtudisc"]),
            *((noun, ["ttl 64"], []) for noun in TUNNELS),
        ],
        ids=lambda value: described(value) if isinstance(value, Link) else "-",
    )
    def test_what_a_tunnel_is_made_with(
        self, place: Place, noun: Link, words: list[str], never: list[str]
    ) -> None:
        """A vxlan never learns, IPv4 tunnels never fragment, IPv6 tunnels limit no nesting."""
        need(place, noun)
        add(place, noun)
        text = place.description(noun.name)
        if text is not None:
            assert [word for word in words if word not in text] == []
            assert [word for word in never if word in text] == []
