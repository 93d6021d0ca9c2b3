"""One operation takes effect whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from snnet.contract import (
    Add,
    Bridge,
    Busy,
    Exists,
    InvalidRequest,
    Link,
    Missing,
    Noun,
    Rejected,
    Tap,
    Unsupported,
)

from .base import BackendTests
from .nouns import (
    BESIDE,
    BRIDGE,
    GENEVE,
    GRE,
    GRETAP,
    LINKS,
    MAC,
    MACVTAP,
    MESH,
    TAP,
    V6,
    VETH,
    VXLAN,
    address,
    described,
    fdb,
    neighbour,
    proxy,
    route,
)
from .place import UPLINK, Place
from .steps import add, need, refused

_BAD_VALUE = (Rejected, InvalidRequest)
_MULTICAST = "01:00:00:00:00:01"

_REFUSED: tuple[tuple[Noun, tuple[type[Exception], ...]], ...] = (
    (Bridge(name="b", mtu=70_000), _BAD_VALUE),
    (Bridge(name="b", mtu=67), _BAD_VALUE),
    (Bridge(name="b", mac="no mac"), _BAD_VALUE),
    (Bridge(name="b", master="br"), (Rejected,)),  # ELOOP
    (replace(TAP, mtu=65_522), _BAD_VALUE),
    (replace(TAP, mtu=67), _BAD_VALUE),
    (replace(TAP, mtu=1 << 40), _BAD_VALUE),
    (replace(TAP, mac="no mac"), _BAD_VALUE),
    (replace(TAP, master="nowhere"), (Missing,)),
    (replace(TAP, master="lo"), (Unsupported,)),
    (replace(TAP, queues=257, multi_queue=True), _BAD_VALUE),
    (replace(VETH, mtu=65_536), _BAD_VALUE),
    (replace(VETH, peer_mtu=67), _BAD_VALUE),
    (replace(VETH, peer="br"), (Exists,)),
    (replace(VETH, peer=VETH.name), (Exists,)),
    (replace(VETH, master="nowhere"), (Missing,)),
    (replace(MACVTAP, lower="nowhere"), (Missing,)),
    (replace(MACVTAP, lower="lo"), (Rejected,)),
    (replace(MACVTAP, lower="port"), (Busy,)),
    (replace(MACVTAP, mtu=1501), _BAD_VALUE),
    (replace(MACVTAP, mode="odd"), (Unsupported, *_BAD_VALUE)),
    (replace(VXLAN, mtu=70_000), _BAD_VALUE),
    (replace(VXLAN, vni=1 << 24), _BAD_VALUE),
    (replace(VXLAN, master="nowhere"), (Missing,)),
    (replace(VXLAN, remote=V6["remote"]), (Unsupported,)),
    (replace(GRETAP, tunnel_key=1 << 32), _BAD_VALUE),
    (replace(GRETAP, master="nowhere"), (Missing,)),
    (replace(GRETAP, remote=V6["remote"]), (Unsupported,)),
    (replace(GRE, tunnel_key=1 << 32), _BAD_VALUE),
    (replace(GRE, master="br"), (Rejected,)),
    (replace(GENEVE, vni=1 << 24), _BAD_VALUE),
    (replace(GENEVE, mtu=70_000), _BAD_VALUE),
    (address("10.1.0.1/24", "nowhere"), (Missing,)),
    (address("2001:db8:1::1/64", "nowhere"), (Missing,)),
    (address("ff02::1/128"), (Missing,)),  # EADDRNOTAVAIL
    (route("10.2.0.0/24", name="nowhere"), (Missing,)),
    (route("10.2.0.0/24", name="down"), (Rejected,)),
    (route("10.2.0.0/24", "172.16.0.1"), (Rejected,)),
    (route("10.2.0.0/24", "192.0.2.255"), (Rejected,)),
    (route("10.2.0.0/24", "2001:db8::9"), (Unsupported,)),
    (route("2001:db8:2::/64", "2001:db8:9::1"), (Rejected,)),
    (neighbour("10.9.9.9", name="nowhere"), (Missing,)),
    (neighbour("10.9.9.9", "no mac"), _BAD_VALUE),
    (proxy("10.4.0.9", "nowhere"), (Missing,)),
    (fdb(MAC, "192.0.2.9", "nowhere"), (Missing,)),
    (fdb(MAC, "192.0.2.9", "br"), (Unsupported,)),
    (fdb(MAC, "2001:db8::9"), (Unsupported,)),
    (fdb("no mac", "192.0.2.9"), _BAD_VALUE),
)


_LIKE = {noun.kind: noun for noun in LINKS} | {type(noun): noun for noun in BESIDE}
"""A noun of the same kind that nobody would refuse."""


def _told(value: Any) -> str:
    return described(value) if isinstance(value, Noun) else "-"


class AtomTests(BackendTests):
    @pytest.mark.parametrize(("noun", "classes"), _REFUSED, ids=_told)
    def test_what_is_refused_leaves_nothing(
        self, place: Place, noun: Noun, classes: tuple[type[Exception], ...]
    ) -> None:
        """The error's class tells why, and nothing of the noun is on the host."""
        need(place, _LIKE[noun.kind if isinstance(noun, Link) else type(noun)])
        add(place, BRIDGE, MESH, Tap(name="port", master="br"), Tap(name="down", up=False))
        before = place.names()
        declared = (Unsupported,) if place.driver.missing(noun) else ()
        assert refused(place, Add(noun)) in (*classes, *declared)
        assert place.names() == before

    @pytest.mark.parametrize("noun", [BRIDGE, TAP, VETH, MESH], ids=described)
    def test_a_mac_that_is_no_hosts(self, place: Place, noun: Link) -> None:
        """A multicast MAC is refused, and no link is left (EADDRNOTAVAIL: ``Missing``)."""
        need(place, noun)
        before = place.names()
        cls = refused(place, Add(replace(noun, mac=_MULTICAST)))
        assert issubclass(cls, (Missing, *_BAD_VALUE))
        assert place.names() == before

    def test_a_name_that_is_taken(self, place: Place) -> None:
        """It is taken whatever kind of link has it, and that one stays as it is."""
        add(place, BRIDGE)
        queues = replace(TAP, queues=2, multi_queue=True)
        for noun in (Bridge(name="b"), TAP, queues, VETH, MACVTAP, VXLAN):
            for name in ("br", UPLINK, "lo"):
                if place.driver.missing(noun) is None:
                    assert refused(place, Add(replace(noun, name=name))) is Exists
